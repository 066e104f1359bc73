"""`Particles`: grain, snow flakes, rain drops and a density field as moving noise, which the prompt filter composites.

They are procedural, not learned: their shapes and motion are defined here. Which of them a phrase of the prompt needs,
with what opacity and colour, is learned (`prompt_filter.py`). All are periodic, made once for a stream, and moved by
whole pixels, so a frame's particles depend on the stream's seed and the frame's number alone.

Legend: K kinds, H W pixels.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

ROWS = 144
"""Rows of the frame that sizes and speeds are given for; others are scaled."""
DENSITY = 0.0015
"""Share of pixels in which a flake or a drop begins."""


@dataclass(frozen=True)
class Kind:
    """Falling particles. across, along: size in pixels, a Gaussian's standard deviations. fall: pixels a frame. sway:
    pixels to either side."""

    across: float
    along: float
    fall: float
    sway: float = 0.0


FALLING = (
    Kind(0.6, 0.6, 1.0, 0.8),
    Kind(0.9, 0.9, 2.0, 1.5),
    Kind(1.2, 1.2, 3.0, 2.2),
    Kind(0.55, 2.4, 9.0),
    Kind(0.55, 3.4, 13.0),
)
"""Flakes, far to near, and drops."""
GRAIN = 0.8
"""Its size in pixels, a Gaussian's standard deviation."""
DRIFT = 0.8
"""Pixels a frame by which the density field moves sideways."""
COARSE = (6, 11)
"""Rows and columns of the noise that the density field interpolates."""
FINE, WIDE = 0.05, 0.2
"""Standard deviations of grain, about that of falling particles, so that all are learned at one rate, and of the
density field: the share by which an effect is denser or thinner at a place."""
KINDS = 1 + len(FALLING)
"""Composited kinds: grain, flakes, drops. The density field comes after them."""


@dataclass(frozen=True)
class Particles:
    """fields (K + 1, H, W): grain (mean 0), falling particles (0 to 1), density field (mean 0). seed: of the stream."""

    fields: Tensor
    seed: int

    @classmethod
    def of(cls, seed: int, size: tuple[int, int], device: torch.device | str = "cpu") -> Particles:
        """The same for the same seed and size (W, H), on every machine."""
        width, height = size
        generator = torch.Generator().manual_seed(seed % 2**63)
        scale = height / ROWS
        grain = _blurred(torch.randn(height, width, generator=generator), GRAIN * scale, GRAIN * scale)
        density = _standardised(_density_field(height, width, generator)) * WIDE
        fields = [_standardised(grain) * FINE]
        for kind in FALLING:
            there = torch.rand(height, width, generator=generator) < DENSITY / scale**2
            fallen = there * (0.3 + 0.7 * torch.rand(height, width, generator=generator))
            fields.append(_blurred(fallen, kind.across * scale, kind.along * scale).clamp(0, 1))
        return cls(torch.stack([*fields, density]).to(device), seed)

    def at(self, numbers: Sequence[int]) -> Tensor:
        """(F, K + 1, H, W): where they are in the stream's frames of these numbers."""
        return torch.stack([self._frame(number) for number in numbers])

    def _frame(self, number: int) -> Tensor:
        height, width = self.fields.shape[-2:]
        scale = height / ROWS
        moves = [_grain_offset(self.seed, number, height, width)]
        for index, kind in enumerate(FALLING):
            sway = kind.sway * math.sin(0.25 * number + index)
            moves.append((round(number * kind.fall * scale), round(sway * scale)))
        moves.append((0, -round(number * DRIFT * scale)))
        return torch.stack([torch.roll(one, move, (0, 1)) for one, move in zip(self.fields, moves, strict=True)])


def _grain_offset(seed: int, number: int, height: int, width: int) -> tuple[int, int]:
    """Where the grain is read in a frame: anew in each."""
    mixed = (seed * 0x9E3779B97F4A7C15 + number * 0xD1B54A32D192ED03) % 2**64
    mixed = (mixed ^ (mixed >> 29)) * 0xBF58476D1CE4E5B9 % 2**64
    return (mixed >> 20) % height, (mixed >> 42) % width


def _density_field(height: int, width: int, generator: torch.Generator) -> Tensor:
    """Bicubic between few places, periodic at every size."""
    coarse = F.pad(torch.rand(1, 1, *COARSE, generator=generator), (2, 2, 2, 2), mode="circular")
    rows, columns = (
        ((torch.arange(side) + 0.5) / side * places + 2) / (places + 4) * 2 - 1
        for side, places in zip((height, width), COARSE, strict=True)
    )
    where = torch.stack(torch.meshgrid(columns, rows, indexing="xy"), -1)[None]
    return F.grid_sample(coarse, where, mode="bicubic", align_corners=False)[0, 0]


def _standardised(field: Tensor) -> Tensor:
    """Of mean 0 and standard deviation 1."""
    return (field - field.mean()) / field.std()


def _blurred(field_HW: Tensor, across: float, along: float) -> Tensor:
    """Under a Gaussian of peak 1 with these standard deviations in pixels, periodic."""
    for axis, sigma in ((-1, across), (-2, along)):
        reach = int(3 * sigma + 1)
        taps = torch.exp(-0.5 * (torch.arange(-reach, reach + 1) / sigma).square()).tolist()
        field_HW = torch.stack(
            [tap * torch.roll(field_HW, offset - reach, axis) for offset, tap in enumerate(taps)]
        ).sum(0)
    return field_HW
