"""Superpixels follow edges, lose no pixel, and are those of one picture whatever stands beside it."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from motionstream.tiny.superpixels import SIDE, superpixels

GRID = (6, 9)


def lines(size: tuple[int, int] = (GRID[1] * SIDE, GRID[0] * SIDE)) -> Tensor:
    """A slanted bright stripe, 5 pixels wide, on darker ground."""
    ys, xs = torch.meshgrid(torch.arange(size[1]) + 0.5, torch.arange(size[0]) + 0.5, indexing="ij")
    bright = (xs - 0.5 * ys - 20).abs() < 2.5
    return torch.where(bright, 0.8, -0.5).expand(1, 3, -1, -1).contiguous()


def test_a_plain_picture_keeps_the_grid() -> None:
    cell, area, colour = superpixels(torch.full((1, 3, 48, 72), 0.3), GRID)
    square = torch.arange(54).view(GRID).repeat_interleave(SIDE, 0).repeat_interleave(SIDE, 1)
    assert torch.equal(cell[0], square)
    torch.testing.assert_close(area, torch.ones(1, 54))
    torch.testing.assert_close(colour, torch.full((1, 3, 54), 0.3))


def test_cells_have_one_colour_where_squares_would_mix_two() -> None:
    picture = lines()
    cell, area, colour = superpixels(picture, GRID)
    own = colour[0, 0][cell[0]]
    assert (own - picture[0, 0]).abs().mean() < 0.02
    square = torch.nn.functional.avg_pool2d(picture, SIDE)[0, 0].repeat_interleave(SIDE, 0).repeat_interleave(SIDE, 1)
    assert (square - picture[0, 0]).abs().mean() > 0.08
    assert area.sum().item() == pytest.approx(54)
    assert torch.equal(torch.bincount(cell.flatten(), minlength=54) / SIDE**2, area[0])


def test_a_pixel_goes_to_one_of_the_nine_cells_round_it() -> None:
    torch.manual_seed(0)
    cell = superpixels(torch.rand(1, 3, 48, 72) * 2 - 1, GRID)[0][0]
    home = torch.arange(54).view(GRID).repeat_interleave(SIDE, 0).repeat_interleave(SIDE, 1)
    assert (cell // GRID[1] - home // GRID[1]).abs().max() == 1
    assert (cell % GRID[1] - home % GRID[1]).abs().max() == 1


def test_pictures_side_by_side_do_not_touch_one_another() -> None:
    torch.manual_seed(0)
    pictures = torch.rand(3, 3, 50, 75) * 2 - 1
    together = superpixels(pictures, GRID)
    for index in range(3):
        alone = superpixels(pictures[index : index + 1], GRID)
        for a, b in zip(together, alone, strict=True):
            assert torch.equal(a[index : index + 1], b)
