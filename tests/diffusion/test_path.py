"""Rectified flow: the path, its conversions, and the times visited on it."""

from __future__ import annotations

import itertools

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from motionstream.diffusion import (
    clean_of,
    euler,
    few_step_times,
    interpolate,
    ode_times,
    per_cell,
    sample_times,
    shifted,
    velocity_of,
)

SHIFTS = st.floats(1.0, 12.0)


def pair(seed: int = 0) -> tuple[Tensor, Tensor]:
    """Clean latents and noise (B, T, C, H, W)."""
    torch.manual_seed(seed)
    return torch.randn(2, 3, 4, 5, 6, dtype=torch.float64), torch.randn(2, 3, 4, 5, 6, dtype=torch.float64)


def times(*shape: int) -> Tensor:
    return torch.rand(*shape, dtype=torch.float64) * 0.9 + 0.1


@pytest.mark.parametrize("shape", [(2,), (2, 3)])
def test_velocity_and_clean_are_two_names_of_one_prediction(shape: tuple[int, ...]) -> None:
    clean, noise = pair()
    t = times(*shape)
    noisy = interpolate(clean, noise, t)
    torch.testing.assert_close(velocity_of(clean, noisy, t), noise - clean)
    torch.testing.assert_close(clean_of(noise - clean, noisy, t), clean)
    guess = torch.randn_like(clean)
    torch.testing.assert_close(clean_of(velocity_of(guess, noisy, t), noisy, t), guess)
    torch.testing.assert_close(velocity_of(clean_of(guess, noisy, t), noisy, t), guess)


def test_the_path_runs_from_the_picture_to_noise() -> None:
    clean, noise = pair()
    assert torch.equal(interpolate(clean, noise, torch.zeros(2)), clean)
    assert torch.equal(interpolate(clean, noise, torch.ones(2)), noise)
    halfway = interpolate(clean, noise, torch.full((2,), 0.5))
    torch.testing.assert_close(halfway, (clean + noise) / 2)


def test_each_latent_may_have_its_own_time() -> None:
    clean, noise = pair()
    t = torch.tensor([[0.0, 0.5, 1.0], [1.0, 0.0, 0.25]], dtype=torch.float64)
    noisy = interpolate(clean, noise, t)
    assert torch.equal(noisy[0, 0], clean[0, 0])
    assert torch.equal(noisy[1, 0], noise[1, 0])
    torch.testing.assert_close(noisy[1, 2], 0.75 * clean[1, 2] + 0.25 * noise[1, 2])
    assert per_cell(t, clean).shape == (2, 3, 1, 1, 1)


def test_a_floor_bounds_the_velocity_near_the_picture() -> None:
    clean, noise = pair()
    t = torch.full((2,), 1e-4, dtype=torch.float64)
    noisy = clean + 1.0
    assert velocity_of(clean, noisy, t, floor=0.05).abs().max() == pytest.approx(20)
    assert torch.isfinite(velocity_of(clean, noise, torch.zeros(2, dtype=torch.float64))).all()


@pytest.mark.parametrize("steps", [1, 3, 7])
def test_euler_along_a_constant_velocity_recovers_the_picture(steps: int) -> None:
    clean, noise = pair()
    noisy, clock = noise, ode_times(steps, 6.0).double()
    for now, after in itertools.pairwise(clock):
        noisy = euler(noisy, noise - clean, now.expand(2), after.expand(2))
        torch.testing.assert_close(noisy, interpolate(clean, noise, after.expand(2)))
    torch.testing.assert_close(noisy, clean)


@given(SHIFTS)
def test_the_shift_keeps_the_ends_and_moves_the_rest_towards_noise(shift: float) -> None:
    t = torch.linspace(0, 1, 33, dtype=torch.float64)
    moved = shifted(t, shift)
    assert moved[0] == 0
    assert moved[-1] == 1
    assert (moved.diff() > 0).all()
    assert (moved >= t - 1e-12).all()
    torch.testing.assert_close(shifted(moved, 1 / shift), t)


def test_the_papers_shift_by_numbers() -> None:
    """k = 6: half of the clock is spent above 6/7 of the noise."""
    assert shifted(torch.tensor(0.5), 6.0).item() == pytest.approx(6 / 7)


@given(SHIFTS, st.integers(1, 64))
def test_times_of_the_ode_fall_from_1_to_0(shift: float, steps: int) -> None:
    clock = ode_times(steps, shift)
    assert (len(clock), clock[0], clock[-1]) == (steps + 1, 1, 0)
    assert (clock.diff() < 0).all()


def test_the_three_steps_of_the_paper() -> None:
    """1, 2/3 and 1/3 of an even clock, shifted by k = 6; the end, 0, is where the last call's guess is."""
    torch.testing.assert_close(few_step_times(3, 6.0), torch.tensor([1, 12 / 13, 3 / 4]))
    torch.testing.assert_close(few_step_times(4, 1.0), torch.tensor([1, 0.75, 0.5, 0.25]))
    assert few_step_times(1, 6.0).tolist() == [1.0]


def test_no_step_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 1"):
        few_step_times(0, 6.0)


def test_drawn_times_are_shifted_reproducible_and_inside() -> None:
    drawn = sample_times((4000,), 6.0, torch.Generator().manual_seed(1))
    assert torch.equal(drawn, sample_times((4000,), 6.0, torch.Generator().manual_seed(1)))
    assert drawn.min() >= 0
    assert drawn.max() <= 1
    assert drawn.median().item() == pytest.approx(6 / 7, abs=0.02)
    assert sample_times((4, 3), 6.0, torch.Generator()).shape == (4, 3)
