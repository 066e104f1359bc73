"""The two halves of a live chunk: `denoise` gives the latents that are decoded and sent; `commit` writes their keys and
values into the cache afterwards, while the viewer watches the frames. Both are those of the chunk loop (`rollout.py`).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import torch
from torch import Tensor

from motionstream.dit import RollingCache
from motionstream.sampling.model import MotionModel
from motionstream.sampling.rollout import ChunkInputs, RolloutConfig, commit_chunk, denoise_chunk, recommit_chunk
from motionstream.vae import Memory, VideoVAE

DecodeStep = Callable[[Tensor, Memory | None], tuple[Tensor, Memory]]
"""`VideoVAE.decode_step`."""


class ChunkStep(Protocol):
    """One live chunk in two halves, without gradients. cache: of the stream that the chunk is of."""

    rollout_config: RolloutConfig

    def cache(self) -> RollingCache:
        """An empty cache for a new stream."""
        ...

    def denoise(self, cache: RollingCache, inputs: ChunkInputs) -> Tensor:
        """Clean latents of the next chunk, as `denoise_chunk`; the cache is only read if there is a clean pass."""
        ...

    def commit(self, cache: RollingCache, clean: Tensor, inputs: ChunkInputs) -> None:
        """Write the chunk denoised last into the cache, unless its last call has done so (without a clean pass)."""
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
    """Both halves over a `RollingCache`, without CUDA graphs."""

    def __init__(self, model: MotionModel, rollout_config: RolloutConfig, grid: tuple[int, int]) -> None:
        self.model, self.rollout_config, self.grid = model, rollout_config, grid

    def cache(self) -> RollingCache:
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
        config = self.rollout_config
        with torch.inference_mode():
            return denoise_chunk(self.model, cache, inputs, config.times, commit=not config.clean_pass)

    def commit(self, cache: RollingCache, clean: Tensor, inputs: ChunkInputs) -> None:
        if self.rollout_config.clean_pass:
            with torch.inference_mode():
                commit_chunk(self.model, cache, clean, inputs.conditioning, inputs.context)

    def recommit(self, cache: RollingCache, clean: Tensor, inputs: ChunkInputs) -> None:
        with torch.inference_mode():
            recommit_chunk(self.model, cache, clean, inputs, self.rollout_config)

    def decoder(self, vae: VideoVAE) -> DecodeStep:
        return vae.decode_step
