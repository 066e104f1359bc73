"""What the causal VAEs share: features delayed by one step, and latents normalised per channel."""

from __future__ import annotations

import torch
from torch import Tensor, nn


def delayed(x_BTCHW: Tensor, memory: Tensor | None) -> tuple[Tensor, Tensor]:
    """The same steps one step earlier (zeros before the first), and the memory for the next call."""
    first = torch.zeros_like(x_BTCHW[:, :1]) if memory is None else memory
    return torch.cat([first, x_BTCHW[:, :-1]], 1), x_BTCHW[:, -1:]


class NormalisedLatents(nn.Module):
    """A VAE whose latents have the mean 0 and the deviation 1. mean, scale: one number a channel of the raw latents."""

    mean: Tensor
    scale: Tensor

    def normalise(self, raw_BTCHW: Tensor) -> Tensor:
        return (raw_BTCHW - self.mean[:, None, None]) / self.scale[:, None, None]

    def denormalise(self, latents_BTCHW: Tensor) -> Tensor:
        return latents_BTCHW * self.scale[:, None, None] + self.mean[:, None, None]
