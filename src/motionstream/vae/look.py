"""`Look`: what a prompt says of light, weather and film, put on finished frames as a colour curve.

A small student learns to move a picture long before it learns to hear: the embedded transformer hardly answers its
prompt (docs/log.md). So the words that change a whole frame are heard once more here, where every pixel can be told at
once. What each word does to colours, and how fast it comes, is learned from clips with and without an effect
(`train/look.py`); words that were in no caption do nothing. Flakes, drops and grain are beyond a curve: of snow, rain
and film grain only the light is shown. Beyond the paper, and an option: a model without it shows frames as they are.

Nothing is remembered between frames: a frame depends on the words and on how long they have been in force, so streamed
frames are those of the whole clip.

Legend: B clips, F frames, L words, P parameters of a frame, H W pixels.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

RAMPS = (1.0, 4.0, 8.0, 16.0, 24.0)
"""Frames in which a word may come into force; a parameter is a sum of these."""
PARTS = (9, 3, 3, 3)
"""Parameters of the curve: matrix, square, shift, shift by height."""


@dataclass(frozen=True)
class LookConfig:
    """buckets, words: of the prompt's numbered words, and how many are read. width, hidden: channels of a word, and of
    what is made of all."""

    buckets: int = 8192
    words: int = 32
    width: int = 32
    hidden: int = 64


class Look(nn.Module):
    """Finished frames + words → the frames shown. Untrained, and for words it has never met, it changes nothing."""

    def __init__(self, config: LookConfig) -> None:
        super().__init__()
        self.config = config
        self.words = nn.Embedding(config.buckets, config.width, padding_idx=0)
        self.hear = nn.Linear(config.width, config.hidden, bias=False)
        self.say = nn.Linear(config.hidden, len(RAMPS) * sum(PARTS), bias=False)
        nn.init.zeros_(self.words.weight)
        nn.init.normal_(self.say.weight, std=0.3 * config.hidden**-0.5)

    def forward(self, frames_BF3HW: Tensor, words_BL: Tensor, age_BF: Tensor) -> Tensor:
        """Frames in [−1, 1] → the same with the look.

        words: numbered as for the text encoder, 0 = none. age: frames since these words came into force, from 0 on.
        """
        if not words_BL.any():
            return frames_BF3HW
        light = (frames_BF3HW.float() + 1) / 2
        matrix, square, shift, by_height = self.parameters_of(words_BL, age_BF).split(PARTS, -1)
        height = torch.linspace(0.5, -0.5, light.shape[-2], device=light.device)[:, None]
        looked = light + (matrix.unflatten(-1, (3, 3)) @ light.flatten(3)).view_as(light)
        looked = looked + _everywhere(square) * light.square() + _everywhere(shift) + _everywhere(by_height) * height
        shown: Tensor = (looked * 2 - 1).clamp(-1, 1).to(frames_BF3HW.dtype)
        return shown

    def parameters_of(self, words_BL: Tensor, age_BF: Tensor) -> Tensor:
        """(B, F, P): what the words ask of each frame."""
        heard = F.silu(self.hear(self.words(words_BL).sum(1))).float()
        asked_BRP = F.linear(heard, self.say.weight.float()).unflatten(-1, (len(RAMPS), -1))
        rise = ((age_BF[..., None].float() + 1) / age_BF.new_tensor(RAMPS, dtype=torch.float32)).clamp(0, 1)
        parameters: Tensor = rise.square() * (3 - 2 * rise) @ asked_BRP
        return parameters


def _everywhere(colour_BF3: Tensor) -> Tensor:
    return colour_BF3[..., None, None]
