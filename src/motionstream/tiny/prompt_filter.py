"""`PromptFilter`: colour grading and particles that a prompt's phrases of light, weather and film ask for.

The embedded transformer does not answer its prompt (docs/log.md), so phrases that change a whole frame are applied to
finished frames instead, by a table of learned parameters a phrase: a colour curve, opacity and colour of particles
(`particles.py`), and how fast they come into force. They are learned from clips with and without an effect
(`train/prompt_filter.py`); all other words do nothing. Beyond the paper, and an option: a model without it shows frames
as they are.

It has no memory: a frame depends on the phrases and on how long each has been in force, so streamed frames equal those
of the whole clip.

Legend: B clips, F frames, L phrases, R ramps, P parameters of a frame, K kinds of particles, H W pixels.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from motionstream.conditioning.text_encoder import words_of
from motionstream.tiny.particles import KINDS

RAMPS = (1.0, 4.0, 8.0, 16.0, 24.0)
"""Frames that a phrase may take to come into force; a parameter is a sum over these."""
CURVE = (9, 3, 3, 3)
"""Parameters of the curve: matrix, square, shift, shift by height."""
OPPONENT = ((0.6, 0.6, 0.6), (2.0, 0.0, -2.0), (-1.2, 2.4, -1.2))
"""What the matrix acts on, of red, green and blue: brightness, and two opponent colours of like size in photographs.
They are learned sooner than red, green and blue, which are strongly correlated."""
PARTICLE = (3 * KINDS, KINDS, 1)
"""Of each kind of particles colour and opacity; and how much more the curve counts where the density field is high."""
TRACE = 0.003
"""Initial weight of the density field in every phrase: its sign is arbitrary, but all phrases need the same."""


@dataclass(frozen=True)
class PromptFilterConfig:
    """phrases: words in a row, such as "fog" or "black and white", in small letters without punctuation."""

    phrases: tuple[str, ...]

    def numbers_in(self, prompt: str) -> list[int]:
        """Which of the phrases, numbered from 1, a prompt contains, each once and in their order.

        Capitals and punctuation do not count: "A horse, black-and-white" contains "black and white".
        """
        words = f" {' '.join(words_of(prompt))} "
        return [number for number, phrase in enumerate(self.phrases, 1) if f" {phrase} " in words]


class PromptFilter(nn.Module):
    """Finished frames + phrases → the frames shown. Untrained it changes nothing."""

    def __init__(self, config: PromptFilterConfig) -> None:
        super().__init__()
        self.config = config
        self.amounts = nn.Embedding(len(config.phrases) + 1, len(RAMPS) * sum(CURVE + PARTICLE), padding_idx=0)
        nn.init.zeros_(self.amounts.weight)
        with torch.no_grad():
            self.amounts.weight.unflatten(-1, (len(RAMPS), -1))[1:, :, -1] = TRACE

    def forward(self, frames_BF3HW: Tensor, phrases_BL: Tensor, age_BF: Tensor, particles: Tensor) -> Tensor:
        """Frames in [−1, 1] → filtered frames.

        phrases: numbers of those in the prompt, from 1; 0 = none. age: frames since they came into force, from 0.
        particles: (B, F, K + 1, H, W) as `Particles.at` gives them for these frames.
        """
        curve, of_particles = self.parameters_of(phrases_BL, age_BF)
        return shown(frames_BF3HW, curve, of_particles, particles)

    def parameters_of(self, phrases_BL: Tensor, age_BF: Tensor) -> tuple[Tensor, Tensor]:
        """(B, F, P) each: parameters of the curve, and of the particles, in each frame; sums over the phrases."""
        total_BRP = self.amounts(phrases_BL).float().sum(1).unflatten(-1, (len(RAMPS), -1))
        rise = ((age_BF[..., None].float() + 1) / age_BF.new_tensor(RAMPS, dtype=torch.float32)).clamp(0, 1)
        parameters: Tensor = rise.square() * (3 - 2 * rise) @ total_BRP
        curve, of_particles = parameters.split((sum(CURVE), sum(PARTICLE)), -1)
        return curve, of_particles


def shown(frames_BF3HW: Tensor, curve_BFP: Tensor, particles_BFP: Tensor, particles: Tensor) -> Tensor:
    """Frames in [−1, 1] under this curve, with these particles (B, F, K + 1, H, W) composited over them."""
    return unbounded(frames_BF3HW, curve_BFP, particles_BFP, particles).clamp(-1, 1).to(frames_BF3HW.dtype)


def unbounded(frames_BF3HW: Tensor, curve_BFP: Tensor, particles_BFP: Tensor, particles: Tensor) -> Tensor:
    """The same before clamping, in float32: for training, because clamped values have no gradient."""
    frames = frames_BF3HW.float()
    over, density = particles.to(frames).split((KINDS, 1), 2)
    colour, cover, uneven = particles_BFP.split(PARTICLE, -1)
    change = _curved(frames, *curve_BFP.split(CURVE, -1)) - frames
    filtered = frames + change * (1 + _everywhere(uneven) * density)
    amounts = torch.cat([2 * colour.unflatten(-1, (3, KINDS)), cover[..., None, :]], -2)
    added, covered = (amounts @ over.flatten(3)).unflatten(-1, filtered.shape[-2:]).split((3, 1), -3)
    seen: Tensor = filtered + added - covered * (filtered + 1)
    return seen


def _curved(frames: Tensor, matrix: Tensor, square: Tensor, shift: Tensor, by_height: Tensor) -> Tensor:
    height = torch.linspace(1, -1, frames.shape[-2], device=frames.device)[:, None]
    opponent = matrix.unflatten(-1, (3, 3)) @ frames.new_tensor(OPPONENT)
    mixed = frames + (opponent @ frames.flatten(3)).view_as(frames)
    curved: Tensor = (
        mixed + _everywhere(square) * frames.square() + _everywhere(shift) + _everywhere(by_height) * height
    )
    return curved


def _everywhere(colour_BF3: Tensor) -> Tensor:
    return colour_BF3[..., None, None]
