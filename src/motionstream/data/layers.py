"""A layer of a world: a texture and the exact, invertible map that lays it into each frame.

Legend: F frames, N points, local = the layer's own pixels from its centre, frame = pixels of the frame.
Coordinates have pixel centres at +0.5.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import grid_sample

from motionstream.data.motion import Array, Bending

OUTLINE = 24  # points along each edge of a texture from which its bounds in a frame are found


@dataclass(frozen=True)
class Placement:
    """local ↔ frame, frame by frame: a bending (two shears) followed by an affine map.

    matrix: (F, 2, 3) local → frame. shears: (F, 5) of bend, sway, its phase, ripple, its phase, or None if
    rigid. waves, radius: as in `Bending`. The inverse is exact: a shear is undone by its negative.
    """

    matrix: Tensor
    shears: Tensor | None = None
    waves: tuple[float, float] = (0.0, 0.0)
    radius: float = 1.0

    @classmethod
    def of(cls, matrix: Array, bending: Bending | None, radius: float) -> Placement:
        """From (F, 2, 3) matrices and an optional bending of a layer with half-size `radius`."""
        if bending is None:
            return cls(torch.from_numpy(matrix))
        rows = (bending.bend, bending.sway, bending.sway_phase, bending.ripple, bending.ripple_phase)
        return cls(torch.from_numpy(matrix), torch.from_numpy(np.stack(rows, -1)), bending.waves, radius)

    @property
    def frames(self) -> int:
        return self.matrix.shape[0]

    @property
    def is_still(self) -> bool:
        """Whether every frame is laid out as the first one."""
        return self.shears is None and bool((self.matrix == self.matrix[:1]).all())

    def to(self, device: torch.device, dtype: torch.dtype) -> Placement:
        shears = None if self.shears is None else self.shears.to(device, dtype)
        return Placement(self.matrix.to(device, dtype), shears, self.waves, self.radius)

    def at(self, frames: Tensor) -> Placement:
        """Only those frames."""
        shears = None if self.shears is None else self.shears[frames]
        return Placement(self.matrix[frames], shears, self.waves, self.radius)

    def forward(self, local: Tensor) -> Tensor:
        """(N, 2) local → (F, N, 2) frame."""
        u, v = (axis.expand(self.frames, -1) for axis in local.unbind(-1))
        if self.shears is not None:
            u = u + self._sway(v)
            v = v + self._ripple(u)
        (a, b, c), (d, e, f) = _columns(self.matrix, u.ndim)
        return torch.stack([a * u + b * v + c, d * u + e * v + f], -1)

    def inverse(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        """Frame x and y, (F, …) and broadcastable with one another → local u and v."""
        (a, b, c), (d, e, f) = _columns(_inverted(self.matrix), x.ndim)
        u, v = a * x + (b * y + c), d * x + (e * y + f)
        if self.shears is not None:
            v = v - self._ripple(u)
            u = u - self._sway(v)
        return u, v

    def _sway(self, v: Tensor) -> Tensor:
        bend, sway, phase = (self._shear(i, v.ndim) for i in (0, 1, 2))
        scaled = v / self.radius
        return bend * scaled * scaled + sway * torch.sin(scaled * self.waves[0] + phase)

    def _ripple(self, u: Tensor) -> Tensor:
        ripple, phase = self._shear(3, u.ndim), self._shear(4, u.ndim)
        return ripple * torch.sin(u * (self.waves[1] / self.radius) + phase)

    def _shear(self, column: int, ndim: int) -> Tensor:
        assert self.shears is not None
        return self.shears[:, column].reshape(-1, *[1] * (ndim - 1))


def _columns(matrix: Tensor, ndim: int) -> list[list[Tensor]]:
    """The six numbers of (F, 2, 3) matrices, each shaped to multiply an (F, …) tensor of `ndim` dimensions."""
    shape = (-1, *[1] * (ndim - 1))
    return [[matrix[:, row, column].reshape(shape) for column in range(3)] for row in range(2)]


def _inverted(matrix: Tensor) -> Tensor:
    """(F, 2, 3) → (F, 2, 3) of the inverse map."""
    (a, b), (c, d) = matrix[:, 0, :2].unbind(-1), matrix[:, 1, :2].unbind(-1)
    rows = torch.stack([torch.stack([d, -b], -1), torch.stack([-c, a], -1)], -2)
    linear = rows / (a * d - b * c)[:, None, None]
    return torch.cat([linear, -linear @ matrix[:, :, 2:]], -1)


@dataclass(frozen=True)
class Layer:
    """One sheet of a world.

    texture: (4, h, w) premultiplied RGBA, or (3, h, w) for a ground, which mirrors on beyond its edges.
    number: 0 the ground, 1 … the things on it. solid: covers what is behind it (a shadow does not).
    """

    texture: Tensor
    placement: Placement
    number: int
    solid: bool = True

    @property
    def is_ground(self) -> bool:
        return self.texture.shape[0] == 3

    def sample(self, texture: Tensor, x: Tensor, y: Tensor, placement: Placement) -> Tensor:
        """Channels of `texture` (c, h, w) at frame positions x, y (F, …) → (c, F·…) laid out as (c, F, rows, …)."""
        u, v = placement.inverse(x, y)
        height, width = texture.shape[1:]
        grid = torch.empty(*torch.broadcast_shapes(u.shape, v.shape), 2, dtype=u.dtype, device=u.device)
        torch.mul(u, 2 / width, out=grid[..., 0])
        torch.mul(v, 2 / height, out=grid[..., 1])
        flat = grid.reshape(1, grid.shape[0] * grid.shape[1], -1, 2)
        mode = "reflection" if self.is_ground else "zeros"
        out = grid_sample(texture[None], flat, "bilinear", mode, align_corners=False)
        return out.reshape(texture.shape[0], *grid.shape[:-1])

    def alpha_at(self, xy: Tensor, placement: Placement | None = None) -> Tensor:
        """(F, N, 2) frame positions → (F, N) alpha of this layer there."""
        if self.is_ground:
            return torch.ones(xy.shape[:2])
        where = placement or self.placement
        x, y = xy[..., None, 0], xy[..., None, 1]
        exact = where.to(xy.device, xy.dtype)
        return self.sample(self.texture[3:].to(xy.dtype), x, y, exact)[0, ..., 0]

    def bounds(self) -> tuple[Tensor, Tensor]:
        """Lower and upper corner, each (F, 2), of the box that holds the layer in each frame."""
        height, width = self.texture.shape[1:]
        along = torch.linspace(-0.5, 0.5, OUTLINE, dtype=self.placement.matrix.dtype)
        edge = torch.full_like(along, 0.5)
        sides = [(along, -edge), (along, edge), (-edge, along), (edge, along)]
        outline = torch.cat([torch.stack([u * width, v * height], -1) for u, v in sides])
        shown = self.placement.forward(outline)
        return shown.amin(1) - 1, shown.amax(1) + 1
