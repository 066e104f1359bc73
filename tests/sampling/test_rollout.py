"""THE chunk loop against one written out by hand; where its gradient goes; and the teacher's sampler."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from unittest.mock import patch

import pytest
import torch
from tests.small import (
    CHANNELS,
    GEOMETRY,
    PROMPTS,
    cache_for,
    picture,
    small_conditioning,
    small_control,
    small_model,
    small_vae,
)
from torch import Tensor

from motionstream.conditioning import Conditioning
from motionstream.dit import TextContext
from motionstream.sampling import (
    ChunkInputs,
    Guidance,
    MotionModel,
    RolloutConfig,
    commit_chunk,
    denoise_chunk,
    frame_times,
    keyed,
    keyed_noise,
    rollout,
    sample_clip,
)
from motionstream.tiny.conditioner import AnchoredConditioning

LATENTS = 8
ROLLING = RolloutConfig(chunk=2, sink=1, window=3, times=(1.0, 0.9, 0.7))
SEED = 11


def given(clips: int = 1) -> Tensor:
    """The picture's latent (B, 1, C, h, w)."""
    return small_vae().encode(picture(clips)[:, None])


def setting(clips: int = 1) -> tuple[MotionModel, Conditioning, TextContext]:
    model = small_model()
    return model, small_conditioning(LATENTS, clips), model.context(PROMPTS[:clips])


def rolled(
    model: MotionModel,
    parts: Conditioning,
    context: TextContext,
    rollout_config: RolloutConfig = ROLLING,
    **options: object,
) -> Tensor:
    cache = cache_for(model, rollout_config, len(parts.first))
    chunks = rollout(model, cache, parts, context, rollout_config, keyed(SEED), given(len(parts.first)), **options)  # type: ignore[arg-type]
    return torch.cat(list(chunks), 1)


@torch.no_grad()
def by_hand(model: MotionModel, parts: Conditioning, context: TextContext, clean_pass: bool) -> Tensor:
    """The loop written out, for two clips, with a pass of its own for the keys that are kept."""
    cache, known = cache_for(model, ROLLING, 2), given(2)
    chunks = []
    for index in range(4):
        part, clean = parts.slice(2 * index, 2 * index + 2), torch.empty(0)
        noisy, t = clean, clean
        for step, time in enumerate(ROLLING.times):
            noise = keyed_noise(part.latent_shape, SEED, index, step)
            t = torch.full((2, 2), time)
            noisy = noise if step == 0 else (1 - time) * clean + time * noise
            if index == 0:
                t[:, 0], noisy[:, :1] = 0, known
            velocity = model.velocity(noisy, t, part, context, over=cache)
            clean = noisy - t[..., None, None, None] * velocity
        kept = (clean, torch.zeros(2, 2)) if clean_pass else (noisy, t)
        model.commit(*kept, part, context, cache)
        chunks.append(clean)
    return torch.cat(chunks, 1)


