"""Rectified flow: every way to say where on the path one is agrees with the others."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from motionstream.diffusion.path import clean_of, euler, interpolate, velocity_of
from motionstream.diffusion.schedule import few_step_times, ode_times, sample_times, shifted

GENERATOR = torch.Generator().manual_seed(0)
CLEAN, NOISE = torch.randn(2, 2, 3, 4, 5, 6, generator=GENERATOR, dtype=torch.float64)
TIMES = [torch.tensor([0.3, 0.9]), torch.tensor([[0.2, 0.5, 0.8], [1.0, 0.1, 0.7]])]


@pytest.mark.parametrize("t", TIMES)
def test_velocity_and_clean_are_two_ways_to_say_one_thing(t: torch.Tensor) -> None:
    noisy = interpolate(CLEAN, NOISE, t)
    velocity = NOISE - CLEAN
    torch.testing.assert_close(clean_of(velocity, noisy, t), CLEAN)
    torch.testing.assert_close(velocity_of(CLEAN, noisy, t), velocity, atol=1e-5, rtol=1e-5)


def test_one_is_noise_and_zero_is_the_picture() -> None:
    torch.testing.assert_close(interpolate(CLEAN, NOISE, torch.ones(2)), NOISE)
    torch.testing.assert_close(interpolate(CLEAN, NOISE, torch.zeros(2)), CLEAN)


def test_a_time_for_each_frame_moves_that_frame_only() -> None:
    t = torch.tensor([[0.0, 1.0, 0.0], [0.0, 0.0, 0.0]])
    noisy = interpolate(CLEAN, NOISE, t)
    torch.testing.assert_close(noisy[0, 1], NOISE[0, 1])
    noisy[0, 1] = CLEAN[0, 1]
    torch.testing.assert_close(noisy, CLEAN)


@pytest.mark.parametrize("t", TIMES)
def test_euler_along_the_true_velocity_ends_at_the_picture(t: torch.Tensor) -> None:
    noisy = interpolate(CLEAN, NOISE, t)
    torch.testing.assert_close(euler(noisy, NOISE - CLEAN, t, torch.zeros_like(t)), CLEAN, atol=1e-6, rtol=1e-6)


@given(t=st.floats(0, 1), shift=st.floats(1, 12))
def test_the_shift_keeps_the_ends_and_moves_towards_noise(t: float, shift: float) -> None:
    ends = shifted(torch.tensor([0.0, 1.0]), shift)
    torch.testing.assert_close(ends, torch.tensor([0.0, 1.0]))
    moved = float(shifted(torch.tensor(t, dtype=torch.float64), shift))
    assert t - 1e-9 <= moved <= 1 + 1e-9


def test_the_papers_shift() -> None:
    torch.testing.assert_close(
        few_step_times(4, 6.0) * 1000, torch.tensor([1000.0, 947.37, 857.14, 666.67]), atol=0.01, rtol=0
    )


def test_the_teacher_walks_from_noise_to_the_picture() -> None:
    times = ode_times(20, 6.0)
    assert times.shape == (21,)
    assert (times[0], times[-1]) == (1, 0)
    assert (times.diff() < 0).all()


def test_training_times_are_drawn_from_their_generator() -> None:
    first, again = (sample_times((4000,), 6.0, torch.Generator().manual_seed(3)) for _ in range(2))
    assert torch.equal(first, again)
    # uniform before the shift: the median 1/2 becomes 6/7
    assert abs(float(first.median()) - 6 / 7) < 0.02


def test_no_steps_are_refused() -> None:
    with pytest.raises(ValueError, match="at least 1"):
        few_step_times(0, 6.0)
