"""Even grids of points over a whole frame, for trackers and camera paths."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt


def even_grid(size: tuple[int, int], along: int) -> npt.NDArray[np.float32]:
    """(N, 2) float32 points, row by row, in a frame of (W, H) pixels: `along` of them on its longer side.

    They are the centres of cells that are square, as nearly as the shorter side allows.
    Raises ValueError for along < 1.
    """
    if along < 1:
        raise ValueError(f"{along} points along the longer side: at least 1")
    width, height = size
    cell = max(width, height) / along
    return grid(size, max(1, round(width / cell)), max(1, round(height / cell)))


def grid(size: tuple[int, int], columns: int, rows: int) -> npt.NDArray[np.float32]:
    """(columns · rows, 2) float32 points, row by row, each in the middle of its cell of a frame of (W, H) pixels.

    Raises ValueError for fewer than one column or row.
    """
    if columns < 1 or rows < 1:
        raise ValueError(f"a grid of {columns}×{rows} points: at least 1×1")
    width, height = size
    x, y = (np.arange(columns) + 0.5) * width / columns, (np.arange(rows) + 0.5) * height / rows
    return np.stack(np.meshgrid(x, y), -1).reshape(-1, 2).astype(np.float32)
