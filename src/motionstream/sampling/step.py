"""The two halves of a live chunk: `denoise` gives the latents that are decoded and leave; `commit` writes them into the
cache afterwards, while a viewer looks at the frames. Both run the chunk loop (`rollout.py`).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import torch
from torch import Tensor

from motionstream.conditioning import Conditioning
from motionstream.dit import RollingCache, TextContext
from motionstream.sampling.model import MotionModel
from motionstream.sampling.rollout import RolloutConfig, commit_chunk, denoise_chunk

StepNoise = Callable[[int, tuple[int, ...]], Tensor]
"""(step, shape) → standard normal noise."""


class ChunkStep(Protocol):
    """One live chunk in two halves, without gradients. cache, conditioning, context: of the stream whose turn it is."""

    rollout_config: RolloutConfig

    def cache(self) -> RollingCache:
        """An empty cache for a new stream."""
        ...

    def denoise(
        self,
        cache: RollingCache,
        conditioning: Conditioning,
        context: TextContext,
        noise: StepNoise,
        known: Tensor | None = None,
    ) -> Tensor:
        """Clean latents of the next chunk, as `denoise_chunk`; the cache is only read if there is a clean pass."""
        ...

    def commit(self, cache: RollingCache, clean: Tensor, conditioning: Conditioning, context: TextContext) -> None:
        """See that the chunk denoised last is in the cache."""
        ...

    def recommit(self, cache: RollingCache, clean: Tensor, conditioning: Conditioning, context: TextContext) -> None:
        """Write any clean chunk into the cache, as `commit_chunk`: an old one, for another prompt or place."""
        ...


class PlainStep:
    """Both halves as they are, over a `RollingCache`."""

    def __init__(self, model: MotionModel, rollout_config: RolloutConfig, grid: tuple[int, int]) -> None:
        self.model, self.rollout_config, self.grid = model, rollout_config, grid

    def cache(self) -> RollingCache:
        """An empty cache for a new stream."""
        weight, config = next(self.model.parameters()), self.rollout_config
        return RollingCache(
            self.model.dit.config,
            batch=1,
            tokens=self.grid[0] * self.grid[1],
            sink=config.sink,
            window=config.window,
            dtype=weight.dtype,
            device=weight.device,
        )

    def denoise(
        self,
        cache: RollingCache,
        conditioning: Conditioning,
        context: TextContext,
        noise: StepNoise,
        known: Tensor | None = None,
    ) -> Tensor:
        """Clean latents of the next chunk."""
        with torch.inference_mode():
            commits, times = not self.rollout_config.clean_pass, self.rollout_config.times
            return denoise_chunk(self.model, cache, conditioning, context, times, noise, known, commit=commits)

    def commit(self, cache: RollingCache, clean: Tensor, conditioning: Conditioning, context: TextContext) -> None:
        """See that the chunk denoised last is in the cache."""
        if self.rollout_config.clean_pass:
            self.recommit(cache, clean, conditioning, context)

    def recommit(self, cache: RollingCache, clean: Tensor, conditioning: Conditioning, context: TextContext) -> None:
        """Write a clean chunk into the cache."""
        with torch.inference_mode():
            commit_chunk(self.model, cache, clean, conditioning, context)
