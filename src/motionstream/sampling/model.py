"""`MotionModel`: DiT + track head + text encoder as one network that maps noisy latents to a velocity.

Two ways to read the DiT's output u, chosen by the configuration:

- "velocity" (Wan, the paper): v = u.
- "anchored" (the embedded model): ẑ_0 = a + u, with a the latents of the warped anchor, and v = (z_t − ẑ_0) / t. A
  network that knows nothing returns the warp, and it learns only what the warp lacks; it never has to carry
  noise through its few channels.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from motionstream.conditioning import Conditioning, ConditioningConfig, TrackHead
from motionstream.diffusion import TIMESTEPS, clean_of, velocity_of
from motionstream.dit import ChunkMask, DiTConfig, RollingCache, TextContext, VideoDiT
from motionstream.fast.fuse import FusedDiT
from motionstream.sampling.times import beside
from motionstream.tiny.text_encoder import TextEncoder

PARAMETERIZATIONS = ("velocity", "anchored")


@dataclass(frozen=True)
class ModelConfig:
    """dit: sizes of the DiT (its in_channels = latents + conditioning); parameterization: see above."""

    dit: DiTConfig
    conditioning: ConditioningConfig
    parameterization: str

    def __post_init__(self) -> None:
        expected = self.conditioning.latent_channels + self.conditioning.channels
        if self.dit.in_channels != expected:
            raise ValueError(f"DiT takes {self.dit.in_channels} channels, its conditioning makes {expected}")
        if self.parameterization not in PARAMETERIZATIONS:
            raise ValueError(f"parameterization {self.parameterization!r}: one of {', '.join(PARAMETERIZATIONS)}")
        if self.parameterization == "anchored" and not self.conditioning.anchored:
            raise ValueError("an anchored model needs conditioning with the warped anchor")


class MotionModel(nn.Module):
    """The network of one model. Teacher, masked student and cached student alike."""

    def __init__(self, config: ModelConfig, text: bool = True) -> None:
        super().__init__()
        self.config = config
        self.dit: VideoDiT | FusedDiT = VideoDiT(config.dit)
        self.track_head = TrackHead(config.conditioning.track_channels)
        self.text = TextEncoder(config.dit.text_dim, config.dit.text_tokens) if text else None

    def context(self, prompts: list[str]) -> TextContext:
        """What the DiT's cross-attention reads of these prompts; computed once a prompt."""
        if self.text is None:
            raise ValueError("this model has no text encoder of its own: give the DiT an encoded prompt")
        return self.dit.text_context(self.text(prompts).to(next(self.dit.parameters()).dtype))

    def velocity(
        self,
        noisy: Tensor,
        t: Tensor,
        conditioning: Conditioning,
        context: TextContext,
        mask: ChunkMask | None = None,
        cache: RollingCache | None = None,
    ) -> Tensor:
        """v (B, T, C, h, w) at noisy latents (B, T, C, h, w) and times t (B, T) in [0, 1], which may be on the host.

        Where t is 0 the velocity of an anchored network means nothing.
        """
        output = self._output(noisy, t, conditioning, context, mask, cache)
        if self.config.parameterization == "anchored":
            return velocity_of(conditioning.anchor + output, noisy, beside(t, noisy))
        return output

    def clean(
        self,
        noisy: Tensor,
        t: Tensor,
        conditioning: Conditioning,
        context: TextContext,
        mask: ChunkMask | None = None,
        cache: RollingCache | None = None,
        commit: bool = False,
    ) -> Tensor:
        """The guess of z_0, same arguments. commit: whether this pass writes its keys and values into the cache."""
        output = self._output(noisy, t, conditioning, context, mask, cache, commit)
        if self.config.parameterization == "anchored":
            return conditioning.anchor + output
        return clean_of(output, noisy, beside(t, noisy))

    def commit(
        self, clean: Tensor, t: Tensor, conditioning: Conditioning, context: TextContext, cache: RollingCache
    ) -> None:
        """Write the keys and values of clean latents (B, T, C, h, w), at times t = 0, into the cache."""
        self.dit.commit(self._given(clean, conditioning), t * TIMESTEPS, context, cache)

    def _output(
        self,
        noisy: Tensor,
        t: Tensor,
        conditioning: Conditioning,
        context: TextContext,
        mask: ChunkMask | None,
        cache: RollingCache | None,
        commit: bool = False,
    ) -> Tensor:
        given = self._given(noisy, conditioning)
        output: Tensor = self.dit(given, t * TIMESTEPS, context, mask=mask, cache=cache, commit=commit)
        return output

    def _given(self, latents: Tensor, conditioning: Conditioning) -> Tensor:
        return torch.cat([latents, self.channels(conditioning)], 2)

    def channels(self, conditioning: Conditioning) -> Tensor:
        """All conditioning channels (B, T, C', h, w), in the order `conditioner.py` states."""
        parts = [conditioning.first, self.track_head(conditioning.volume)]
        if self.config.conditioning.anchored:
            parts += [conditioning.anchor, conditioning.support]
        return torch.cat(parts, 2)
