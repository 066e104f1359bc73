"""Picture + tracks → the channels the DiT reads beside the noisy latents: for a whole clip or chunk by chunk.

Channels, in this order: first-frame mask (4, as Wan's image-to-video) | latents of the first frame | track head's
output | and, when the model is anchored: latents of the warped anchor | its support (4) | anchor present (1).

Legend: B clips, F frames, T latents, C channels, h w latent cells.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, fields, replace

import torch
import torch.nn.functional as F
from torch import Tensor

from motionstream.conditioning.track_volume import TrackBatch, pack_frames, track_volume
from motionstream.geometry import Geometry
from motionstream.tiny.anchor import Anchor
from motionstream.tiny.warp import STRIDE, warp
from motionstream.vae import Memory, VideoVAE


@dataclass(frozen=True)
class ConditioningConfig:
    """latent_channels: of the VAE; track_channels: of the track head's output; anchored: with warped anchor."""

    latent_channels: int
    track_channels: int
    anchored: bool
    temporal_stride: int = 4

    @property
    def channels(self) -> int:
        """Channels beside the noisy latents."""
        first = self.temporal_stride + self.latent_channels
        anchor = self.latent_channels + self.temporal_stride + 1 if self.anchored else 0
        return first + self.track_channels + anchor


@dataclass(frozen=True)
class Conditioning:
    """All that is fixed (not learned) about T latents of B clips.

    first (B, T, 4 + C, h, w): mask and first-frame latents, zero after the first latent.
    volume (B, T, 4·64, h, w): packed track volume.
    anchor (B, T, C, h, w): latents of the warped anchor; zero where it was dropped or the model has none.
    support (B, T, 5, h, w): where tracks speak, and where nothing lands (4 frames); whether the anchor is present.
    """

    first: Tensor
    volume: Tensor
    anchor: Tensor
    support: Tensor

    @property
    def latents(self) -> int:
        return self.first.shape[1]

    def slice(self, begin: int, end: int) -> Conditioning:
        """Latents [begin, end)."""
        return Conditioning(*(getattr(self, field.name)[:, begin:end] for field in fields(self)))

    def to(self, dtype: torch.dtype) -> Conditioning:
        return Conditioning(*(getattr(self, field.name).to(dtype) for field in fields(self)))

    def without_anchor(self, clips: Tensor) -> Conditioning:
        """The warped anchor dropped from the clips marked in (B,) bool."""
        keep = (~clips).to(self.anchor)[:, None, None, None, None]
        return replace(self, anchor=self.anchor * keep, support=self.support * keep)

    @classmethod
    def join(cls, parts: Iterable[Conditioning]) -> Conditioning:
        """Chunks one after another."""
        every = list(parts)
        return cls(*(torch.cat([getattr(part, field.name) for part in every], 1) for field in fields(cls)))


@dataclass(frozen=True)
class ConditionerState:
    """What a stream's conditioning carries from chunk to chunk: the anchor, and the encoder's memory of its warp.

    memory: None before the first chunk; one empty tensor afterwards where the model has no warped anchor.
    """

    anchor: Anchor
    memory: Memory | None = None


@dataclass(frozen=True)
class Warped:
    """The warped anchor of F frames in pixels.

    frames (B, F, 3, H, W) in [−1, 1]; support (B, F, 1, H/4, W/4) in [−1, 1]: how surely tracks speak there, below 0
    where nothing of the picture lands.
    """

    frames: Tensor
    support: Tensor

    @classmethod
    def join(cls, parts: Iterable[Warped]) -> Warped:
        """Spans of frames one after another."""
        every = list(parts)
        return cls(torch.cat([part.frames for part in every], 1), torch.cat([part.support for part in every], 1))


