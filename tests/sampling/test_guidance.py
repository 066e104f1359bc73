"""Joint guidance is the paper's formula, and costs no more calls than it needs."""

from __future__ import annotations

from unittest.mock import patch

import pytest
import torch
from tests.small import CHANNELS, GEOMETRY, small_control, small_model

from motionstream.dit import ChunkMask
from motionstream.sampling import Guidance, guided_velocity
from motionstream.sampling.guidance import combine

PAPER = Guidance(text=3.0, motion=1.5)


def coefficients(guidance: Guidance) -> list[float]:
    """What each of v(c_t, c_m), v(∅, c_m) and v(c_t, ∅) counts."""
    return [combine(*one, guidance).item() for one in torch.eye(3, dtype=torch.float64)]


def test_the_papers_weights_by_numbers() -> None:
    """α = 3 / 4.5; v̂ = 4.5 v(c_t, c_m) + (2/3 − 3) v(∅, c_m) + (1/3 − 1.5) v(c_t, ∅)."""
    assert coefficients(PAPER) == pytest.approx([4.5, 2 / 3 - 3, 1 / 3 - 1.5])


@pytest.mark.parametrize("guidance", [PAPER, Guidance(1, 0), Guidance(0, 2), Guidance(0.5, 7)])
def test_coefficients_sum_to_one(guidance: Guidance) -> None:
    assert sum(coefficients(guidance)) == pytest.approx(1)


def test_text_alone_is_plain_guidance_of_the_prompt() -> None:
    """α = 1: v(∅, c_m) + w_t (v(c_t, c_m) − v(∅, c_m))."""
    assert coefficients(Guidance(4.0, 0.0)) == pytest.approx([4, -3, 0])
    assert coefficients(Guidance(0.0, 4.0)) == pytest.approx([4, 0, -3])


@torch.no_grad()
def test_three_calls_with_the_prompt_and_the_tracks_left_out_in_turn() -> None:
    model = small_model()
    control = small_control(model, 3)
    noisy = torch.randn(2, 3, CHANNELS, GEOMETRY.latent_height, GEOMETRY.latent_width)
    t = torch.tensor([[0.0, 0.5, 0.9], [0.0, 0.2, 0.4]])
    full = model.velocity(noisy, t, control.conditioning, control.context)
    no_text = model.velocity(noisy, t, control.conditioning, control.no_text)
    no_motion = model.velocity(noisy, t, control.no_motion, control.context)
    base = 2 / 3 * no_text + 1 / 3 * no_motion
    expected = base + 3.0 * (full - no_text) + 1.5 * (full - no_motion)
    guided = guided_velocity(model, noisy, t, control, PAPER)
    torch.testing.assert_close(guided[:, 1:], expected[:, 1:], atol=1e-4, rtol=1e-4)
    assert (guided - full)[:, 1:].abs().max() > 1e-3


@pytest.mark.parametrize(("guidance", "calls"), [(Guidance(0, 0), 1), (PAPER, 3)])
@torch.no_grad()
def test_without_weights_there_is_one_call(guidance: Guidance, calls: int) -> None:
    model = small_model()
    control = small_control(model, 2)
    noisy = torch.randn(2, 2, CHANNELS, GEOMETRY.latent_height, GEOMETRY.latent_width)
    with patch.object(model, "velocity", wraps=model.velocity) as velocity:
        guided = guided_velocity(model, noisy, torch.full((2, 2), 0.5), control, guidance)
    assert velocity.call_count == calls
    if calls == 1:
        plain = model.velocity(noisy, torch.full((2, 2), 0.5), control.conditioning, control.context)
        assert torch.equal(guided, plain)


@torch.no_grad()
def test_a_causal_teacher_is_guided_under_its_mask() -> None:
    model = small_model()
    control = small_control(model, 4)
    noisy = torch.randn(2, 4, CHANNELS, GEOMETRY.latent_height, GEOMETRY.latent_width)
    t, mask = torch.full((2, 4), 0.5), ChunkMask.regular(4, 2, 0, 2)
    later = torch.cat([noisy[:, :2], torch.randn_like(noisy[:, 2:])], 1)
    first, second = (guided_velocity(model, x, t, control, PAPER, mask)[:, :2] for x in (noisy, later))
    torch.testing.assert_close(first, second)


@pytest.mark.parametrize("weights", [(-1.0, 1.0), (1.0, -0.5)])
def test_negative_weights_are_refused(weights: tuple[float, float]) -> None:
    with pytest.raises(ValueError, match="must not be negative"):
        Guidance(*weights)
