"""Picture + tracks → the channels the DiT reads beside the noisy latents, for a whole clip or chunk by chunk.

Channels, in this order: first-frame mask (4, as Wan's image-to-video) | latents of the first frame | track head's
output. A model may add channels of its own (`tiny/conditioner.py` does).

Legend: B clips, F frames, T latents, N points, C channels, h w latent cells.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, Protocol, Self, TypeVar

import torch
from torch import Tensor

from motionstream.conditioning.track_volume import CODE_WIDTH, TrackBatch, track_volume
from motionstream.geometry import Geometry
from motionstream.vae import VideoVAE

CELLS = 4
"""Rows and columns of the grid that tells whether tracks cover the view."""


@dataclass(frozen=True)
class ConditioningConfig:
    """latent_channels: of the VAE. track_channels: of the track head's output.

    anchored: with the channels of the embedded model's warped anchor (`tiny/conditioner.py`): latents of the anchor,
    its support (one channel a frame), and whether it is present.
    """

    latent_channels: int
    track_channels: int
    anchored: bool = False
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
    """

    first: Tensor
    volume: Tensor

    @property
    def latents(self) -> int:
        return self.first.shape[1]

    @property
    def latent_shape(self) -> tuple[int, ...]:
        """(B, T, C, h, w) of the latents that it conditions."""
        batch, latents, channels, *cells = self.first.shape
        return batch, latents, channels - self.volume.shape[2] // CODE_WIDTH, *cells

    def prior(self) -> Tensor:
        """(B, T, C, h, w): the estimate of the clip that needs no network; here zeros, the latents' mean."""
        return self.first.new_zeros(self.latent_shape)

    def tensors(self) -> tuple[Tensor, ...]:
        """All tensors, in the order of the fields."""
        return tuple(vars(self).values())

    def slice(self, begin: int, end: int) -> Self:
        """Latents [begin, end)."""
        return type(self)(*(tensor[:, begin:end] for tensor in self.tensors()))

    def to(self, dtype: torch.dtype) -> Self:
        return type(self)(*(tensor.to(dtype) for tensor in self.tensors()))

    @classmethod
    def join(cls, parts: Sequence[Self]) -> Self:
        """Chunks of one kind, one after another."""
        joined = (torch.cat(tensors, 1) for tensors in zip(*(part.tensors() for part in parts), strict=True))
        return type(parts[0])(*joined)


S = TypeVar("S")


class Conditioner(Protocol[S]):
    """Makes the conditioning of one stream, chunk by chunk. S: what it carries from chunk to chunk."""

    def open(self, picture: Tensor, latent: Tensor) -> S:
        """Before the first chunk. picture (B, 3, H, W) in [−1, 1] and its latent (B, 1, C, h, w)."""
        ...

    def step(self, state: S, tracks: TrackBatch, shown: Tensor) -> tuple[Conditioning, S]:
        """The next frames of a stream: 1 + 4n first, 4n later. shown (B, 3, H, W): the last frame shown."""
        ...

    def outside(self, state: S) -> float:
        """Share of the view, 0 … 1, whose content lies outside the picture that it is compared with: the first one, or
        that of the last call of `renewed`."""
        ...

    def renewed(self, state: S, shown: Tensor) -> S:
        """From now on `outside` compares the view with the last frame shown."""
        ...

    def pack(self, state: S) -> dict[str, Tensor]:
        """The state as tensors, for a snapshot."""
        ...

    def unpack(self, tensors: dict[str, Tensor]) -> S:
        """The state that was packed. Raises KeyError if a tensor is missing."""
        ...

    def conditioning(self, tensors: Sequence[Tensor]) -> Conditioning:
        """A chunk's conditioning of its `tensors()`. Raises TypeError if there are too many or too few."""
        ...


AnyConditioner = Conditioner[Any]
"""Whatever its state is: a stream only hands it back."""


@dataclass(frozen=True)
class TrackState:
    """latent (B, 1, C, h, w): of the first frame. started (): 1 once a chunk was made.

    Of the points of the last tracks: ids (B, N), birth_xy (B, N, 2) where they were in the picture that the view is
    compared with, xy (B, N, 2) where they are.
    """

    latent: Tensor
    started: Tensor
    ids: Tensor
    birth_xy: Tensor
    xy: Tensor


