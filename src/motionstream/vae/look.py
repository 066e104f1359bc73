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

from motionstream.vae.specks import KINDS

RAMPS = (1.0, 4.0, 8.0, 16.0, 24.0)
"""Frames in which a word may come into force; a parameter is a sum of these."""
CURVE = (9, 3, 3, 3)
"""Parameters of the curve: matrix, square, shift, shift by height."""
LAID = (3 * KINDS, KINDS)
"""Of each kind of specks: colour and cover."""


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
        self.say = nn.Linear(config.hidden, len(RAMPS) * sum(CURVE + LAID), bias=False)
        nn.init.zeros_(self.words.weight)
        nn.init.normal_(self.say.weight, std=0.3 * config.hidden**-0.5)

    def forward(self, frames_BF3HW: Tensor, words_BL: Tensor, age_BF: Tensor, specks: Tensor) -> Tensor:
        """Frames in [−1, 1] → the same with the look.

        words: numbered as for the text encoder, 0 = none. age: frames since these words came into force, from 0 on.
        specks: (B, F, K, H, W) as `Specks.at` gives them for these frames.
        """
        curve, laid = self.asked(words_BL, age_BF)
        return shown(frames_BF3HW, curve, laid, specks)

    def asked(self, words_BL: Tensor, age_BF: Tensor) -> tuple[Tensor, Tensor]:
        """(B, F, P) each: what the words ask of the curve, and of the specks, in each frame.

        Every word asks for itself and all is added up, so that a scene's words do not change what an effect's ask for.
        """
        heard = F.silu(self.hear(self.words(words_BL))).sum(1).float()
        asked_BRP = F.linear(heard, self.say.weight.float()).unflatten(-1, (len(RAMPS), -1))
        rise = ((age_BF[..., None].float() + 1) / age_BF.new_tensor(RAMPS, dtype=torch.float32)).clamp(0, 1)
        parameters: Tensor = rise.square() * (3 - 2 * rise) @ asked_BRP
        curve, laid = parameters.split((sum(CURVE), sum(LAID)), -1)
        return curve, laid


def shown(frames_BF3HW: Tensor, curve_BFP: Tensor, laid_BFP: Tensor, specks: Tensor) -> Tensor:
    """Frames in [−1, 1] under this curve, with these specks (B, F, K, H, W) laid over them."""
    light = (frames_BF3HW.float() + 1) / 2
    looked = _curved(light, *curve_BFP.split(CURVE, -1))
    colour, cover = laid_BFP.split(LAID, -1)
    amounts = torch.cat([colour.unflatten(-1, (3, KINDS)), cover[..., None, :]], -2)
    added, covered = (amounts @ specks.to(light).flatten(3)).unflatten(-1, light.shape[-2:]).split((3, 1), -3)
    looked = looked + added - covered * looked
    seen: Tensor = (looked * 2 - 1).clamp(-1, 1).to(frames_BF3HW.dtype)
    return seen


def _curved(light: Tensor, matrix: Tensor, square: Tensor, shift: Tensor, by_height: Tensor) -> Tensor:
    height = torch.linspace(0.5, -0.5, light.shape[-2], device=light.device)[:, None]
    mixed = light + (matrix.unflatten(-1, (3, 3)) @ light.flatten(3)).view_as(light)
    curved: Tensor = mixed + _everywhere(square) * light.square() + _everywhere(shift) + _everywhere(by_height) * height
    return curved


def _everywhere(colour_BF3: Tensor) -> Tensor:
    return colour_BF3[..., None, None]
