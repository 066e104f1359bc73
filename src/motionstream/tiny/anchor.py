"""The anchor: the picture that is warped, and the places of all points in it.

It is the picture the stream was opened on, and stays so: detail comes from the picture itself, however often something
is moved. The place of a point born later is found through the displacement so far: what is under the pointer now was
elsewhere in the picture. A released point is *held*: it keeps its displacement, with less weight, until a new point
appears there. Only when too many points are held does the last frame shown become the anchor.

Legend: B clips, N points of the anchor, M points of the tracks.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from motionstream.conditioning.track_volume import TrackBatch
from motionstream.tiny.affinity import AffinityMatrix, affinity
from motionstream.tiny.warp import cell_centres, displacement_at, radii

HELD_WEIGHT = 0.25
"""Weight of a held point, beside 1 of a point of the tracks, which so wins where both are."""
MOVED = 0.5
"""Pixels from its place in the picture from which on a released point must be held."""
MOST_HELD = 256
"""Held points from which on the last frame shown becomes the anchor."""
OF_A_POINT = ("ids", "birth_xy", "born", "xy", "shown", "held")
"""Fields of an `Anchor` with one entry a point."""


@dataclass(frozen=True)
class Anchor:
    """picture: (B, 3, H, W) in [−1, 1]. affinity: of its superpixels.

    Of each point: ids (B, N), birth_xy (B, N, 2) its place in the picture, born (B, N) whether it has one, xy (B, N, 2)
    and shown (B, N) where it was last and whether visibly, held (B, N).
    """

    picture: Tensor
    ids: Tensor
    birth_xy: Tensor
    born: Tensor
    xy: Tensor
    shown: Tensor
    held: Tensor
    affinity: AffinityMatrix

    @classmethod
    def of(cls, picture: Tensor) -> Anchor:
        """An anchor without points."""
        ids = torch.zeros(picture.shape[0], 0, dtype=torch.long, device=picture.device)
        xy = ids[..., None].float().expand(-1, -1, 2)
        return cls(picture, ids, xy, ids.bool(), xy, ids.bool(), ids.bool(), affinity(picture))

    def seen(self, tracks: TrackBatch, frame: int) -> Anchor:
        """The same picture, with only the points that are visible at this frame of the tracks, born there."""
        xy, visible = tracks.xy[:, frame], tracks.visible[:, frame].clone()
        return Anchor(self.picture, tracks.ids, xy, visible, xy, visible, torch.zeros_like(visible), self.affinity)

    def places(self, ids: Tensor) -> tuple[Tensor, Tensor]:
        """birth_xy (B, M, 2) and born (B, M) of the points with these (B, M) ids."""
        same = self._same(ids) & self.born[:, None, :]
        return torch.einsum("bmn,bnk->bmk", same.float(), self.birth_xy), same.any(-1)

    def moved(self, tracks: TrackBatch) -> Anchor:
        """The same points where the last frame of the tracks has them."""
        if tracks.ids.shape[1] == 0:
            return self
        same = self._same(tracks.ids).transpose(1, 2)
        known, which = same.any(-1), same.int().argmax(-1)
        xy = tracks.xy[:, -1].gather(1, which[..., None].expand(-1, -1, 2))
        shown = tracks.visible[:, -1].gather(1, which)
        return replace(self, xy=torch.where(known[..., None], xy, self.xy), shown=torch.where(known, shown, self.shown))

    @property
    def size(self) -> tuple[int, int]:
        """(W, H)."""
        return self.picture.shape[-1], self.picture.shape[-2]

    @property
    def too_many_held(self) -> bool:
        """Whether more points are held than an anchor should have."""
        return bool((self.held.sum(1) > MOST_HELD).any())

    def outside(self) -> Tensor:
        """(B,) share of the last frame shown whose content lies outside the picture: its border stands in for that.

        What has no finite source is not counted.
        """
        places = cell_centres(self.size, self.xy.device).flatten(0, 1).expand(len(self.xy), -1, -1)
        source = places + self._offset(places)
        beyond = (source < 0) | (source > source.new_tensor(self.size))
        return (beyond.any(-1) & source.isfinite().all(-1)).float().mean(-1)

    def renewed(self, picture: Tensor) -> Anchor:
        """Anchored on the last frame shown, `picture`: what is visible lies where it is now, nothing is held."""
        born = self.born & self.shown & ~self.held
        return replace(
            self, picture=picture, affinity=affinity(picture), birth_xy=self.xy, born=born, held=torch.zeros_like(born)
        )._without(~born)

    def following(self, tracks: TrackBatch) -> Anchor:
        """Ready for the next frames: points that left the tracks are held or dropped, new ones get their places."""
        released = self._released(tracks)
        birth_xy, known = released.places(tracks.ids)
        appearing = tracks.visible.any(1) & ~known
        place = tracks.first_seen()
        # most chunks have no new point
        born_at = place + released._offset(place) if appearing.any() else place
        kept = released._without(~released.held | released._near(place, appearing))
        tracked = replace(
            self.seen(tracks, 0), birth_xy=torch.where(known[..., None], birth_xy, born_at), born=known | appearing
        )
        return tracked._with(kept)

    def held_weight(self) -> Tensor:
        """(B, N) weight of each held point; 0 for the others."""
        return self.held.float() * HELD_WEIGHT

    def _same(self, ids: Tensor) -> Tensor:
        """(B, M, N) which of the ids is which point; held points have none any more."""
        return (ids[:, :, None] == self.ids[:, None, :]) & ~self.held[:, None, :]

    def _released(self, tracks: TrackBatch) -> Anchor:
        """Points no longer in the tracks: held if they were visibly moved, dropped otherwise."""
        gone = self.born & ~self.held & ~self._same(tracks.ids).any(1)
        moved = (self.xy - self.birth_xy).norm(dim=-1) > MOVED
        holding = gone & moved & self.shown
        return replace(self, held=self.held | holding)._without(gone & ~holding)

    def _offset(self, place: Tensor) -> Tensor:
        """(B, M, 2) from places in the last frame shown to where their content lies in the picture."""
        visible_weight = (self.born & self.shown & ~self.held).float() + self.held_weight()
        return displacement_at(place, self.affinity, self.xy, self.birth_xy, visible_weight, self.size)

    def _near(self, place: Tensor, appearing: Tensor) -> Tensor:
        """(B, N) points that lie where a new point appears."""
        reach = 2 * radii(place, appearing)
        near = torch.cdist(place, self.xy) < reach[..., None]
        return (near & appearing[..., None]).any(1)

    def _without(self, points: Tensor) -> Anchor:
        """Without the points marked (B, N); those that no clip needs are removed."""
        born = self.born & ~points
        needed = born.any(0)
        kept = replace(self, born=born, held=self.held & born)
        rest = {name: getattr(kept, name)[:, needed] for name in OF_A_POINT}
        return Anchor(self.picture, affinity=self.affinity, **rest)

    def _with(self, other: Anchor) -> Anchor:
        """The points of both."""
        points = {name: torch.cat([getattr(self, name), getattr(other, name)], 1) for name in OF_A_POINT}
        return Anchor(self.picture, affinity=self.affinity, **points)
