"""`Look`: what a prompt says of light, weather and film, put on finished frames.

A small student learns to move a picture long before it learns to hear: the embedded transformer hardly answers its
prompt (docs/log.md). So the words that change a whole frame are heard once more here, where every pixel can be told at
once. What each phrase does to colours, what it lays over them (`particles.py`), and how fast it comes is learned from
clips with and without an effect (`train/prompt_filter.py`); all other words do nothing. Beyond the paper, and an
option: a model without it shows frames as they are.

Nothing is remembered between frames: a frame depends on the words and on how long they have been in force, so streamed
frames are those of the whole clip.

Legend: B clips, F frames, L phrases, R ramps, P parameters of a frame, K kinds of specks, H W pixels.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from motionstream.tiny.particles import KINDS

RAMPS = (1.0, 4.0, 8.0, 16.0, 24.0)
"""Frames in which a word may come into force; a parameter is a sum of these."""
CURVE = (9, 3, 3, 3)
"""Parameters of the curve: matrix, square, shift, shift by height."""
OPPONENT = ((0.6, 0.6, 0.6), (2.0, 0.0, -2.0), (-1.2, 2.4, -1.2))
"""What the matrix acts on, of red, green and blue: brightness, and two differences that are as large in photographs.
Such are learned a good deal sooner than colours, which are all nearly the same."""
LAID = (3 * KINDS, KINDS, 1)
"""Of each kind of specks, colour and cover; and how much more the curve counts where the veil is thick."""
TRACE = 0.003
"""Of the veil in every phrase at the start: thicker here and thinner there is the same the other way round, and phrases
that are said together have to agree."""


@dataclass(frozen=True)
class PromptFilterConfig:
    """phrases: what it listens for, words in a row (`conditioning.prompt.phrase_numbers`): "fog", "black and white"."""

    phrases: tuple[str, ...]


class PromptFilter(nn.Module):
    """Finished frames + phrases → the frames shown. Untrained it changes nothing."""

    def __init__(self, config: PromptFilterConfig) -> None:
        super().__init__()
        self.config = config
        self.amounts = nn.Embedding(len(config.phrases) + 1, len(RAMPS) * sum(CURVE + LAID), padding_idx=0)
        nn.init.zeros_(self.amounts.weight)
        with torch.no_grad():
            self.amounts.weight.unflatten(-1, (len(RAMPS), -1))[1:, :, -1] = TRACE

    def forward(self, frames_BF3HW: Tensor, phrases_BL: Tensor, age_BF: Tensor, specks: Tensor) -> Tensor:
        """Frames in [−1, 1] → the same with the look.

        phrases: numbers of those that were said, from 1 on, 0 = none. age: frames since they came into force, from 0
        on. specks: (B, F, K + 1, H, W) as `Specks.at` gives them for these frames.
        """
        curve, laid = self.parameters_of(phrases_BL, age_BF)
        return shown(frames_BF3HW, curve, laid, specks)

    def parameters_of(self, phrases_BL: Tensor, age_BF: Tensor) -> tuple[Tensor, Tensor]:
        """(B, F, P) each: what the phrases ask of the curve, and of the specks, in each frame.

        Every phrase asks for itself and all is added up, so that a scene does not change what an effect asks for, and
        two effects are both seen.
        """
        asked_BRP = self.amounts(phrases_BL).float().sum(1).unflatten(-1, (len(RAMPS), -1))
        rise = ((age_BF[..., None].float() + 1) / age_BF.new_tensor(RAMPS, dtype=torch.float32)).clamp(0, 1)
        parameters: Tensor = rise.square() * (3 - 2 * rise) @ asked_BRP
        curve, laid = parameters.split((sum(CURVE), sum(LAID)), -1)
        return curve, laid


def shown(frames_BF3HW: Tensor, curve_BFP: Tensor, laid_BFP: Tensor, specks: Tensor) -> Tensor:
    """Frames in [−1, 1] under this curve, with these specks (B, F, K + 1, H, W) laid over them."""
    return unbounded(frames_BF3HW, curve_BFP, laid_BFP, specks).clamp(-1, 1).to(frames_BF3HW.dtype)


def unbounded(frames_BF3HW: Tensor, curve_BFP: Tensor, laid_BFP: Tensor, specks: Tensor) -> Tensor:
    """The same before it is cut to [−1, 1], in float32: to learn from, for what is cut off has no gradient."""
    frames = frames_BF3HW.float()
    over, veil = specks.to(frames).split((KINDS, 1), 2)
    colour, cover, uneven = laid_BFP.split(LAID, -1)
    change = _curved(frames, *curve_BFP.split(CURVE, -1)) - frames
    filtered = frames + change * (1 + _everywhere(uneven) * veil)
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
