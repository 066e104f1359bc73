"""One VAE that encodes, another that decodes: Wan's encoder with a tiny decoder (paper, Appendix A)."""

from __future__ import annotations

from typing import Protocol

from torch import Tensor, nn

from motionstream.vae.contract import Memory, VideoVAE


class VideoDecoder(Protocol):
    """The decoding half of a `VideoVAE`, on latents as the DiT sees them."""

    latent_channels: int
    spatial_stride: int

    def decode(self, latents: Tensor) -> Tensor: ...

    def decode_step(self, latents: Tensor, memory: Memory | None) -> tuple[Tensor, Memory]: ...


class WithDecoder(nn.Module):
    """A `VideoVAE` made of two. Raises ValueError if the decoder is for other latents."""

    def __init__(self, vae: VideoVAE, decoder: VideoDecoder) -> None:
        super().__init__()
        for name in ("latent_channels", "spatial_stride"):
            given, needed = getattr(decoder, name), getattr(vae, name)
            if given != needed:
                raise ValueError(f"a decoder with {name} {given} beside a VAE with {needed}: choose the VAE's own kind")
        self.vae, self.decoder = vae, decoder
        self.latent_channels = vae.latent_channels
        self.spatial_stride = vae.spatial_stride
        self.temporal_stride = vae.temporal_stride

    def encode(self, video: Tensor) -> Tensor:
        return self.vae.encode(video)

    def decode(self, latents: Tensor) -> Tensor:
        return self.decoder.decode(latents)

    def encode_step(self, video: Tensor, memory: Memory | None) -> tuple[Tensor, Memory]:
        return self.vae.encode_step(video, memory)

    def decode_step(self, latents: Tensor, memory: Memory | None) -> tuple[Tensor, Memory]:
        return self.decoder.decode_step(latents, memory)