class Conditioner:
    """Makes `Conditioning` with a VAE at one frame size. seed: of the points' identity codes.

    anchored: whether the model sees the warped anchor. The paper's do not: then nothing is warped, and the encoder
    runs once, for the picture.
    """

    def __init__(self, vae: VideoVAE, geometry: Geometry, seed: int = 0, anchored: bool = True) -> None:
        self.vae, self.geometry, self.seed, self.anchored = vae, geometry, seed, anchored

    def clip(self, picture: Tensor, tracks: TrackBatch) -> Conditioning:
        """A whole clip (1 + 4n frames) that starts at `picture` (B, 3, H, W) in [−1, 1]."""
        state = ConditionerState(Anchor.of(picture).seen(tracks, 0))
        return self.step(state, tracks)[0]

    def step(
        self, state: ConditionerState, tracks: TrackBatch, warped: Warped | None = None
    ) -> tuple[Conditioning, ConditionerState]:
        """The next frames of a stream: 1 + 4n if it starts here (no memory yet), else 4n.

        warped: their warp, if `warp` has made it already. Points that are not in the anchor steer by their
        identity alone.
        """
        if not self.anchored:
            return self._unanchored(state, tracks)
        starts, anchor = state.memory is None, state.anchor
        warped = self.warp(anchor, tracks) if warped is None else warped
        dtype = anchor.picture.dtype
        latents, memory = self.vae.encode_step(warped.frames.to(dtype), state.memory)
        conditioning = Conditioning(
            first=self._first(latents, starts),
            volume=track_volume(tracks, self.geometry, self.seed, starts).to(dtype),
            anchor=latents,
            support=self._support(warped.support, starts).to(dtype),
        )
        return conditioning, ConditionerState(anchor.moved(tracks), memory)

    def warp(self, anchor: Anchor, tracks: TrackBatch) -> Warped:
        """The anchor pulled along the tracks' points and by those that are held where they were let go."""
        birth_xy, born = anchor.places(tracks.ids)
        held = anchor.strength()
        frames = tracks.frames
        return Warped(
            *warp(
                anchor.picture,
                anchor.affinity,
                torch.cat([tracks.xy, anchor.xy[:, None].expand(-1, frames, -1, -1)], 2),
                torch.cat([tracks.visible, anchor.held[:, None].expand(-1, frames, -1)], 2),
                torch.cat([birth_xy, anchor.birth_xy], 1),
                torch.cat([born.float(), held], 1),
            )
        )

    def _unanchored(self, state: ConditionerState, tracks: TrackBatch) -> tuple[Conditioning, ConditionerState]:
        picture, starts = state.anchor.picture, state.memory is None
        volume = track_volume(tracks, self.geometry, self.seed, starts).to(picture.dtype)
        nothing = volume.new_zeros(*volume.shape[:2], self.vae.latent_channels, *volume.shape[-2:])
        shown = torch.cat([self.vae.encode(picture[:, None]), nothing[:, 1:]], 1) if starts else nothing
        support = nothing[:, :, :1].expand(-1, -1, self.geometry.temporal_stride + 1, -1, -1)
        conditioning = Conditioning(self._first(shown, starts), volume, nothing, support)
        return conditioning, ConditionerState(state.anchor.moved(tracks), (picture.new_empty(0),))

    def _first(self, latents: Tensor, starts: bool) -> Tensor:
        mask = torch.zeros_like(latents[:, :, : self.geometry.temporal_stride])
        first = torch.zeros_like(latents)
        if starts:  # nothing has moved at the first frame: the warp's latent is the picture's
            mask[:, 0], first[:, 0] = 1, latents[:, 0]
        return torch.cat([mask, first], 2)

    def _support(self, support: Tensor, starts: bool) -> Tensor:
        pooled = F.avg_pool2d(support.flatten(0, 1), self.geometry.spatial_stride // STRIDE)
        packed = pack_frames(pooled.unflatten(0, support.shape[:2]), self.geometry, starts)
        return torch.cat([packed, torch.ones_like(packed[:, :, :1])], 2)
