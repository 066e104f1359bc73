"""Which picture is the anchor, where the points were in it, and when it is taken anew.

A stream starts anchored on the picture it was given. When a hand takes hold somewhere new, or lets go of what it
moved, the last frame shown becomes the anchor: the frame in which the new points are born, and in which the
released ones stay where they were left.

Legend: B clips, N points.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from motionstream.conditioning.track_volume import TrackBatch

CHANGED_SHARE = 0.1
"""Share of points born or released since the anchor was taken from which on it is taken anew."""


@dataclass(frozen=True)
class Anchor:
    """picture: (B, 3, H, W) in [−1, 1]; ids (B, N), birth_xy (B, N, 2), born (B, N): the points seen in it."""

    picture: Tensor
    ids: Tensor
    birth_xy: Tensor
    born: Tensor

    @classmethod
    def of(cls, picture: Tensor) -> Anchor:
        """An anchor in which no point has been seen yet."""
        batch = picture.shape[0]
        none = torch.zeros(batch, 0, dtype=torch.long, device=picture.device)
        return cls(picture, none, none[..., None].float().expand(-1, -1, 2), none.bool())

    def places(self, ids: Tensor) -> tuple[Tensor, Tensor]:
        """birth_xy (B, N, 2) and born (B, N) of the points with these (B, N) ids."""
        same = (ids[:, :, None] == self.ids[:, None, :]) & self.born[:, None, :]
        return torch.einsum("bnm,bmk->bnk", same.float(), self.birth_xy), same.any(-1)

    def seen(self, tracks: TrackBatch, frame: int) -> Anchor:
        """The same picture, with the points that are visible at this frame of the tracks born there."""
        return replace(self, ids=tracks.ids, birth_xy=tracks.xy[:, frame], born=tracks.visible[:, frame].clone())


def should_renew(anchor: Anchor, tracks: TrackBatch) -> bool:
    """Whether enough points came or went since the anchor was taken (any clip of the batch decides for all)."""
    visible = tracks.visible.any(1)
    _, known = anchor.places(tracks.ids)
    came = (visible & ~known).sum(1)
    still_here = (anchor.ids[:, :, None] == torch.where(visible, tracks.ids, -1)[:, None, :]).any(-1)
    went = (anchor.born & ~still_here).sum(1)
    return bool(((came > CHANGED_SHARE * visible.sum(1)) | (went > CHANGED_SHARE * anchor.born.sum(1))).any())


def renewed(picture: Tensor, last: TrackBatch | None, tracks: TrackBatch) -> Anchor:
    """An anchor on the last frame shown.

    Points known at the last frame (`last`, one frame) are born where they were then; points that first appear in
    `tracks` are born where they appear.
    """
    first = tracks.visible.int().argmax(1, keepdim=True)[..., None].expand(-1, -1, -1, 2)
    birth_xy, born = tracks.xy.gather(1, first)[:, 0], tracks.visible.any(1)
    if last is not None:
        before, known = Anchor.of(picture).seen(last, 0).places(tracks.ids)
        birth_xy, born = torch.where(known[..., None], before, birth_xy), born | known
    return Anchor(picture, tracks.ids, birth_xy, born)
