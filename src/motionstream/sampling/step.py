"""The two halves of a live chunk: `denoise` gives the latents that are decoded and leave; `commit` writes them into the
cache afterwards, while a viewer looks at the frames. Both run the chunk loop (`rollout.py`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from motionstream.conditioning import Conditioning
from motionstream.dit import RollingCache, TextContext
from motionstream.sampling.model import MotionModel
from motionstream.sampling.rollout import RolloutConfig, commit_chunk, denoise_chunk, recommit_chunk
from motionstream.vae import Memory, VideoVAE

StepNoise = Callable[[int, tuple[int, ...]], Tensor]
"""(step, shape) → standard normal noise."""
DecodeStep = Callable[[Tensor, Memory | None], tuple[Tensor, Memory]]
"""`VideoVAE.decode_step`."""


@dataclass(frozen=True)
class ChunkInputs:
    """What a chunk is denoised with. known (B, n, C, h, w): first latents of the chunk that are given, if any."""

    conditioning: Conditioning
    context: TextContext
    noise: StepNoise
    known: Tensor | None = None


class ChunkStep(Protocol):
    """One live chunk in two halves, without gradients. cache: of the stream whose turn it is."""

    rollout_config: RolloutConfig

    def cache(self) -> RollingCache:
        """An empty cache for a new stream."""
        ...

    def denoise(self, cache: RollingCache, inputs: ChunkInputs) -> Tensor:
        """Clean latents of the next chunk, as `denoise_chunk`; the cache is only read if there is a clean pass."""
        ...

    def commit(self, cache: RollingCache, clean: Tensor, inputs: ChunkInputs) -> None:
        """See that the chunk denoised last is in the cache."""
        ...

    def recommit(self, cache: RollingCache, clean: Tensor, inputs: ChunkInputs) -> None:
        """Write an earlier chunk into the cache once more, as `recommit_chunk`."""
        ...

    def decoder(self, vae: VideoVAE) -> DecodeStep:
        """How the latents of a chunk are decoded."""
        ...


StepMaker = Callable[[MotionModel, RolloutConfig, tuple[int, int]], ChunkStep]
"""(network, rollout, (rows, columns) of tokens in a latent) → how its chunks are made."""


class PlainStep:
    """Both halves as they are, over a `RollingCache`."""

    def __init__(self, model: MotionModel, rollout_config: RolloutConfig, grid: tuple[int, int]) -> None:
        self.model, self.rollout_config, self.grid = model, rollout_config, grid

    def cache(self) -> RollingCache:
        """An empty cache for a new stream."""
        weight, config = self.model.like, self.rollout_config
        return RollingCache(
            self.model.dit.config,
            batch=1,
            tokens=self.grid[0] * self.grid[1],
            sink=config.sink,
            window=config.window,
            dtype=weight.dtype,
            device=weight.device,
        )

    def denoise(self, cache: RollingCache, inputs: ChunkInputs) -> Tensor:
        """Clean latents of the next chunk."""
        with torch.inference_mode():
            commits, times = not self.rollout_config.clean_pass, self.rollout_config.times
            given = inputs.conditioning, inputs.context, times, inputs.noise, inputs.known
            return denoise_chunk(self.model, cache, *given, commit=commits)

    def commit(self, cache: RollingCache, clean: Tensor, inputs: ChunkInputs) -> None:
        """See that the chunk denoised last is in the cache."""
        if self.rollout_config.clean_pass:
            with torch.inference_mode():
                commit_chunk(self.model, cache, clean, inputs.conditioning, inputs.context)

    def recommit(self, cache: RollingCache, clean: Tensor, inputs: ChunkInputs) -> None:
        """Write an earlier chunk into the cache once more."""
        with torch.inference_mode():
            given = inputs.conditioning, inputs.context, self.rollout_config, inputs.noise, inputs.known
            recommit_chunk(self.model, cache, clean, *given)

    def decoder(self, vae: VideoVAE) -> DecodeStep:
        """The VAE's own."""
        return vae.decode_step
