"""A layer of a world: a texture and the exact, invertible map that places it in each frame.

Legend: F frames, N points, local = the layer's own pixels from its centre, frame = pixels of the frame.
Coordinates have pixel centres at +0.5.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn.functional import grid_sample

from motionstream.data.motion import Array, Bending

OUTLINE = 24  # points along each edge of a texture, to find its bounds in a frame
SOFT_JOINT = 0.1  # radius of a joint's bend, in half-sizes of a layer


@dataclass(frozen=True)
class Placement:
    """local ↔ frame, frame by frame: a bending (two shears), a tilt in perspective, and an affine map.

    matrix: (F, 2, 3) local → frame. shears (F, 7), waves, joints, radius: as in `Bending`, None if rigid. tilt: (F, 2)
    as in `Turn`, or None in the picture's plane. The inverse is exact: a shear is inverted by its negative, and so is a
    tilt.
    """

    matrix: Tensor
    shears: Tensor | None = None
    tilt: Tensor | None = None
    waves: tuple[float, float] = (0.0, 0.0)
    joints: tuple[float, float] = (0.0, 0.0)
    radius: float = 1.0

    @classmethod
    def of(cls, matrix: Array, bending: Bending | None, radius: float, tilt: Array | None = None) -> Placement:
        """From (F, 2, 3) matrices and an optional bending and tilt (F, 2) of a layer with half-size `radius`."""
        placed = cls(torch.from_numpy(matrix), tilt=None if tilt is None else torch.from_numpy(tilt))
        if bending is None:
            return placed
        shears = torch.from_numpy(bending.shears)
        return replace(placed, shears=shears, waves=bending.waves, joints=bending.joints, radius=radius)

    @property
    def frames(self) -> int:
        return self.matrix.shape[0]

    @property
    def is_still(self) -> bool:
        """Whether all frames are placed as the first one."""
        return self.shears is None and self.tilt is None and bool((self.matrix == self.matrix[:1]).all())

    def to(self, device: torch.device, dtype: torch.dtype) -> Placement:
        return self._each(lambda part: part.to(device, dtype))

    def at(self, frames: Tensor) -> Placement:
        """Only those frames."""
        return self._each(lambda part: part[frames])

    def later(self, by: float) -> Placement:
        """This fraction of a frame later (earlier, if negative), extrapolated linearly."""
        if self.frames < 2:
            return self
        return self._each(lambda part: part + by * torch.gradient(part, dim=0)[0])

    def _each(self, change: Callable[[Tensor], Tensor]) -> Placement:
        """With a function applied to each of its tensors."""
        shears, tilt = (None if part is None else change(part) for part in (self.shears, self.tilt))
        return replace(self, matrix=change(self.matrix), shears=shears, tilt=tilt)

    def forward(self, local: Tensor) -> Tensor:
        """(N, 2) local → (F, N, 2) frame."""
        u, v = (axis.expand(self.frames, -1) for axis in local.unbind(-1))
        if self.shears is not None:
            u = u + self._sway(v)
            v = v + self._ripple(u)
        u, v = self._tilted(u, v, 1)
        (a, b, c), (d, e, f) = _columns(self.matrix, u.ndim)
        return torch.stack([a * u + b * v + c, d * u + e * v + f], -1)

    def inverse(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        """Frame x and y, (F, …) and broadcastable with one another → local u and v."""
        (a, b, c), (d, e, f) = _columns(_inverted(self.matrix), x.ndim)
        u, v = self._tilted(a * x + (b * y + c), d * x + (e * y + f), -1)
        if self.shears is not None:
            v = v - self._ripple(u)
            u = u - self._sway(v)
        return u, v

    def _tilted(self, u: Tensor, v: Tensor, sign: int) -> tuple[Tensor, Tensor]:
        """In perspective (sign 1), or its inverse (−1). No layer reaches the vanishing line."""
        if self.tilt is None:
            return u, v
        across, down = (column.reshape(-1, *[1] * (u.ndim - 1)) for column in self.tilt.unbind(-1))
        nearness = 1 / (1 + sign * (across * u + down * v))
        return u * nearness, v * nearness

    def _sway(self, v: Tensor) -> Tensor:
        bend, sway, phase = (self._shear(i, v.ndim) for i in (0, 1, 2))
        scaled = v / self.radius
        moved = bend * scaled * scaled + sway * torch.sin(scaled * self.waves[0] + phase)
        for column, joint in enumerate(self.joints, 5):
            beyond = scaled - joint
            moved = moved + self._shear(column, v.ndim) * 0.5 * (beyond + torch.sqrt(beyond * beyond + SOFT_JOINT**2))
        return moved

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
    """One layer of a world.

    texture: (4, h, w) premultiplied RGBA, or (3, h, w) for a ground, which is mirrored beyond its edges.
    number: 0 the ground, 1 … the objects on it. solid: occludes what is behind it (a shadow does not). light: (F,)
    factor of its brightness, or None if that is constant.
    """

    texture: Tensor
    placement: Placement
    number: int
    solid: bool = True
    light: Tensor | None = None

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
        """Lower and upper corner, each (F, 2), of the layer's bounding box in each frame."""
        height, width = self.texture.shape[1:]
        along = torch.linspace(-0.5, 0.5, OUTLINE, dtype=self.placement.matrix.dtype)
        edge = torch.full_like(along, 0.5)
        sides = [(along, -edge), (along, edge), (-edge, along), (edge, along)]
        outline = torch.cat([torch.stack([u * width, v * height], -1) for u, v in sides])
        shown = self.placement.forward(outline)
        return shown.amin(1) - 1, shown.amax(1) + 1
