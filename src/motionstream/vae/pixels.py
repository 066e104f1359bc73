"""The one place where uint8 pixels become [−1, 1] and back."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor


def to_model(frames: Tensor) -> Tensor:
    """uint8 0…255 → float32 −1…1, any shape."""
    return frames.float() / 127.5 - 1


def to_uint8(pixels: Tensor) -> Tensor:
    """−1…1 → uint8 0…255, rounded and clamped, any shape."""
    return ((pixels.float().clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8)


def from_image(image: npt.NDArray[np.uint8]) -> Tensor:
    """(H, W, 3) uint8 → (1, 1, 3, H, W) float32 in [−1, 1]."""
    return to_model(torch.from_numpy(np.array(image)).permute(2, 0, 1))[None, None]


def to_frames(video: Tensor) -> npt.NDArray[np.uint8]:
    """(F, 3, H, W) in [−1, 1] → (F, H, W, 3) uint8."""
    frames: npt.NDArray[np.uint8] = to_uint8(video).permute(0, 2, 3, 1).contiguous().cpu().numpy()
    return frames
