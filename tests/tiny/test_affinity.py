"""Bonds: within a thing strong, across edges weak, alike in both directions, and few whatever the frame."""

from __future__ import annotations

import pytest
import torch

from motionstream.tiny.affinity import (
    HALFWAY,
    LEAK,
    MOST_CELLS,
    STOP,
    UNLIKE,
    _borders,
    affinity,
    grid,
    visit_probability,
)
from motionstream.tiny.superpixels import SIDE, superpixels

SIZE = (96, 64)


def halves(contrast: float = 1.6) -> torch.Tensor:
    """(1, 3, 64, 96): one colour to the left of x = 48, another to the right."""
    picture = torch.full((1, 3, SIZE[1], SIZE[0]), -contrast / 2)
    picture[..., 48:] = contrast / 2
    return picture


def thing(joined: bool) -> torch.Tensor:
    """A body (columns 4 to 27) and a head (52 to 75) of one colour on plain ground, 4 rows of neck between them."""
    picture = torch.full((1, 3, SIZE[1], SIZE[0]), -0.6)
    picture[..., 16:48, 4:28] = picture[..., 16:48, 52:76] = 0.7
    if joined:
        picture[..., 30:34, 28:52] = 0.7
    return picture


def one(picture: torch.Tensor, some: tuple[float, float], other: tuple[float, float]) -> float:
    """How surely two places belong together."""
    return float(affinity(picture).between(*(torch.tensor([[place]]) for place in (some, other)), SIZE))


def meetings(picture: torch.Tensor) -> torch.Tensor:
    """(B, n, n) how surely walks meet."""
    cell, area, colour = superpixels(picture, grid((picture.shape[-1], picture.shape[-2])))
    return visit_probability(_borders(cell, area.shape[1]), area, colour)


def test_they_are_a_symmetric_matrix_with_ones_on_the_diagonal() -> None:
    torch.manual_seed(0)
    pictures = torch.rand(2, 3, SIZE[1], SIZE[0]) * 2 - 1
    made, n = meetings(pictures), grid(SIZE)[0] * grid(SIZE)[1]
    assert made.shape == (2, n, n)
    torch.testing.assert_close(made, made.mT)
    torch.testing.assert_close(made.diagonal(dim1=1, dim2=2), torch.ones(2, n))
    assert made.min() >= 0
    assert made.max() <= 1 + 1e-6
    assert (made[0] - made[1]).abs().max() > 0.05


def test_half_together_is_where_so_many_walks_meet() -> None:
    picture = halves(0.6)
    share, surely = meetings(picture), affinity(picture).values
    assert torch.equal(share > HALFWAY, surely > 0.5)
    assert 0 < surely.min() < 0.01
    assert 0.99 < surely.max() < 1


def test_an_edge_separates_what_a_plain_ground_binds() -> None:
    plain, edged = halves(0.0), halves()
    assert one(edged, (44, 32), (52, 32)) < 0.02 * one(plain, (44, 32), (52, 32))
    assert one(edged, (12, 32), (36, 32)) > 0.9 * one(plain, (12, 32), (36, 32))


def test_a_thin_neck_joins_a_head_to_its_body() -> None:
    """Its four rows are half a cell of the grid: square cells would mix them with the ground."""
    body, head, ground = (20, 32), (58, 32), (40, 10)
    assert one(thing(joined=True), body, head) > 0.5
    assert one(thing(joined=False), body, head) < 0.02
    assert one(thing(joined=True), body, ground) < 0.02


def test_they_fade_with_the_way() -> None:
    near, far = one(halves(0.0), (20, 32), (36, 32)), one(halves(0.0), (20, 32), (84, 32))
    assert 0 < far < 0.8 * near < near < 1


def test_they_say_what_a_long_walk_by_chance_finds() -> None:
    """Visits of ten thousand steps of the walk itself, counted by powers of its matrix, on a strip of 12 cells."""
    strip = torch.linspace(-1, 1, 12).repeat_interleave(SIDE).view(1, 1, 1, -1).expand(1, 3, SIDE, -1)
    made = meetings(strip)[0].double()
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
    rows, columns = grid(size)
    assert 1 <= rows * columns <= MOST_CELLS
    if size == (256, 144):
        assert (rows, columns) == (18, 32)


def test_no_places_have_no_bonds() -> None:
    none, some, made = torch.zeros(1, 0, 2), torch.zeros(1, 5, 2), affinity(halves())
    assert made.between(none, some, SIZE).shape == (1, 0, 5)
    assert made.between(some, none, SIZE).shape == (1, 5, 0)


def test_places_beyond_the_frame_are_those_at_its_border() -> None:
    made = affinity(halves())
    inside, beyond = torch.tensor([[[0.5, 0.5], [95.5, 63.5]]]), torch.tensor([[[-9.0, -30.0], [300.0, 64.0]]])
    torch.testing.assert_close(made.between(inside, inside, SIZE), made.between(beyond, inside, SIZE))


@pytest.mark.parametrize("size", [(90, 61), (832, 480)])
def test_frames_that_cells_do_not_divide_have_bonds_too(size: tuple[int, int]) -> None:
    picture = torch.full((1, 3, size[1], size[0]), -0.6)
    picture[..., size[0] // 2 :] = 0.6
    places = torch.tensor([[[0.1, 0.5], [0.4, 0.5], [0.6, 0.5]]]) * torch.tensor(size)
    left, edge = affinity(picture).between(places[:, :1], places[:, 1:], size)[0, 0]
    assert edge < 0.05 * left
