"""Superpixels: a picture in as many cells as a coarse grid has, each of about one colour, with borders along edges.

Simple linear iterative clustering (Achanta et al., "SLIC Superpixels", PAMI 2012): k-means on colour and position, in
which a pixel chooses among the nine nearest cells. So a thin part has cells of its own, which square cells would mix
with the background. Sums are taken in a fixed order, so that the same picture always has the same cells.

Legend: B pictures, r c rows and columns of cells, n = r c cells, h w pixels of the downscaled picture.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

SIDE = 8
"""Pixels a side of an initial cell, in the downscaled picture."""
LIKE = 0.25
"""Distance of two colours, in [−1, 1] a channel, that counts as much as a cell's side."""
ITERATIONS = 5
"""Iterations of k-means."""
NEIGHBOURS: tuple[tuple[int, int], ...] = tuple((down, right) for down in (-1, 0, 1) for right in (-1, 0, 1))
"""(down, right) to the cells that a pixel chooses from."""


def superpixels(picture: Tensor, grid: tuple[int, int]) -> tuple[Tensor, Tensor, Tensor]:
    """picture (B, 3, H, W) in [−1, 1] → its cells, initialised as a `grid` of (r, c).

    Returns cell (B, 8 r, 8 c), long: the cell of each place of the picture, scaled so that a cell is 8 × 8 to begin
    with; area (B, n): the cells' sizes in those pixels over 64; colour (B, 3, n): their means.
    """
    features = _features(picture, grid)
    middles = F.avg_pool2d(features, SIDE)
    for _ in range(ITERATIONS):
        choice = _chosen(features, middles)
        sums, area = _gathered(features, choice)
        middles = torch.where(area > 0, sums / area.clamp(min=SIDE**-2), middles)
    home = torch.arange(grid[0] * grid[1], device=picture.device).view(1, *grid)
    steps = torch.tensor([down * grid[1] + right for down, right in NEIGHBOURS], device=picture.device)
    return _enlarged(home) + steps[choice[:, 0]], area.flatten(1), middles[:, :3].flatten(2) * LIKE


def _features(picture: Tensor, grid: tuple[int, int]) -> Tensor:
    """(B, 5, 8 r, 8 c): colour and place, scaled to comparable units."""
    height, width = grid[0] * SIDE, grid[1] * SIDE
    colours = F.adaptive_avg_pool2d(picture.float(), (height, width)) / LIKE
    down, right = ((torch.arange(side, device=picture.device) + 0.5) / SIDE for side in (height, width))
    places = torch.stack(torch.meshgrid(down, right, indexing="ij")).expand(len(picture), -1, -1, -1)
    return torch.cat([colours, places], 1)


def _chosen(features: Tensor, middles: Tensor) -> Tensor:
    """(B, 1, 8 r, 8 c) the nearest of the nine neighbouring cells of each pixel."""
    far = [
        (features - _enlarged(_shifted(middles, *step, torch.inf))).square().sum(1, keepdim=True) for step in NEIGHBOURS
    ]
    return torch.cat(far, 1).argmin(1, keepdim=True)


def _gathered(features: Tensor, choice: Tensor) -> tuple[Tensor, Tensor]:
    """Sums of features (B, 5, r, c) over the pixels of each cell, over 64, and their number (B, 1, r, c), over 64."""
    counted = F.pad(features, (0, 0, 0, 0, 0, 1), value=1.0)
    sums = torch.zeros_like(F.avg_pool2d(counted, SIDE))
    for index, (down, right) in enumerate(NEIGHBOURS):
        here = F.avg_pool2d(counted * (choice == index), SIDE)
        sums = sums + _shifted(here, -down, -right, 0.0)
    return sums[:, :-1], sums[:, -1:]


def _shifted(cells: Tensor, down: int, right: int, beyond: float) -> Tensor:
    """What stands `down` rows and `right` columns from each cell of (…, r, c)."""
    rows, columns = cells.shape[-2:]
    padded = F.pad(cells, (1, 1, 1, 1), value=beyond)
    return padded[..., 1 + down : 1 + down + rows, 1 + right : 1 + right + columns]


def _enlarged(cells: Tensor) -> Tensor:
    """(…, r, c) → (…, 8 r, 8 c)."""
    return cells.repeat_interleave(SIDE, -2).repeat_interleave(SIDE, -1)
