"""Base of the causal VAEs: whole clips as one step of a stream, and normalised latents."""

from __future__ import annotations

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
