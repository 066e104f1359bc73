"""Bonds: within a thing strong, across edges weak, alike in both directions, and few whatever the frame."""

from __future__ import annotations

import pytest
import torch

from motionstream.conditioning import bonds
from motionstream.conditioning.random_walk import CELL, LEAK, MOST_CELLS, STOP, UNLIKE, bound, cells

SIZE = (96, 64)


def halves(contrast: float = 1.6) -> torch.Tensor:
    """(1, 3, 64, 96): one colour to the left of x = 48, another to the right."""
    picture = torch.full((1, 3, SIZE[1], SIZE[0]), -contrast / 2)
    picture[..., 48:] = contrast / 2
    return picture


def one(picture: torch.Tensor, some: tuple[float, float], other: tuple[float, float]) -> float:
    places = (torch.tensor([[place]]) for place in (some, other))
    return float(bound(bonds(picture), *places, SIZE))


def test_they_are_a_symmetric_matrix_with_ones_on_the_diagonal() -> None:
    torch.manual_seed(0)
    made = bonds(torch.rand(2, 3, SIZE[1], SIZE[0]) * 2 - 1)
    n = cells(SIZE)[0] * cells(SIZE)[1]
    assert made.shape == (2, n, n)
    torch.testing.assert_close(made, made.mT)
    torch.testing.assert_close(made.diagonal(dim1=1, dim2=2), torch.ones(2, n))
    assert made.min() > 0
    assert made.max() <= 1 + 1e-6
    assert (made[0] - made[1]).abs().max() > 0.05


def test_an_edge_separates_what_a_plain_ground_binds() -> None:
    plain, edged = halves(0.0), halves()
    assert one(edged, (36, 32), (60, 32)) < 0.2 * one(plain, (36, 32), (60, 32))
    assert one(edged, (12, 32), (36, 32)) > 0.9 * one(plain, (12, 32), (36, 32))


def test_they_fade_with_the_way() -> None:
    near, far = one(halves(0.0), (20, 32), (36, 32)), one(halves(0.0), (20, 32), (84, 32))
    assert 0 < far < 0.5 * near < near < 1


def test_they_say_what_a_long_walk_by_chance_finds() -> None:
    """Visits of ten thousand steps of the walk itself, counted by powers of its matrix, on a strip of 12 cells."""
    strip = torch.linspace(-1, 1, 12).repeat_interleave(CELL).view(1, 1, 1, -1).expand(1, 3, CELL, -1)
    made = bonds(strip)[0].double()
    ease = torch.exp(-3 * (2 / 11) ** 2 / (2 * UNLIKE**2) * torch.ones(11, dtype=torch.float64)) + LEAK
    leave = torch.zeros(12, 12, dtype=torch.float64)
    leave[range(11), range(1, 12)] = leave[range(1, 12), range(11)] = ease
    out = leave.sum(1) + STOP
    step, visits = leave / out[:, None], torch.eye(12, dtype=torch.float64)
    walked = visits.clone()
    for _ in range(10_000):
        walked = walked @ step
        visits += walked
    green = visits / out[None, :]
    expected = green / (green.diagonal()[:, None] * green.diagonal()[None, :]).sqrt()
    torch.testing.assert_close(made, expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize("size", [(16, 16), (160, 96), (256, 144), (832, 480), (1920, 1080)])
def test_cells_are_no_more_than_a_matrix_can_hold(size: tuple[int, int]) -> None:
    rows, columns = cells(size)
    assert 1 <= rows * columns <= MOST_CELLS
    if size == (256, 144):
        assert (rows, columns) == (18, 32)


def test_no_places_have_no_bonds() -> None:
    none = torch.zeros(1, 0, 2)
    assert bound(bonds(halves()), none, torch.zeros(1, 5, 2), SIZE).shape == (1, 0, 5)
    assert bound(bonds(halves()), torch.zeros(1, 5, 2), none, SIZE).shape == (1, 5, 0)
