"""The fused motion model gives the reference's chunks, whichever streams take turns with it."""

from __future__ import annotations

import pytest
import torch
from tests.small import PROMPTS, cache_for, small_conditioning, small_model
from torch import Tensor

from motionstream.conditioning import Conditioning
from motionstream.dit import RollingCache
from motionstream.sampling import MotionModel, Rolling, commit_chunk, denoise_chunk, keyed, rollout
from motionstream.sampling.fuse import fuse_motion

ROLLING = Rolling(chunk=2, sink=2, window=3, times=(1.0, 0.6))
TOLERANCE = 2e-5
LATENTS = 7


def parts(conditioning: Conditioning) -> list[Conditioning]:
    return [conditioning.slice(begin, begin + 2) for begin in range(0, LATENTS - 1, 2)]


def chunk_of(model: MotionModel, cache: RollingCache, part: Conditioning, index: int) -> Tensor:
    context, noise = model.context(PROMPTS[:1]), keyed(0)
    return denoise_chunk(model, cache, part, context, ROLLING.times, lambda step, shape: noise(index, step, shape))


@pytest.mark.parametrize("parameterization", ["anchored", "velocity"])
@torch.inference_mode()
def test_equals_the_reference(parameterization: str) -> None:
    reference = small_model(parameterization)
    conditioning, known = small_conditioning(LATENTS), torch.randn(1, 1, reference.config.dit.out_channels, 4, 6)
    chunks, caches = [], []
    for model in (reference, fuse_motion(small_model(parameterization))):
        cache, context = cache_for(model, ROLLING), model.context(PROMPTS[:1])
        chunks.append(torch.cat(list(rollout(model, cache, conditioning, context, ROLLING, keyed(3), known)), 1))
        caches.append(cache)
    assert chunks[0].shape[1] == LATENTS
    torch.testing.assert_close(chunks[1], chunks[0], atol=TOLERANCE, rtol=2e-6)
    torch.testing.assert_close(caches[1].keys, caches[0].keys, atol=TOLERANCE, rtol=0)
    torch.testing.assert_close(caches[1].values, caches[0].values, atol=TOLERANCE, rtol=0)


@torch.inference_mode()
def test_streams_that_take_turns_do_not_meet() -> None:
    """One chunk's conditioning is kept at a time: another stream's must never be taken for it."""
    model = fuse_motion(small_model())
    clips = [parts(small_conditioning(LATENTS, seed=seed)) for seed in (1, 2)]
    apart, together = [], [[], []]  # type: ignore[var-annotated]
    for clip in clips:
        cache = cache_for(model, ROLLING)
        for index, part in enumerate(clip):
            apart.append(chunk_of(model, cache, part, index))
            commit_chunk(model, cache, apart[-1], part, model.context(PROMPTS[:1]))
    caches = [cache_for(model, ROLLING) for _ in clips]
    for index in range(len(clips[0])):
        for who, clip in enumerate(clips):
            together[who].append(chunk_of(model, caches[who], clip[index], index))
        for who, clip in enumerate(clips):
            commit_chunk(model, caches[who], together[who][-1], clip[index], model.context(PROMPTS[:1]))
    assert torch.equal(torch.cat(together[0] + together[1], 1), torch.cat(apart, 1))
    assert not torch.equal(together[0][-1], together[1][-1])


def test_is_fused_once_and_has_no_gradients() -> None:
    model = fuse_motion(small_model())
    with pytest.raises(ValueError, match="fused already"):
        fuse_motion(model)
    part = small_conditioning(2)
    with pytest.raises(ValueError, match="no gradients"):
        model.velocity(part.anchor, torch.ones(1, 2), part, model.context(PROMPTS[:1]), cache=cache_for(model, ROLLING))
