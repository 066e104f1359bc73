"""Affinity of a picture's superpixels: how likely two of them are parts of one object, from their colours.

A random walker on the superpixels steps to a neighbour with a probability that grows with the length of their border
and the likeness of their colours, and stops at a constant rate (Grady, "Random Walks for Image Segmentation", PAMI
2006; the Green's function of a screened Poisson equation). The affinity of two superpixels is a steep function of the
probability that a walk from one visits the other: near 1 within an object of one colour, near 0 across an edge.

Legend: B pictures, N places, n cells, H W pixels, h w those of the picture as its superpixels are drawn.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from motionstream.tiny.superpixels import SIDE, superpixels

MOST_CELLS = 1024
"""Superpixels are 8 pixels a side, or larger where they would be more than so many: affinity is a matrix of them."""
UNLIKE = 0.1
"""Distance of two colours, in [−1, 1] a channel, at which a step between neighbours becomes rare."""
LEAK = 0.003
"""Least transition rate between neighbours of any colours."""
STOP = 0.1
"""Rate of stopping in a full-size cell, beside 1 of a step over a whole side between cells of one colour."""
HALFWAY, STEEP = 0.1, 6
"""Probability of a visit at which the affinity is a half, and the power of its fall below."""
LEAST_AREA = 0.02
"""Least area of a cell, beside 1 of a full one, in the rate of stopping: a cell may have lost all its pixels."""


@dataclass(frozen=True)
class AffinityMatrix:
    """values (B, n, n): affinity of a picture's cells, in [0, 1), symmetric. cell (B, h, w): the cell of each place."""

    values: Tensor
    cell: Tensor

    def between(self, some: Tensor, others: Tensor, size: tuple[int, int]) -> Tensor:
        """Affinity (B, N, M) of (B, N, 2) places and (B, M, 2) others, in pixels of frames of `size` (W, H)."""
        mine, theirs = self._cells_at(some, size), self._cells_at(others, size)
        rows = self.values.gather(1, mine[..., None].expand(-1, -1, self.values.shape[2]))
        return rows.gather(2, theirs[:, None].expand(-1, mine.shape[1], -1))

    def _cells_at(self, places: Tensor, size: tuple[int, int]) -> Tensor:
        """(B, N) the cells of (B, N, 2) places; beyond the frame those at its border."""
        rows, columns = self.cell.shape[1:]
        scaled = (places * (places.new_tensor([columns, rows]) / places.new_tensor(size))).floor().long()
        x, y = scaled[..., 0].clamp(0, columns - 1), scaled[..., 1].clamp(0, rows - 1)
        return self.cell.flatten(1).gather(1, y * columns + x)


def grid(size: tuple[int, int]) -> tuple[int, int]:
    """(rows, columns) of the cells to begin with, for frames of (W, H)."""
    width, height = size
    side = max(SIDE, math.ceil(math.sqrt(width * height / MOST_CELLS)))
    return max(1, height // side), max(1, width // side)


@torch.no_grad()
def affinity(picture: Tensor) -> AffinityMatrix:
    """Of a picture (B, 3, H, W) in [−1, 1]."""
    cell, area, colour = superpixels(picture, grid((picture.shape[-1], picture.shape[-2])))
    over = (visit_probability(_borders(cell, area.shape[1]), area, colour) / HALFWAY).pow(STEEP)
    return AffinityMatrix(over / (1 + over), cell)


def visit_probability(borders: Tensor, area: Tensor, colour: Tensor) -> Tensor:
    """Probability that a walk from one cell visits another: (B, n, n) in [0, 1], symmetric, 1 on the diagonal.

    borders (B, n, n), area (B, n): in cells of full size and their sides. colour (B, 3, n).
    """
    unlike = torch.cdist(colour.mT, colour.mT, compute_mode="donot_use_mm_for_euclid_dist").square()
    steps = borders * (torch.exp(unlike * (-0.5 / UNLIKE**2)) + LEAK)
    leave = steps.sum(2) + STOP * area.clamp(min=LEAST_AREA)
    visits = torch.cholesky_inverse(torch.linalg.cholesky(torch.diag_embed(leave) - steps))
    size = visits.diagonal(dim1=-2, dim2=-1).rsqrt()
    return visits * size[:, :, None] * size[:, None, :]


def _borders(cell: Tensor, cells: int) -> Tensor:
    """(B, n, n) length of the border between each two cells, in sides of a cell as it began."""
    first = torch.arange(len(cell), device=cell.device)[:, None, None] * cells
    pairs = [
        ((first + here) * cells + there).flatten()
        for here, there in ((cell[:, 1:], cell[:, :-1]), (cell[:, :, 1:], cell[:, :, :-1]))
    ]
    counted = torch.bincount(torch.cat(pairs), minlength=len(cell) * cells**2).view(-1, cells, cells)
    within = torch.eye(cells, dtype=torch.bool, device=cell.device)
    return (counted + counted.mT).masked_fill(within, 0).float() / SIDE
