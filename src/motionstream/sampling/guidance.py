"""Joint guidance by text and motion (paper Section 3.1, three network calls a step in the teacher).

v̂ = v_base + w_t (v(c_t, c_m) − v(∅, c_m)) + w_m (v(c_t, c_m) − v(c_t, ∅)),
v_base = α v(∅, c_m) + (1 − α) v(c_t, ∅), α = w_t / (w_t + w_m).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from motionstream.conditioning import Conditioning
from motionstream.dit import ChunkMask, TextContext
from motionstream.sampling.model import MotionModel


@dataclass(frozen=True)
class Guidance:
    """w_t: of the text (paper: 3.0). w_m: of the tracks (paper: 1.5). Both 0: none, one call a step."""

    text: float
    motion: float

    def __post_init__(self) -> None:
        if self.text < 0 or self.motion < 0:
            raise ValueError(f"guidance ({self.text}, {self.motion}): weights must not be negative")


@dataclass(frozen=True)
class Control:
    """A clip's conditioning and prompt, with tracks and without, with a prompt and with the null prompt."""

    conditioning: Conditioning
    context: TextContext
    no_motion: Conditioning
    no_text: TextContext


def guided_velocity(
    model: MotionModel,
    noisy: Tensor,
    t: Tensor,
    control: Control,
    guidance: Guidance,
    mask: ChunkMask | None = None,
) -> Tensor:
    """v̂ (B, T, C, h, w). mask: for a causal teacher."""
    full = model.velocity(noisy, t, control.conditioning, control.context, mask)
    total = guidance.text + guidance.motion
    if total == 0:
        return full
    no_text = model.velocity(noisy, t, control.conditioning, control.no_text, mask)
    no_motion = model.velocity(noisy, t, control.no_motion, control.context, mask)
    return combine(full, no_text, no_motion, guidance)


def combine(full: Tensor, no_text: Tensor, no_motion: Tensor, guidance: Guidance) -> Tensor:
    """The paper's formula over three velocities."""
    alpha = guidance.text / (guidance.text + guidance.motion)
    base = torch.lerp(no_motion, no_text, alpha)
    return base + guidance.text * (full - no_text) + guidance.motion * (full - no_motion)
