"""The rollout that trains, the rollout that serves and the masked student are one function."""

from __future__ import annotations

from functools import partial

import pytest
import torch
from tests.equal.dense_mask import masks
from tests.small import (
    GEOMETRY,
    PROMPTS,
    cache_for,
    moving_tracks,
    picture,
    small_conditioning,
    small_model,
    small_vae,
)
from torch import Tensor

from motionstream.dit import ChunkMask
from motionstream.geometry import chunk_spans
from motionstream.sampling import ChunkInputs, MotionModel, RolloutConfig, commit_chunk, denoise_chunk, keyed, rollout
from motionstream.tiny.anchor import Anchor
from motionstream.tiny.conditioner import AnchoredConditioner, AnchoredState
from motionstream.train.causal_init import guess_after_clean
from motionstream.train.motion_data import Sample

LATENTS = 10
TIMES = (1.0, 0.92, 0.75)
SIZES = [(3, 3, 3), (1, 1, 2), (2, 3, 4), (4, 0, 3)]
"""(chunk, sink, window) in latents: past the point where the window rolls."""


def roll(model: MotionModel, rollout_config: RolloutConfig, exit_step: int | None = None) -> Tensor:
    parts, known = small_conditioning(LATENTS), small_vae().encode(picture()[:, None])
    context = model.context(PROMPTS[:1])
    chunks = rollout(
        model, cache_for(model, rollout_config), parts, context, rollout_config, keyed(5), known, exit_step
    )
    return torch.cat(list(chunks), 1)


@pytest.mark.parametrize("clean_pass", [True, False])
@pytest.mark.parametrize("sizes", SIZES)
def test_training_makes_the_frames_that_serving_makes(sizes: tuple[int, int, int], clean_pass: bool) -> None:
    """With gradient and an exit at the last step = without gradient and all steps, on the same noise."""
    model, rollout_config = small_model(), RolloutConfig(*sizes, times=TIMES, clean_pass=clean_pass)
    trained = roll(model, rollout_config, exit_step=len(TIMES) - 1)
    assert trained.requires_grad
    with torch.no_grad():
        served = roll(model, rollout_config)
        torch.testing.assert_close(roll(model, rollout_config, exit_step=len(TIMES) - 1), served, atol=0, rtol=0)
    torch.testing.assert_close(trained.detach(), served, atol=1e-4, rtol=0)


@pytest.mark.parametrize("sizes", SIZES)
@torch.no_grad()
def test_a_clip_known_in_full_equals_a_stream_that_learns_its_tracks_chunk_by_chunk(
    sizes: tuple[int, int, int],
) -> None:
    model, rollout_config = small_model(), RolloutConfig(*sizes, times=TIMES)
    tracks, context = moving_tracks(GEOMETRY.frames(LATENTS)), model.context(PROMPTS[:1])
    conditioner = AnchoredConditioner(small_vae(), GEOMETRY, 0)
    state = AnchoredState(Anchor.of(picture()).seen(tracks, 0))
    cache, chunks = cache_for(model, rollout_config), []
    for index, (begin, size) in enumerate(chunk_spans(LATENTS, rollout_config.chunk)):
        part, state = conditioner.continued(state, tracks.slice(*GEOMETRY.frame_range(begin, size)))
        known = part.first[:, :1, GEOMETRY.temporal_stride :] if index == 0 else None
        noise = partial(keyed(5), index)
        clean = denoise_chunk(model, cache, ChunkInputs(part, context, noise, known), rollout_config.times)
        commit_chunk(model, cache, clean, part, context)
        chunks.append(clean)
    torch.testing.assert_close(torch.cat(chunks, 1), roll(model, rollout_config), atol=1e-3, rtol=0)


@pytest.mark.parametrize("dense", [False, True])
@pytest.mark.parametrize("sizes", SIZES)
@torch.no_grad()
def test_teacher_forcing_equals_the_cached_student_after_clean_commits(
    sizes: tuple[int, int, int], dense: bool
) -> None:
    """Text, tracks and anchor on: the masked pass over [clean | noisy] sees what the cache holds."""
    model, (chunk, sink, window) = small_model(), sizes
    parts, context = small_conditioning(LATENTS, clips=2), model.context(PROMPTS)
    clean, noisy = torch.randn(2, *parts.anchor.shape)
    t = torch.rand(2, LATENTS)
    sample = Sample(latents=clean, conditioning=parts, no_motion=None, prompts=PROMPTS)
    mask = ChunkMask.regular(LATENTS, chunk, sink, window, teacher_forcing=True)
    with masks(dense):
        forced = guess_after_clean(model, sample, noisy, t, mask)
    cache = cache_for(model, RolloutConfig(chunk, sink, window, TIMES), clips=2)
    for begin, size in chunk_spans(LATENTS, chunk):
        span = slice(begin, begin + size)
        part = parts.slice(begin, begin + size)
        cached = model.clean(noisy[:, span], t[:, span], part, context, over=cache)
        torch.testing.assert_close(forced[:, span], cached, atol=1e-4, rtol=0)
        commit_chunk(model, cache, clean[:, span], part, context)
