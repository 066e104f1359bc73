"""What the stage "prompt-filter" learns from."""

from __future__ import annotations

import pytest
import torch

from motionstream.data.effects import BY_NAME
from motionstream.tiny.particles import KINDS
from motionstream.tiny.prompt_filter import CURVE, PARTICLE, shown, unbounded
from motionstream.train.prompt_filter import colour_error


def test_what_is_cut_off_has_a_gradient_unless_it_is_to_be_cut_off() -> None:
    made = torch.tensor([-1.3, -1.3, 1.2, 1.2, 0.5, -0.5], requires_grad=True)
    true = torch.tensor([-0.9, -1.0, 1.0, 0.8, 0.5, -1.0])
    error = colour_error(made, true)
    error.backward()
    assert error.item() == pytest.approx((0.4**2 + 0.4**2 + 0.5**2) / 6)
    assert made.grad is not None
    assert made.grad.sign().tolist() == [-1, 0, 0, 1, 0, 1]


def test_a_curve_that_made_a_dark_picture_black_finds_out_of_it() -> None:
    """Dusk, as the effect draws it, on a picture as dark as a forest."""
    generator = torch.Generator().manual_seed(0)
    dark = torch.rand(1, 3, 24, 32, generator=generator) * 0.3
    dusk = BY_NAME["dusk"].apply(dark.clone(), torch.ones(1), _Even())  # type: ignore[arg-type]
    plain, true = (frames[None] * 2 - 1 for frames in (dark, dusk))
    laid, specks = torch.zeros(1, 1, sum(PARTICLE)), torch.zeros(1, 1, KINDS + 1, 24, 32)
    curve = torch.zeros(1, 1, sum(CURVE))
    curve[..., 12:15] = -0.7  # below black nearly everywhere
    assert (shown(plain, curve, laid, specks) == -1).float().mean() > 0.6
    curve.requires_grad_()
    optimizer = torch.optim.Adam([curve], lr=0.02)
    for _ in range(300):
        optimizer.zero_grad()
        colour_error(unbounded(plain, curve, laid, specks), true).backward()
        optimizer.step()
    made = shown(plain, curve.detach(), laid, specks)
    assert (made == -1).float().mean() < 0.02
    assert (made - true).abs().max() < 0.02


class _Even:
    """Draws the middle of every range."""

    def uniform(self, low: float, high: float) -> float:
        return (low + high) / 2
