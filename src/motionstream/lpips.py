"""LPIPS v0.1 with AlexNet features (Zhang et al., CVPR 2018), without torchvision.

The weights are a safetensors file with `features.{0…4}` (the five convolutions) and `lin.{0…4}` (1×1 weights on
squared differences of channel-normalised features). Input (B, 3, H, W) in [−1, 1].
"""

from __future__ import annotations

import os
from typing import Self

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from motionstream.vae.pixels import to_model

Frames = npt.NDArray[np.uint8]

# in, out, kernel, stride, padding
CONVOLUTIONS = ((3, 64, 11, 4, 2), (64, 192, 5, 1, 2), (192, 384, 3, 1, 1), (384, 256, 3, 1, 1), (256, 256, 3, 1, 1))
POOLED_BEFORE = (1, 2)
SHIFT = (-0.030, -0.088, -0.188)
SCALE = (0.458, 0.448, 0.450)
SMALLEST = 32  # pixels a side that five layers need
TOGETHER = 16  # frames of a video that are compared at once
TINY = 1e-20  # less than any sum of squares that float32 could tell from it


class LpipsNetwork(nn.Module):
    """Perceptual distance of two pictures or videos: 0 alike, about 0.7 nothing in common."""

    shift: Tensor
    scale: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.ModuleList(
            nn.Conv2d(inner, outer, kernel, stride, padding) for inner, outer, kernel, stride, padding in CONVOLUTIONS
        )
        self.lin = nn.ModuleList(nn.Conv2d(outer, 1, 1, bias=False) for _, outer, *_ in CONVOLUTIONS)
        self.register_buffer("shift", torch.tensor(SHIFT)[:, None, None], persistent=False)
        self.register_buffer("scale", torch.tensor(SCALE)[:, None, None], persistent=False)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Self:
        """With the weights of a safetensors file, frozen. Raises ValueError if it is not such a file."""
        try:
            weights = load_file(path)
        except SafetensorError as error:
            raise ValueError(f"{path}: not a safetensors file ({error})") from None
        model = cls()
        try:
            model.load_state_dict(weights)
        except RuntimeError:
            raise ValueError(f"{path}: not the LPIPS weights; send features.0…4 and lin.0…4 of AlexNet") from None
        return model.eval().requires_grad_(False)

    @torch.no_grad()
    def video(self, made: Frames, true: Frames) -> float:
        """Mean over the frames after the first of two (F, H, W, 3) uint8 videos."""
        parts = [slice(begin, begin + TOGETHER) for begin in range(1, len(true), TOGETHER)]
        return float(torch.cat([self(_pixels(made[part]), _pixels(true[part])) for part in parts]).mean())

    def forward(self, made: Tensor, true: Tensor) -> Tensor:
        """(B, 3, H, W) twice, in [−1, 1] → (B,) distances. Differentiable."""
        if made.shape != true.shape or min(made.shape[-2:]) < SMALLEST:
            raise ValueError(
                f"pictures of {made.shape} and {true.shape}: send two alike, {SMALLEST} pixels or more a side"
            )
        a, b = ((x - self.shift) / self.scale for x in (made, true))
        total = made.new_zeros(len(made))
        for layer, (convolve, weigh) in enumerate(zip(self.features, self.lin, strict=True)):
            if layer in POOLED_BEFORE:
                a, b = F.max_pool2d(a, 3, 2), F.max_pool2d(b, 3, 2)
            a, b = F.relu(convolve(a)), F.relu(convolve(b))
            total = total + weigh((_normalised(a) - _normalised(b)).square()).mean((1, 2, 3))
        return total


def _pixels(video: Frames) -> Tensor:
    """(F, H, W, 3) uint8 → (F, 3, H, W) in [−1, 1]."""
    return to_model(torch.from_numpy(np.ascontiguousarray(video)).permute(0, 3, 1, 2))


def _normalised(x: Tensor) -> Tensor:
    """Features of unit length along the channels. Where all are 0, so is the gradient: a bare root's is not finite."""
    return x / ((x.square().sum(1, keepdim=True) + TINY).sqrt() + 1e-10)
