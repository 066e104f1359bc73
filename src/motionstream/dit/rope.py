"""Rotary positions in time, y and x, split over a head as Wan does.

Legend: B batch, T latents, S tokens of a latent, H heads, D channels of a head.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import torch
from torch import Tensor

THETA = 10000.0

Table = tuple[Tensor, Tensor]
"""cos and sin, each (T, S, 1, D/2) float32."""


def split_head(head_dim: int) -> tuple[int, int, int]:
    """Channels of a head that carry time, y and x."""
    space = 2 * (head_dim // 6)
    return head_dim - 2 * space, space, space


def rotary_table(positions: Sequence[float], grid: tuple[int, int], head_dim: int, device: torch.device | str) -> Table:
    """cos and sin for latents at these temporal positions, each of grid (rows, columns) tokens.

    Positions are any numbers, one a latent, in whatever order the latents lie in memory: a cache slot has the
    position of its content. Tables are cached, so that a running stream computes none.
    """
    return _table(tuple(float(p) for p in positions), grid, head_dim, torch.device(device))


@lru_cache(maxsize=256)
def _table(positions: tuple[float, ...], grid: tuple[int, int], head_dim: int, device: torch.device) -> Table:
    # Outside inference mode: a table made while serving may be used in training later.
    with torch.inference_mode(False), torch.no_grad():
        time, rows, columns = (
            _angles(where, channels)
            for where, channels in zip((positions, range(grid[0]), range(grid[1])), split_head(head_dim), strict=True)
        )
        T, (Y, X) = len(positions), grid
        angles = torch.cat(
            (
                time[:, None, None].expand(T, Y, X, -1),
                rows[None, :, None].expand(T, Y, X, -1),
                columns[None, None, :].expand(T, Y, X, -1),
            ),
            dim=-1,
        ).reshape(T, Y * X, 1, head_dim // 2)
        return angles.cos().float().to(device), angles.sin().float().to(device)


def _angles(positions: Sequence[float], channels: int) -> Tensor:
    """(positions, channels/2) float64 radians."""
    powers = torch.arange(0, channels, 2, dtype=torch.float64, device="cpu") / channels
    return torch.outer(torch.tensor(list(positions), dtype=torch.float64, device="cpu"), THETA**-powers)


def rotate(x_BTSHD: Tensor, table: Table) -> Tensor:
    """Rotate neighbouring channel pairs by the table's angles, in float32; dtype of x kept."""
    cos, sin = table
    even, odd = x_BTSHD.float().unflatten(-1, (-1, 2)).unbind(-1)
    rotated = torch.stack((even * cos - odd * sin, even * sin + odd * cos), dim=-1)
    return rotated.flatten(-2).type_as(x_BTSHD)


def unrotate(x_BTSHD: Tensor, table: Table) -> Tensor:
    """Undo `rotate`, up to rounding."""
    cos, sin = table
    return rotate(x_BTSHD, (cos, -sin))


def rotary_turns(
    positions: Sequence[float], grid: tuple[int, int], head_dim: int, device: torch.device | str
) -> Tensor:
    """The rotary table as complex numbers, (T, S, 1, D/2)."""
    return torch.complex(*rotary_table(positions, grid, head_dim, device))
