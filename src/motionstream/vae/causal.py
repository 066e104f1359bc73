"""What the causal VAEs share: whole clips as one step of a stream, normalised latents, features of the step before."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from motionstream.vae.contract import Memory


class CausalVAE(nn.Module):
    """Base of the VAEs. mean, scale: of the raw latents, one number a channel; normalised ones have mean 0, scale 1."""

    mean: Tensor
    scale: Tensor

    def encode(self, video: Tensor) -> Tensor:
        return self.encode_step(video, None)[0]

    def decode(self, latents: Tensor) -> Tensor:
        return self.decode_step(latents, None)[0]

    def encode_step(self, video: Tensor, memory: Memory | None) -> tuple[Tensor, Memory]:
        raise NotImplementedError

    def decode_step(self, latents: Tensor, memory: Memory | None) -> tuple[Tensor, Memory]:
        raise NotImplementedError

    def normalise(self, raw_BTCHW: Tensor) -> Tensor:
        return (raw_BTCHW - self.mean[:, None, None]) / self.scale[:, None, None]

    def denormalise(self, latents_BTCHW: Tensor) -> Tensor:
        return latents_BTCHW * self.scale[:, None, None] + self.mean[:, None, None]


def delayed(x_BTCHW: Tensor, memory: Tensor | None) -> tuple[Tensor, Tensor]:
    """The same steps one step earlier (zeros before the first), and the memory for the next call."""
    first = torch.zeros_like(x_BTCHW[:, :1]) if memory is None else memory
    return torch.cat([first, x_BTCHW[:, :-1]], 1), x_BTCHW[:, -1:]
