"""Tracks → the fixed part of track conditioning: identity codes placed where the points are (paper Section 3.1).

c_m[t, ⌊y/s⌋, ⌊x/s⌋] = v[t, n] · φ_n, with φ_n a sinusoidal code of a random ID number of point n; then the frames of
one latent are packed into channels. The learned part is `track_head.py`.

Legend: B clips, F frames, N points, T latents, D code width, h w latent cells.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from einops import rearrange
from torch import Tensor

from motionstream.geometry import Geometry
from motionstream.tracks import Tracks

CODE_WIDTH = 64
_BITS = 0xFFFF


@dataclass(frozen=True)
class TrackBatch:
    """Tracks of a batch, padded to the same number of points.

    xy: (B, F, N, 2) float32 frame pixels; visible: (B, F, N) bool; ids: (B, N) int64.
    """

    xy: Tensor
    visible: Tensor
    ids: Tensor

    @classmethod
    def of(cls, tracks: Sequence[Tracks], device: torch.device | str = "cpu") -> TrackBatch:
        most = max(one.points for one in tracks)
        pad = [most - one.points for one in tracks]
        xy = [np.pad(one.xy, ((0, 0), (0, n), (0, 0))) for one, n in zip(tracks, pad, strict=True)]
        visible = [np.pad(one.visible, ((0, 0), (0, n))) for one, n in zip(tracks, pad, strict=True)]
        ids = [np.pad(one.ids, (0, n), constant_values=-1) for one, n in zip(tracks, pad, strict=True)]
        stacked = (torch.from_numpy(np.stack(part)).to(device) for part in (xy, visible, ids))
        return cls(*stacked)

    @property
    def frames(self) -> int:
        return self.xy.shape[1]

    def slice(self, begin: int, end: int) -> TrackBatch:
        """Frames [begin, end)."""
        return TrackBatch(self.xy[:, begin:end], self.visible[:, begin:end], self.ids)

    def first_seen(self) -> Tensor:
        """(B, N, 2) where each point is in the first frame in which it is visible."""
        first = self.visible.int().argmax(1)[:, None, :, None].expand(-1, -1, -1, 2)
        return self.xy.gather(1, first)[:, 0]

    def hidden(self, clips: Tensor) -> TrackBatch:
        """The same tracks with every point of the clips marked in (B,) bool hidden: the null control."""
        return TrackBatch(self.xy, self.visible & ~clips.to(self.xy.device)[:, None, None], self.ids)


def identity_codes(ids: Tensor, seed: int) -> Tensor:
    """(…,) point ids → (…, 64) sinusoidal codes φ of numbers drawn at random, fixed by (seed, id).

    Any 65 536 ids in a row get different numbers: each line below is one-to-one on 16 bits.
    """
    number = (ids + (seed * 0x9E37 & _BITS)) & _BITS
    number = ((number ^ (number >> 8)) * 0x88B5) & _BITS
    number = ((number ^ (number >> 7)) * 0xDB2D) & _BITS
    number = (number ^ (number >> 9)).float()
    rates = torch.exp(torch.arange(CODE_WIDTH // 2, device=ids.device) * (-math.log(1e4) / (CODE_WIDTH // 2)))
    angles = number[..., None] * rates
    return torch.cat([angles.sin(), angles.cos()], -1)


def cell_index(xy: Tensor, geometry: Geometry) -> tuple[Tensor, Tensor]:
    """(…, 2) frame pixels → (…,) flat index of the latent cell, and whether the point is inside the frame."""
    column, row = (xy / geometry.spatial_stride).floor().long().unbind(-1)
    inside = (column >= 0) & (column < geometry.latent_width) & (row >= 0) & (row < geometry.latent_height)
    return (row * geometry.latent_width + column).where(inside, 0), inside


def track_volume(tracks: TrackBatch, geometry: Geometry, seed: int, starts: bool) -> Tensor:
    """Packed volume (B, T, 4·64, h, w) float32 of the frames given.

    starts: the frames are the start of a clip (1 + 4n; the first fills a latent alone, its three earlier slots
    stay empty) or go on within one (4n). Points that share a cell are averaged.
    """
    batch, frames = tracks.visible.shape[:2]
    cells, shown = cell_index(tracks.xy, geometry)
    shown = shown & tracks.visible
    codes = identity_codes(tracks.ids, seed)[:, None].expand(-1, frames, -1, -1)
    weighted = torch.cat([codes, torch.ones_like(codes[..., :1])], -1) * shown[..., None]
    area = geometry.latent_height * geometry.latent_width
    volume = torch.zeros(batch, frames, area, CODE_WIDTH + 1, device=tracks.xy.device)
    volume.scatter_add_(2, cells[..., None].expand_as(weighted), weighted)
    volume = volume[..., :-1] / volume[..., -1:].clamp(min=1)
    return pack_frames(rearrange(volume, "b f (h w) d -> b f d h w", h=geometry.latent_height), geometry, starts)


def pack_frames(x_BFDhw: Tensor, geometry: Geometry, starts: bool) -> Tensor:
    """Frames of one latent into channels: (B, F, D, h, w) → (B, T, 4·D, h, w)."""
    group = geometry.temporal_stride
    if starts:
        x_BFDhw = torch.cat([torch.zeros_like(x_BFDhw[:, :1]).expand(-1, group - 1, -1, -1, -1), x_BFDhw], 1)
    return rearrange(x_BFDhw, "b (t p) d h w -> b t (p d) h w", p=group)
