"""`MotionModel`: DiT + track head + text encoder as one network that maps noisy latents to a velocity."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor, nn

from motionstream.conditioning import Conditioning, ConditioningConfig, TextEncoder, TrackHead
from motionstream.diffusion import TIMESTEPS, clean_of
from motionstream.dit import DiTConfig, Over, RollingCache, TextContext, VideoDiT
from motionstream.sampling.times import beside


@dataclass(frozen=True)
class ModelConfig:
    """dit: sizes of the DiT (its in_channels = latents + conditioning)."""

    dit: DiTConfig
    conditioning: ConditioningConfig

    def __post_init__(self) -> None:
        expected = self.conditioning.latent_channels + self.conditioning.channels
        if self.dit.in_channels != expected:
            raise ValueError(f"DiT takes {self.dit.in_channels} channels, its conditioning makes {expected}")


class Transformer(Protocol):
    """What a `MotionModel` needs of its transformer: a `VideoDiT`, or a faster form of one (`fast/`)."""

    @property
    def config(self) -> DiTConfig: ...

    def __call__(
        self, x_BTCHW: Tensor, t: Tensor, context: Tensor | TextContext, over: Over = None, commit: bool = False
    ) -> Tensor: ...

    def commit(self, x_BTCHW: Tensor, t: Tensor, context: Tensor | TextContext, cache: RollingCache) -> None: ...

    def text_context(
        self, text: Tensor, image: Tensor | None = None, lengths: Sequence[int] | None = None
    ) -> TextContext: ...

    def grid(self, height: int, width: int) -> tuple[int, int]: ...


class MotionModel(nn.Module):
    """The network of one model. Teacher, masked student and cached student alike."""

    dit: Transformer

    def __init__(self, config: ModelConfig, text: bool = True) -> None:
        """text: with a text encoder of its own, learned with the rest; else prompts come encoded."""
        super().__init__()
        self.config = config
        self.dit = VideoDiT(config.dit)
        self.track_head = TrackHead(config.conditioning.track_channels)
        self.text = TextEncoder(config.dit.text_dim, config.dit.text_tokens) if text else None

    @property
    def like(self) -> Tensor:
        """A weight: of the network's device and dtype."""
        return next(self.parameters())

    def context(self, prompts: list[str]) -> TextContext:
        """Keys and values of the DiT's cross-attention for these prompts; computed once a prompt."""
        if self.text is None:
            raise ValueError("this model has no text encoder of its own: give the DiT an encoded prompt")
        return self.dit.text_context(self.text(prompts).to(self.like.dtype))

    def velocity(
        self, noisy: Tensor, t: Tensor, conditioning: Conditioning, context: TextContext, over: Over = None
    ) -> Tensor:
        """v (B, T, C, h, w) at noisy latents (B, T, C, h, w) and times t (B, T) in [0, 1], which may be on the host.

        over: what the latents attend to, see `VideoDiT.forward`.
        """
        output = self.dit(self._input(noisy, conditioning), t * TIMESTEPS, context, over)
        return self.velocity_from(output, noisy, t, conditioning)

    def clean(
        self,
        noisy: Tensor,
        t: Tensor,
        conditioning: Conditioning,
        context: TextContext,
        over: Over = None,
        commit: bool = False,
    ) -> Tensor:
        """The estimate of z_0, same arguments. commit: whether this pass writes its keys and values into the cache."""
        output = self.dit(self._input(noisy, conditioning), t * TIMESTEPS, context, over, commit)
        return self.clean_from(output, noisy, t, conditioning)

    def velocity_from(self, output: Tensor, noisy: Tensor, t: Tensor, conditioning: Conditioning) -> Tensor:
        """The velocity for an output of the DiT: here the output itself."""
        return output

    def clean_from(self, output: Tensor, noisy: Tensor, t: Tensor, conditioning: Conditioning) -> Tensor:
        """The estimate of z_0 for an output of the DiT."""
        return clean_of(output, noisy, beside(t, noisy))

    def commit(
        self, clean: Tensor, t: Tensor, conditioning: Conditioning, context: TextContext, cache: RollingCache
    ) -> None:
        """Write the keys and values of clean latents (B, T, C, h, w), at times t = 0, into the cache."""
        self.dit.commit(self._input(clean, conditioning), t * TIMESTEPS, context, cache)

    def channels(self, conditioning: Conditioning) -> Tensor:
        """All conditioning channels (B, T, C', h, w), in the order `conditioning/conditioner.py` states."""
        return torch.cat([conditioning.first, self.track_head(conditioning.volume)], 2)

    def _input(self, latents: Tensor, conditioning: Conditioning) -> Tensor:
        return torch.cat([latents, self.channels(conditioning)], 2)
