"""What every VAE of ours offers: pixels ↔ latents, whole clips or step by step with memory held by the caller.

Pixels (B, F, 3, H, W) in [−1, 1]; latents (B, T, C, h, w), normalised, as the DiT sees them.
F = 1 + 4 (T − 1): the first latent stands for one frame, each later one for four.
"""

from __future__ import annotations

from typing import Protocol

from torch import Tensor

Memory = tuple[Tensor, ...]
"""What a causal VAE carries from step to step; one tensor a layer with memory. Belongs to one stream."""


class VideoVAE(Protocol):
    latent_channels: int
    spatial_stride: int
    temporal_stride: int

    def encode(self, video: Tensor) -> Tensor:
        """A whole clip (B, 1 + 4(T−1), 3, H, W) → (B, T, C, h, w)."""
        ...

    def decode(self, latents: Tensor) -> Tensor:
        """A whole clip (B, T, C, h, w) → (B, 1 + 4(T−1), 3, H, W)."""
        ...

    def encode_step(self, video: Tensor, memory: Memory | None) -> tuple[Tensor, Memory]:
        """The next frames of a stream; memory None starts it (then 1 + 4n frames, else 4n)."""
        ...

    def decode_step(self, latents: Tensor, memory: Memory | None) -> tuple[Tensor, Memory]:
        """The next latents of a stream → their frames; memory None starts it."""
        ...
