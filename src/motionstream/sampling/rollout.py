"""The chunk loop, the only one: training, serving and evaluation call it.

A chunk: denoise K times with the cache frozen, then commit the clean chunk once (paper Section 3.2), or, without a
clean pass, let the last call commit its own keys and values. The step between two calls is stochastic: the clean
estimate is noised again, with new noise, to the next time (Self Forcing).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from motionstream.conditioning import Conditioning
from motionstream.diffusion import interpolate
from motionstream.dit import RollingCache, TextContext
from motionstream.geometry import chunk_spans
from motionstream.sampling.model import MotionModel
from motionstream.sampling.noise import keyed_noise
from motionstream.sampling.times import beside, host_times

Noise = Callable[[int, int, tuple[int, ...]], Tensor]
"""(chunk, step, shape) → standard normal noise."""
StepNoise = Callable[[int, tuple[int, ...]], Tensor]
"""(step, shape) → standard normal noise: that of one chunk."""


@dataclass(frozen=True)
class RolloutConfig:
    """Sizes of the rollout in latents (paper: c3s1w1 in chunks of 3), and the times of its calls.

    clean_pass: whether a chunk, once clean, goes through the network again, at t = 0, for the keys and values that
    later chunks see (paper Section 3.2). If not, they see those of its last call, made of latents that were still
    noisy: one pass fewer a chunk.
    """

    chunk: int
    sink: int
    window: int
    times: tuple[float, ...]
    clean_pass: bool = True


@dataclass(frozen=True)
class ChunkInputs:
    """What a chunk is denoised with. known (B, n, C, h, w): first latents of the chunk that are given, if any: the
    picture's at the start of a clip."""

    conditioning: Conditioning
    context: TextContext
    noise: StepNoise
    known: Tensor | None = None

    def noised(self, clean: Tensor, step: int, time: float) -> tuple[Tensor, Tensor]:
        """What call number `step` is given: the clean estimate noised to its time, noise alone at the first; known
        latents as they are. And the time of each latent."""
        fresh = self.noise(step, tuple(clean.shape)).to(clean)
        t = host_times(time, clean, 0 if self.known is None else self.known.shape[1])
        return self.pinned(interpolate(clean, fresh, beside(t, clean)) if step else fresh), t

    def pinned(self, latents: Tensor) -> Tensor:
        """The latents with the known ones in front put in place."""
        return latents if self.known is None else torch.cat([self.known, latents[:, self.known.shape[1] :]], 1)


def keyed(seed: int) -> Noise:
    """The noise of a stream with this seed."""
    return lambda chunk, step, shape: keyed_noise(shape, seed, chunk, step)


def denoise_chunk(
    model: MotionModel,
    cache: RollingCache,
    inputs: ChunkInputs,
    times: tuple[float, ...],
    exit_step: int | None = None,
    commit: bool = False,
) -> Tensor:
    """Clean latents (B, C, channels, h, w) of the next chunk; the cache is only read, unless it commits.

    times: of the calls. exit_step: the last call made; None: all of them. If gradients are enabled, they go through
    that last call alone (Self Forcing). commit: whether the last call writes its keys and values into the cache.
    """
    last = len(times) - 1 if exit_step is None else exit_step
    clean = inputs.conditioning.first.new_empty(inputs.conditioning.latent_shape)
    for step in range(last + 1):
        with torch.set_grad_enabled(torch.is_grad_enabled() and step == last):
            noisy, t = inputs.noised(clean, step, times[step])
            commits = commit and step == last
            clean = inputs.pinned(model.clean(noisy, t, inputs.conditioning, inputs.context, cache, commits))
    return clean


@torch.no_grad()
def commit_chunk(
    model: MotionModel, cache: RollingCache, clean: Tensor, conditioning: Conditioning, context: TextContext
) -> None:
    """Write the clean chunk's keys and values into the cache."""
    model.commit(clean.detach(), host_times(0.0, clean), conditioning, context, cache)


@torch.no_grad()
def recommit_chunk(
    model: MotionModel, cache: RollingCache, clean: Tensor, inputs: ChunkInputs, config: RolloutConfig
) -> None:
    """Write an earlier chunk into the cache once more, for another prompt or another place in it.

    With a clean pass as `commit_chunk`. Without one the keys and values must be of the kind that the last call left, so
    the clean chunk is noised to the time of that call, with its noise; with one call a chunk they are the same again.
    inputs: with the noise and the known latents that the chunk was denoised with.
    """
    if config.clean_pass:
        commit_chunk(model, cache, clean, inputs.conditioning, inputs.context)
        return
    noisy, t = inputs.noised(clean, len(config.times) - 1, config.times[-1])
    model.clean(noisy, t, inputs.conditioning, inputs.context, cache, commit=True)


def rollout(
    model: MotionModel,
    cache: RollingCache,
    conditioning: Conditioning,
    context: TextContext,
    rollout_config: RolloutConfig,
    noise: Noise,
    known: Tensor | None = None,
    exit_step: int | None = None,
    remembered: Callable[[int, Tensor], Tensor] = lambda begin, clean: clean,
) -> Iterator[Tensor]:
    """Clean chunks of a clip whose conditioning is known in full, in order.

    known: first latents of the clip that are given (the picture's). exit_step: see `denoise_chunk`. remembered:
    (first latent, clean chunk) → what a clean pass commits for it: the chunk, but with history noise in training.
    """
    for index, (begin, size) in enumerate(chunk_spans(conditioning.latents, rollout_config.chunk)):
        part = conditioning.slice(begin, begin + size)
        inputs = ChunkInputs(part, context, partial(noise, index), known if begin == 0 else None)
        clean = denoise_chunk(
            model, cache, inputs, rollout_config.times, exit_step, commit=not rollout_config.clean_pass
        )
        if rollout_config.clean_pass:
            commit_chunk(model, cache, remembered(begin, clean), part, context)
        yield clean
