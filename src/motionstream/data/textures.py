"""Pictures prepared for rendering: resized to about their size in the frame, premultiplied, as tensors.

Legend: a texture is (4, h, w) float32 in [0, 1], colour premultiplied by alpha; a ground is (3, h, w).
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch import Tensor

UInt8Array = npt.NDArray[np.uint8]
SHADOW_BLUR = 0.06  # of the texture's longer side
BORDER = 2  # transparent pixels around every texture, so that sampling fades out at its edge


def cutout_texture(rgba: UInt8Array, long_side: float) -> Tensor:
    """(H, W, 4) uint8, straight alpha → texture whose longer side is `long_side` pixels plus a border."""
    height, width = rgba.shape[:2]
    scale = long_side / max(height, width)
    size = max(2, round(width * scale)), max(2, round(height * scale))
    premultiplied = Image.fromarray(rgba).convert("RGBa").resize(size, Image.Resampling.BICUBIC)
    # Pillow refuses np.asarray of "RGBa"; its bytes are the same layout.
    pixels = np.frombuffer(premultiplied.tobytes(), np.uint8).reshape(size[1], size[0], 4)
    texture = torch.from_numpy(pixels.astype(np.float32) / 255).permute(2, 0, 1)
    texture[:3] = torch.minimum(texture[:3], texture[3:])
    return torch.nn.functional.pad(texture, (BORDER,) * 4)


def ground_texture(rgba: UInt8Array, size: tuple[int, int], cover: float) -> Tensor:
    """(H, W, 4) uint8 photograph → (3, h, w) that covers a frame of `size` (W, H) `cover` times over.

    Enlarged only where it would not cover the frame otherwise.
    """
    height, width = rgba.shape[:2]
    least = max(size[0] / width, size[1] / height)
    scale = max(least, min(1.0, least * cover))
    shape = max(size[0], round(width * scale)), max(size[1], round(height * scale))
    image = Image.fromarray(rgba).convert("RGB").resize(shape, Image.Resampling.BICUBIC)
    return torch.from_numpy(np.asarray(image).astype(np.float32) / 255).permute(2, 0, 1).contiguous()


def patch_cutout(photo: UInt8Array, side: int, rng: np.random.Generator) -> UInt8Array:
    """A smooth random shape cut out of a photograph: (s, s, 4) uint8 straight alpha, s ≤ `side`."""
    height, width = photo.shape[:2]
    side = min(side, height, width)
    top, left = int(rng.integers(height - side + 1)), int(rng.integers(width - side + 1))
    patch = photo[top : top + side, left : left + side].copy()
    patch[..., 3] = np.round(255 * smooth_shape(side, rng)).astype(np.uint8)
    return patch


def smooth_shape(side: int, rng: np.random.Generator) -> npt.NDArray[np.float64]:
    """(side, side) coverage in [0, 1] of a closed curve r(θ) of a few random harmonics, edge one pixel soft."""
    axis = (np.arange(side) + 0.5) / side * 2 - 1
    x, y = axis[None] / rng.uniform(0.55, 1.0), axis[:, None] / rng.uniform(0.55, 1.0)
    angle, distance = np.arctan2(y, x), np.hypot(x, y)
    radius = np.ones_like(angle)
    for k in range(2, int(rng.integers(4, 8))):
        radius += rng.normal(0, 0.28 / k) * np.cos(k * angle + rng.uniform(0, 2 * math.pi))
    radius *= 0.97 / radius.max()
    return np.asarray(np.clip((radius - distance) * side / 2 + 0.5, 0, 1))


def shadow_texture(texture: Tensor, strength: float) -> Tensor:
    """A soft black shadow of a texture, in the same pixels plus room for the blur; alpha ≤ `strength`."""
    radius = max(1, round(SHADOW_BLUR * max(texture.shape[1:])))
    alpha = torch.nn.functional.pad(texture[3:], (3 * radius,) * 4)
    for _ in range(3):  # three box blurs are close to one Gaussian
        alpha = torch.nn.functional.avg_pool2d(alpha[None], 2 * radius + 1, 1, radius)[0]
    return torch.cat([torch.zeros_like(alpha).expand(3, -1, -1), alpha * strength])
