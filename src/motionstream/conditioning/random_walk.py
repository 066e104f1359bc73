"""What hangs together in a picture, told by its colours: an object moves as one, and the ground behind it stays.

A random walker on a grid of cells steps from cell to cell the more gladly the more alike their colours are, and stops
now and then (Grady, "Random Walks for Image Segmentation", PAMI 2006; the Green's function of a screened Poisson
equation). How surely a walk from one cell comes by another is how strongly the two are bound: nearly 1 within a thing
of one colour, little across an edge or a long way.

Legend: B pictures, N places, n cells, H W pixels.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

CELL, MOST_CELLS = 8, 1024
"""Pixels a side of a cell, unless so small ones would be more than so many: their bonds are a matrix."""
UNLIKE = 0.1
"""Distance of two colours, in [−1, 1] a channel, at which a step between neighbours becomes rare."""
LEAK = 0.003
"""Share of the walkers that step between neighbours however unlike they are."""
STOP = 0.25
"""Share of the walkers that stop at each cell, beside 1 for a step between cells alike: over plain ground bonds fall to
four tenths at the next cell, and to an eighth at the third."""
DIAGONAL = 0.5
"""Weight of a step to a diagonal neighbour."""


def cells(size: tuple[int, int]) -> tuple[int, int]:
    """(rows, columns) of the grid for frames of (W, H)."""
    width, height = size
    side = max(CELL, math.ceil(math.sqrt(width * height / MOST_CELLS)))
    return max(1, height // side), max(1, width // side)


@torch.no_grad()
def bonds(picture: Tensor) -> Tensor:
    """picture (B, 3, H, W) in [−1, 1] → (B, n, n), symmetric, in [0, 1], 1 on the diagonal; cells row by row."""
    rows, columns = cells((picture.shape[-1], picture.shape[-2]))
    colours = F.adaptive_avg_pool2d(picture.float(), (rows, columns))
    walks = torch.diag_embed(torch.full_like(colours[:, 0].flatten(1), STOP))
    index = torch.arange(rows * columns, device=picture.device).view(rows, columns)
    for down, right, weight in ((0, 1, 1.0), (1, 0, 1.0), (1, 1, DIAGONAL), (1, -1, DIAGONAL)):
        here, there = _neighbours(index, down, right)
        unlike = _neighbours(colours, down, right)
        ease = weight * (torch.exp((unlike[0] - unlike[1]).square().sum(1) * (-0.5 / UNLIKE**2)) + LEAK)
        _add_steps(walks, here.flatten(), there.flatten(), ease.flatten(1))
    visits = torch.cholesky_inverse(torch.linalg.cholesky(walks))
    size = visits.diagonal(dim1=-2, dim2=-1).rsqrt()
    return visits * size[:, :, None] * size[:, None, :]


def bound(bonds: Tensor, some: Tensor, others: Tensor, size: tuple[int, int]) -> Tensor:
    """How strongly each of (B, N, 2) places is bound to each of (B, M, 2) others, pixels of frames of `size` (W, H):
    (B, N, M) in [0, 1], interpolated between cells at both ends."""
    if not some.shape[1]:
        return bonds.new_zeros(len(some), 0, others.shape[1])
    to_cells = _at(bonds, some, size)
    return _at(to_cells, others, size).mT


def _at(values: Tensor, places: Tensor, size: tuple[int, int]) -> Tensor:
    """(B, K, n) values of each cell → (B, M, K) of each of (B, M, 2) places."""
    grid = (places * (2 / places.new_tensor(size)) - 1)[:, :, None]
    found = F.grid_sample(
        values.unflatten(-1, cells(size)), grid, mode="bilinear", padding_mode="border", align_corners=False
    )
    return found[..., 0].mT


def _neighbours(x: Tensor, down: int, right: int) -> tuple[Tensor, Tensor]:
    """All pairs of neighbours in this direction, of a tensor (…, rows, columns)."""
    height, width = x.shape[-2:]
    left = max(0, -right)
    first = x[..., : height - down, left : width - max(0, right)]
    second = x[..., down:, left + right : width - max(0, right) + right]
    return first, second


def _add_steps(walks: Tensor, here: Tensor, there: Tensor, ease: Tensor) -> None:
    """Take steps between cells into the Laplacian. Every pair is met once, so that sums along the diagonal alone
    meet, and those are made in order."""
    walks[:, here, there] -= ease
    walks[:, there, here] -= ease
    diagonal = walks.diagonal(dim1=-2, dim2=-1)
    for end in (here, there):
        diagonal[:, end] += ease
