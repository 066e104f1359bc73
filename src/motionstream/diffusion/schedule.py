"""Which times are visited: the shift towards noise, the teacher's many steps, the student's few.

Shift k: t' = k t / (1 + (k − 1) t) (paper Section 3.1, k = 6 for Wan). Stated here once.
"""

from __future__ import annotations

import torch
from torch import Tensor


def shifted(t: Tensor, shift: float) -> Tensor:
    """Times moved towards noise; 0 and 1 stay, to the last bit for any shift."""
    return t / (t + (1 - t) / shift)


def sample_times(shape: tuple[int, ...], shift: float, generator: torch.Generator) -> Tensor:
    """Uniform times, shifted: how training draws them. float32 on the CPU."""
    return shifted(torch.rand(shape, generator=generator), shift)


def ode_times(steps: int, shift: float) -> Tensor:
    """steps + 1 times from 1 down to 0 for the teacher's ODE."""
    return shifted(torch.linspace(1, 0, steps + 1), shift)


def few_step_times(steps: int, shift: float) -> Tensor:
    """The `steps` times at which the student is called: even steps of an unshifted clock, shifted.

    Three steps: 1, 2/3, 1/3 before the shift. After the last call the picture is clean, 0 is not listed.
    """
    if steps < 1:
        raise ValueError(f"{steps} denoising steps: must be at least 1")
    return ode_times(steps, shift)[:-1]