class TrackConditioner:
    """The paper's `Conditioner`: identity codes of the tracks and the first frame (Section 3.1).

    seed: of the points' identity codes.
    """

    def __init__(self, vae: VideoVAE, geometry: Geometry, seed: int = 0) -> None:
        self.vae, self.geometry, self.seed = vae, geometry, seed

    def clip(self, picture: Tensor, tracks: TrackBatch) -> Conditioning:
        """A whole clip (1 + 4n frames) that starts at `picture` (B, 3, H, W) in [−1, 1]."""
        return first_and_tracks(self.vae.encode(picture[:, None]), tracks, self.geometry, self.seed, starts=True)

    def open(self, picture: Tensor, latent: Tensor) -> TrackState:
        batch, device = picture.shape[0], picture.device
        nowhere = torch.zeros(batch, 0, 2, device=device)
        return TrackState(
            latent,
            torch.zeros((), dtype=torch.bool),
            torch.zeros(batch, 0, dtype=torch.long, device=device),
            nowhere,
            nowhere,
        )

    def step(self, state: TrackState, tracks: TrackBatch, shown: Tensor) -> tuple[Conditioning, TrackState]:
        conditioning = first_and_tracks(state.latent, tracks, self.geometry, self.seed, not bool(state.started))
        known, births = _births(state, tracks)
        appeared_at = tracks.first_seen() - self._shift(state)[:, None]
        birth_xy = torch.where(known[..., None], births, appeared_at)
        return conditioning, TrackState(
            state.latent, torch.ones((), dtype=torch.bool), tracks.ids, birth_xy, tracks.xy[:, -1]
        )

    def outside(self, state: TrackState) -> float:
        """From the median movement of the points, weighted with the share of the view that they cover."""
        if state.ids.shape[1] == 0:
            return 0.0
        size = state.xy.new_tensor(self.geometry.size)
        inside = (1 - self._shift(state).abs() / size).clamp(0, 1).prod(-1)
        return float(((1 - inside) * self._coverage(state)).max())

    def renewed(self, state: TrackState, shown: Tensor) -> TrackState:
        return replace(state, birth_xy=state.xy)

    def pack(self, state: TrackState) -> dict[str, Tensor]:
        return dict(vars(state))

    def unpack(self, tensors: dict[str, Tensor]) -> TrackState:
        state = {field.name: tensors[field.name] for field in fields(TrackState)}
        return TrackState(**state | {"started": state["started"].cpu()})

    def conditioning(self, tensors: Sequence[Tensor]) -> Conditioning:
        return Conditioning(*tensors)

    def _shift(self, state: TrackState) -> Tensor:
        """(B, 2) pixels by which the view's content has moved."""
        if state.ids.shape[1] == 0:
            return state.xy.new_zeros(len(state.xy), 2)
        return (state.xy - state.birth_xy).median(1).values

    def _coverage(self, state: TrackState) -> Tensor:
        """(B,) share of a coarse grid's cells that have points: in the picture or in the view, whichever is more."""
        return torch.maximum(*(self._occupied(points) for points in (state.birth_xy, state.xy)))

    def _occupied(self, xy: Tensor) -> Tensor:
        """(B,) share of the cells of the frame that points (B, N, 2) lie in; those outside it do not count."""
        cells = (xy / xy.new_tensor(self.geometry.size) * CELLS).floor().long()
        inside = ((cells >= 0) & (cells < CELLS)).all(-1)
        numbers = torch.where(inside, cells[..., 1] * CELLS + cells[..., 0], CELLS**2)
        return torch.zeros(len(xy), CELLS**2 + 1, device=xy.device).scatter_(1, numbers, 1.0)[:, :-1].mean(1)


def _births(state: TrackState, tracks: TrackBatch) -> tuple[Tensor, Tensor]:
    """Which of the tracks' points the state has (B, N), and their `birth_xy` (B, N, 2)."""
    same = tracks.ids[:, :, None] == state.ids[:, None, :]
    return same.any(-1), torch.einsum("bmn,bnk->bmk", same.to(state.birth_xy), state.birth_xy)


def first_and_tracks(latent: Tensor, tracks: TrackBatch, geometry: Geometry, seed: int, starts: bool) -> Conditioning:
    """The paper's conditioning of the frames given. latent (B, 1, C, h, w): of the first frame; starts: see
    `track_volume`."""
    volume = track_volume(tracks, geometry, seed, starts).to(latent.dtype)
    return Conditioning(first_channels(latent, volume.shape[1], geometry, starts), volume)


def first_channels(latent: Tensor, latents: int, geometry: Geometry, starts: bool) -> Tensor:
    """Mask and first-frame latents (B, T, 4 + C, h, w): of `latent` (B, 1, C, h, w) where a clip starts, else zero."""
    batch, _, channels, *cells = latent.shape
    stride = geometry.temporal_stride
    first = latent.new_zeros(batch, latents, stride + channels, *cells)
    if starts:
        first[:, 0, :stride], first[:, 0, stride:] = 1, latent[:, 0]
    return first
