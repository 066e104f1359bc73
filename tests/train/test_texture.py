"""The texture distance counts what lies over a picture and not where; curves of its colours are no texture."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from motionstream.tiny.particles import Particles
from motionstream.train.texture import beyond_curves, shape_distance, texture_distance

SIZE = (128, 112)
FLAKES, DROPS = 4, 6


def video(seed: int, kind: int, amount: float = 1.0) -> Tensor:
    """Two frames in a row of one kind of specks, at another time for each seed."""
    field = Particles.of(1, SIZE).at([50 * seed, 50 * seed + 1])[:, kind]
    return (amount * field)[None, :, None].expand(-1, -1, 3, -1, -1)


def distance(made: Tensor, true: Tensor) -> float:
    seeds = [torch.Generator().manual_seed(seed) for seed in range(4)]
    return float(torch.stack([texture_distance(made, true, seed) for seed in seeds]).mean())


def test_places_do_not_count_but_kind_and_thickness_do() -> None:
    alike = distance(video(1, FLAKES), video(2, FLAKES))
    assert distance(video(1, DROPS), video(2, FLAKES)) > 2 * alike
    assert distance(video(1, FLAKES, 0.3), video(2, FLAKES)) > 2 * alike
    assert distance(torch.zeros_like(video(1, FLAKES)), video(2, FLAKES)) > 2 * alike


def test_motion_counts() -> None:
    flakes = video(1, FLAKES)
    alike = distance(video(2, FLAKES), flakes)
    still = video(2, FLAKES)[:, :1].expand_as(flakes)
    assert distance(still, flakes) > 1.3 * alike


def test_the_shape_distance_tells_streaks_from_dots_and_slow_from_fast_wherever_they_are() -> None:
    flakes, drops = video(2, FLAKES), video(2, DROPS)
    alike = shape_distance(video(1, FLAKES), flakes)
    streaks = video(1, DROPS) * (flakes.std() / video(1, DROPS).std())
    assert shape_distance(streaks, flakes) > 2 * alike
    assert shape_distance(video(1, DROPS), drops) < 0.5 * shape_distance(streaks, flakes)
    still = video(1, FLAKES)[:, :1].expand_as(flakes)
    assert shape_distance(still, flakes) > 2 * alike
    nothing = torch.zeros_like(flakes)
    assert shape_distance(nothing, flakes) > 2 * alike
    assert shape_distance(nothing, nothing) == 0


def test_its_gradient_finds_the_amount() -> None:
    amount = torch.tensor(0.2, requires_grad=True)
    optimizer = torch.optim.Adam([amount], 0.05)
    for step in range(60):
        made = video(step, FLAKES) * amount
        loss = texture_distance(made, video(step + 7, FLAKES, 0.7), torch.Generator().manual_seed(step))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert float(amount.detach()) == pytest.approx(0.7, abs=0.12)


def test_curves_of_colour_and_height_leave_nothing_and_specks_stay() -> None:
    plain = torch.rand(2, 2, 3, 36, 48, generator=torch.Generator().manual_seed(0)) * 2 - 1
    rows = torch.linspace(0, 1, 36)[:, None]
    curved = 0.3 * plain.flip(2) + 0.2 * plain.square() - 0.1 + 0.4 * rows
    assert beyond_curves(curved, plain).abs().max() < 1e-4
    specks = video(3, FLAKES)[..., :36, :48]
    left = beyond_curves(curved + specks, plain)
    assert (left * specks).sum() > 0.8 * specks.square().sum() * len(plain)