@torch.no_grad()
def test_it_equals_the_loop_written_out_by_hand() -> None:
    model, parts, context = setting(clips=2)
    expected = by_hand(model, parts, context, clean_pass=True)
    torch.testing.assert_close(rolled(model, parts, context), expected, atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_without_a_clean_pass_later_chunks_see_what_the_last_call_saw() -> None:
    model, parts, context = setting(clips=2)
    made = rolled(model, parts, context, replace(ROLLING, clean_pass=False))
    expected = by_hand(model, parts, context, clean_pass=False)
    torch.testing.assert_close(made, expected, atol=1e-5, rtol=1e-5)
    assert (made - rolled(model, parts, context)).abs().max() > 1e-3


@pytest.mark.parametrize("clean_pass", [True, False])
@torch.no_grad()
def test_a_clean_pass_is_one_more_a_chunk(clean_pass: bool) -> None:
    model, parts, context = setting()
    asked: list[int] = []

    def remembered(begin: int, clean: Tensor) -> Tensor:
        asked.append(begin)
        return clean

    passes: list[object] = []
    hook = model.dit.register_forward_hook(lambda *_: passes.append(None))
    rolled(model, parts, context, replace(ROLLING, clean_pass=clean_pass), remembered=remembered)
    hook.remove()
    assert len(passes) == 4 * (3 + clean_pass)
    assert asked == ([0, 2, 4, 6] if clean_pass else [])


def test_the_last_calls_keys_carry_no_gradient_to_later_chunks() -> None:
    """The same gradient for a chunk whether or not it stores what it saw."""
    model, parts, context = setting()
    cache, noise = cache_for(model, ROLLING), partial(keyed(0), 0)

    def gradient(commit: bool) -> Tensor:
        model.zero_grad()
        made = denoise_chunk(model, cache, ChunkInputs(parts.slice(0, 2), context, noise), (1.0,), commit=commit)
        made.square().mean().backward(retain_graph=True)  # type: ignore[no-untyped-call]
        found = model.dit.patch_embedding.weight.grad  # type: ignore[union-attr]
        assert found is not None
        return found.clone()

    torch.testing.assert_close(gradient(commit=False), gradient(commit=True))
    assert cache.filled == 2
    assert not cache.keys.requires_grad


@torch.no_grad()
def test_a_falsified_past_changes_what_comes_after_it_alone() -> None:
    model, parts, context = setting()
    true = rolled(model, parts, context)
    asked: list[int] = []

    def falsified(begin: int, clean: Tensor) -> Tensor:
        asked.append(begin)
        return clean + 0.5 * (begin == 2)

    made = rolled(model, parts, context, remembered=falsified)
    assert asked == [0, 2, 4, 6]
    torch.testing.assert_close(made[:, :4], true[:, :4])
    assert (made[:, 4:] - true[:, 4:]).abs().mean() > 1e-3


@torch.no_grad()
def test_the_picture_stays_and_only_in_the_first_chunk() -> None:
    made = rolled(*setting())
    assert made.shape == (1, LATENTS, CHANNELS, GEOMETRY.latent_height, GEOMETRY.latent_width)
    assert torch.equal(made[:, :1], given())
    assert all((made[:, n : n + 1] - given()).abs().max() > 1e-3 for n in range(1, LATENTS))


@torch.no_grad()
def test_the_seed_decides() -> None:
    model, parts, context = setting()
    first = rolled(model, parts, context)
    assert torch.equal(first, rolled(model, parts, context))
    other = rollout(model, cache_for(model, ROLLING), parts, context, ROLLING, keyed(SEED + 1), given())
    assert (first - torch.cat(list(other), 1))[:, 1:].abs().max() > 1e-3


@torch.no_grad()
def test_clips_of_a_batch_do_not_mix() -> None:
    """A clip rolled out beside its mirror image is the clip rolled out alone, on the same noise."""

    def mirrored(x: Tensor) -> Tensor:
        return torch.cat([x, x.flip(-1)])

    def alike(chunk: int, step: int, shape: tuple[int, ...]) -> Tensor:
        return keyed(SEED)(chunk, step, (1, *shape[1:])).expand(shape)

    model, parts, context = setting()
    both = AnchoredConditioning(*(mirrored(x) for x in parts.tensors()))
    twice, cache = model.context([PROMPTS[0]] * 2), cache_for(model, ROLLING, 2)
    made = torch.cat(list(rollout(model, cache, both, twice, ROLLING, alike, mirrored(given()))), 1)
    torch.testing.assert_close(made[:1], rolled(model, parts, context), atol=1e-4, rtol=0)
    assert (made[1] - made[0]).abs().max() > 1e-2


@torch.no_grad()
def test_a_clip_of_odd_length_ends_in_a_shorter_chunk() -> None:
    model, parts, context = setting()
    sizes = [
        chunk.shape[1]
        for chunk in rollout(
            model, cache_for(model, ROLLING), parts, context, replace(ROLLING, chunk=3), keyed(0), given()
        )
    ]
    assert sizes == [3, 3, 2]


@torch.no_grad()
def test_the_past_does_not_wait_for_the_future() -> None:
    """A chunk depends on no later control, and can be had before that exists."""
    model, parts, context = setting()
    later = Conditioning.join([parts.slice(0, 4), small_conditioning(LATENTS, seed=8).slice(4, LATENTS)])
    first, second = rolled(model, parts, context), rolled(model, later, context)
    assert torch.equal(first[:, :4], second[:, :4])
    assert (first[:, 4:] - second[:, 4:]).abs().max() > 1e-3


@torch.no_grad()
def test_denoising_only_reads_the_cache_and_a_commit_fills_it() -> None:
    model, parts, context = setting()
    cache = cache_for(model, ROLLING)
    before, version = cache.snapshot(), cache.version
    clean = denoise_chunk(model, cache, ChunkInputs(parts.slice(0, 2), context, partial(keyed(0), 0)), ROLLING.times)
    assert cache.version == version
    assert torch.equal(cache.snapshot()["keys"], before["keys"])
    commit_chunk(model, cache, clean, parts.slice(0, 2), context)
    assert cache.filled == 2


@pytest.mark.parametrize(("exit_step", "calls"), [(0, 1), (1, 2), (2, 3), (None, 3)])
def test_gradient_goes_through_the_last_call_alone(exit_step: int | None, calls: int) -> None:
    model, parts, context = setting()
    with_gradient = []

    def seen(*args: object, **kwargs: object) -> Tensor:
        with_gradient.append(torch.is_grad_enabled())
        return guess(*args, **kwargs)  # type: ignore[arg-type]

    guess = model.clean
    with patch.object(model, "clean", side_effect=seen):
        clean = denoise_chunk(
            model,
            cache_for(model, ROLLING),
            ChunkInputs(parts.slice(0, 2), context.detach(), partial(keyed(0), 0)),
            ROLLING.times,
            exit_step=exit_step,
        )
    assert with_gradient == [False] * (calls - 1) + [True]
    assert clean.requires_grad


def test_no_gradient_comes_through_the_cache() -> None:
    """What a later chunk loses says nothing about the call that made an earlier one."""
    model, parts, context = setting()
    cache, leaves = cache_for(model, ROLLING), []
    chunks = []
    for index in range(2):
        part = parts.slice(2 * index, 2 * index + 2)
        leaves.append(part.anchor.clone().requires_grad_())
        tracked = replace(part, anchor=leaves[-1])
        inputs = ChunkInputs(tracked, context, partial(keyed(0), index))
        chunks.append(denoise_chunk(model, cache, inputs, ROLLING.times))
        commit_chunk(model, cache, chunks[-1], tracked, context)
    assert not cache.keys.requires_grad
    first, second = torch.autograd.grad(chunks[1].square().sum(), leaves, allow_unused=True)
    assert first is None
    assert second.any()
    assert torch.autograd.grad(chunks[0].square().sum(), leaves[:1])[0].any(), "its own loss still reaches it"


def test_a_commit_records_no_gradient() -> None:
    model, parts, context = setting()
    clean = torch.zeros(1, 2, CHANNELS, GEOMETRY.latent_height, GEOMETRY.latent_width, requires_grad=True)

    def silent(noisy: Tensor, *_: object, **__: object) -> None:
        assert not torch.is_grad_enabled()
        assert not noisy.requires_grad

    with patch.object(model, "commit", side_effect=silent) as commit:
        commit_chunk(model, cache_for(model, ROLLING), clean, parts.slice(0, 2), context)
    assert commit.call_count == 1


def test_without_gradient_nothing_is_recorded() -> None:
    with torch.no_grad():
        assert not rolled(*setting()).requires_grad


@pytest.mark.parametrize("known", [0, 1, 2])
def test_times_of_latents_that_are_given_are_0(known: int) -> None:
    latents = torch.zeros(2, 3, 1, 1, 1)
    one_each = frame_times(torch.tensor([0.25, 0.5]), latents, known)
    assert one_each.tolist() == [[0.0] * known + [t] * (3 - known) for t in (0.25, 0.5)]
    assert torch.equal(frame_times(torch.tensor(0.5), latents, known)[0], one_each[1])


@pytest.mark.parametrize("guidance", [Guidance(0, 0), Guidance(3.0, 1.5)])
@torch.no_grad()
def test_the_teachers_clip_starts_with_the_picture(guidance: Guidance) -> None:
    model = small_model()
    control = small_control(model, 3)
    noise = torch.randn(control.conditioning.anchor.shape)
    made = sample_clip(model, given(2), control, noise, steps=3, shift=6.0, guidance=guidance)
    assert torch.equal(made[:, :1], given(2))
    assert torch.equal(made, sample_clip(model, given(2), control, noise, 3, 6.0, guidance))
    assert (made - noise)[:, 1:].abs().max() > 0.1


@torch.no_grad()
def test_the_teachers_sampler_is_exact_for_a_straight_path() -> None:
    """With v = noise − clean at every time, any number of steps ends at clean."""
    model = small_model()
    control = small_control(model, 3)
    noise, clean = torch.randn(2, *control.conditioning.anchor.shape)
    for steps in (1, 4):
        with patch.object(model, "velocity", return_value=noise - clean):
            made = sample_clip(model, given(2), control, noise, steps, 6.0, Guidance(3.0, 1.5))
        torch.testing.assert_close(made[:, 1:], clean[:, 1:], atol=1e-5, rtol=1e-5)
