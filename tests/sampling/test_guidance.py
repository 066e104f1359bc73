"""Joint guidance is the paper's formula."""

from __future__ import annotations

import pytest
import torch

from motionstream.sampling.guidance import Guidance, combine

FULL, NO_TEXT, NO_MOTION = torch.randn(3, 2, 3, 4, 5, 6, generator=torch.Generator().manual_seed(0))


def by_the_paper(w_t: float, w_m: float) -> torch.Tensor:
    alpha = w_t / (w_t + w_m)
    base = alpha * NO_TEXT + (1 - alpha) * NO_MOTION
    return base + w_t * (FULL - NO_TEXT) + w_m * (FULL - NO_MOTION)


@pytest.mark.parametrize(("w_t", "w_m"), [(3.0, 1.5), (1.0, 4.0), (0.5, 0.5)])
def test_the_formula(w_t: float, w_m: float) -> None:
    torch.testing.assert_close(combine(FULL, NO_TEXT, NO_MOTION, Guidance(w_t, w_m)), by_the_paper(w_t, w_m))


def test_only_one_of_them_is_ordinary_guidance() -> None:
    """With w_m = 0 what remains is v(∅) + w (v(c) − v(∅)), over the velocity without text."""
    only_text = combine(FULL, NO_TEXT, NO_MOTION, Guidance(2.0, 0.0))
    torch.testing.assert_close(only_text, torch.lerp(NO_TEXT, FULL, 2.0))
    only_motion = combine(FULL, NO_TEXT, NO_MOTION, Guidance(0.0, 2.0))
    torch.testing.assert_close(only_motion, torch.lerp(NO_MOTION, FULL, 2.0))


def test_conditions_that_change_nothing_are_not_amplified() -> None:
    torch.testing.assert_close(combine(FULL, FULL, FULL, Guidance(3.0, 1.5)), FULL)


@pytest.mark.parametrize("weights", [(-1.0, 1.0), (1.0, -0.1)])
def test_negative_weights_are_refused(weights: tuple[float, float]) -> None:
    with pytest.raises(ValueError, match="must not be negative"):
        Guidance(*weights)
