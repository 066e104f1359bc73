"""The fused student gives the reference's tokens, shares its caches, and refuses what it was not built for."""

from dataclasses import replace
from unittest.mock import patch

import pytest
import torch
from tests.equal.dit_small import small_config, small_model

from motionstream.dit import ChunkMask, RollingCache, VideoDiT
from motionstream.fast.fuse import KEPT_PROMPTS, KEPT_TIMESTEPS, FusedDiT, fuse
from motionstream.fast.fuse_block import Said, Unheard, rms_norm
from motionstream.fast.fuse_past import highest_score
from motionstream.fast.products import fastest_dtype

TOLERANCE = 1e-5
CHUNKS = [(0, 3), (3, 3), (6, 3), (9, 2), (11, 1), (12, 3), (15, 3)]


def cache_for(model: VideoDiT, batch: int, sink: int = 3, window: int = 4) -> RollingCache:
    return RollingCache(
        model.config, batch=batch, tokens=15, sink=sink, window=window, dtype=model.head.head.weight.dtype
    )


def clip(model: VideoDiT, batch: int) -> tuple[torch.Tensor, torch.Tensor]:
    dtype = model.head.head.weight.dtype
    x = torch.randn(batch, 18, model.config.in_channels, 6, 10)
    return x.to(dtype), torch.randn(batch, 7, model.config.text_dim).to(dtype)


def stream(
    model: VideoDiT | FusedDiT, x: torch.Tensor, text: torch.Tensor, cache: RollingCache, t: torch.Tensor
) -> torch.Tensor:
    """Denoised and committed tokens of every chunk, with two passes before each commit."""
    context, out = model.text_context(text), []
    for begin, n in CHUNKS:
        part, times = x[:, begin : begin + n], t[:, begin : begin + n] if t.ndim == 2 else t
        out += [model(part, times, context, cache=cache), model(part * 0.5, times / 2, context, cache=cache)]
        out.append(model(part, torch.zeros(len(x)), context, cache=cache, commit=True))
    return torch.cat(out, dim=1)


@pytest.mark.parametrize("batch", [1, 2])
@pytest.mark.parametrize("per_latent", [False, True])
@pytest.mark.parametrize(("sink", "window"), [(3, 4), (0, 3), (1, 0)])
@torch.inference_mode()
def test_equals_the_reference(batch: int, per_latent: bool, sink: int, window: int) -> None:
    model = small_model()
    x, text = clip(model, batch)
    t = torch.rand(batch, 18) * 1000 if per_latent else torch.full((batch,), 700.0)
    caches = [cache_for(model, batch, sink, window) for _ in range(2)]
    expected = stream(model, x, text, caches[0], t)
    torch.testing.assert_close(stream(fuse(model), x, text, caches[1], t), expected, atol=TOLERANCE, rtol=0)
    torch.testing.assert_close(caches[1].keys, caches[0].keys, atol=TOLERANCE, rtol=0)
    torch.testing.assert_close(caches[1].values, caches[0].values, atol=TOLERANCE, rtol=0)


@torch.inference_mode()
def test_equals_the_reference_with_a_picture_and_without_packed_products() -> None:
    model = small_model(image_dim=24)
    x, text = clip(model, 2)
    context = model.text_context(text, torch.randn(2, 5, 24))
    t, caches = torch.full((2,), 400.0), [cache_for(model, 2) for _ in range(3)]
    with patch("motionstream.fast.products.pack", return_value=None):
        plain = fuse(model)
    for form, cache in zip((model, fuse(model), plain), caches, strict=True):
        form(x[:, :3], torch.zeros(2), context, cache=cache, commit=True)
    expected, *fused = (
        form(x[:, 3:6], t, context, cache=cache)
        for form, cache in zip((model, fuse(model), plain), caches, strict=True)
    )
    for out in fused:
        torch.testing.assert_close(out, expected, atol=TOLERANCE, rtol=0)


@pytest.mark.parametrize("highest", [0.0, 1e9])
@torch.inference_mode()
def test_both_ways_to_attend_equal_the_reference(highest: float) -> None:
    model = small_model()
    x, text = clip(model, 2)
    t, caches = torch.full((2,), 700.0), [cache_for(model, 2) for _ in range(2)]
    with patch("motionstream.fast.fuse_block.HIGHEST_SCORE", highest):
        fused = fuse(model)
    assert {block.bounded for block in fused.fused_blocks} == {highest > 0}
    expected = stream(model, x, text, caches[0], t)
    torch.testing.assert_close(stream(fused, x, text, caches[1], t), expected, atol=TOLERANCE, rtol=0)


@torch.inference_mode()
def test_no_score_is_above_the_highest() -> None:
    torch.manual_seed(0)
    norm_q, norm_k = torch.rand(32) + 0.5, torch.rand(32) + 0.5
    bound = highest_score(norm_q, norm_k, 16)
    alike = torch.zeros(32)
    alike[2 * int((norm_q * norm_k).view(-1, 2).amax(-1).argmax())] = 1.0
    tokens = torch.cat([alike[None], torch.randn(500, 32)])
    q, k = (rms_norm(tokens, norm, 0.0).unflatten(-1, (2, 16)) for norm in (norm_q, norm_k))
    highest = torch.einsum("ihd,jhd->hij", q, k).amax() / 4
    assert 0.5 * bound < highest <= bound


@pytest.mark.parametrize("words", [7, 60])
@torch.inference_mode()
def test_prompts_short_and_long_equal_the_reference(words: int) -> None:
    """Short ones are merged with the output product, long ones are not."""
    model = small_model()
    x, text = clip(model, 2)[0], torch.randn(2, words, model.config.text_dim)
    fused, context, cache = fuse(model), model.text_context(text), cache_for(model, 2)
    assert Said.pays(fused.fused_blocks[0], context.layers[0]) == (words == 7)
    for t in (torch.full((2,), 300.0), torch.rand(2, 3) * 1000):
        expected = model(x[:, :3], t, context, cache=cache)
        torch.testing.assert_close(fused(x[:, :3], t, context, cache=cache), expected, atol=TOLERANCE, rtol=0)


@torch.inference_mode()
def test_many_prompts_in_turn_are_each_heard() -> None:
    model = small_model()
    fused, cache, x = fuse(model), cache_for(model, 1), clip(model, 1)[0][:, :1]
    contexts = [model.text_context(torch.randn(1, 7, model.config.text_dim)) for _ in range(KEPT_PROMPTS + 3)]
    for context in [*contexts, *contexts]:
        expected = model(x, torch.zeros(1), context, cache=cache)
        torch.testing.assert_close(fused(x, torch.zeros(1), context, cache=cache), expected, atol=TOLERANCE, rtol=0)
    assert len(fused._heard) == KEPT_PROMPTS


@torch.inference_mode()
@pytest.mark.parametrize("fused", [False, True])
def test_a_commit_for_the_caches_sake_equals_a_whole_pass(fused: bool) -> None:
    model = small_model()
    x, text = clip(model, 2)
    form, context = fuse(model) if fused else model, model.text_context(text)
    caches = [cache_for(model, 2) for _ in range(2)]
    for begin, n in CHUNKS:
        part = x[:, begin : begin + n]
        model(part, torch.zeros(2), context, cache=caches[0], commit=True)
        form.commit(part, torch.zeros(2), context, caches[1])
        torch.testing.assert_close(caches[1].keys, caches[0].keys, atol=TOLERANCE, rtol=0)
        torch.testing.assert_close(caches[1].values, caches[0].values, atol=TOLERANCE, rtol=0)
    assert caches[1].snapshot()["window_seen"] == caches[0].snapshot()["window_seen"]


@torch.inference_mode()
def test_bf16_is_as_close_to_float32_as_the_reference_is() -> None:
    exact, half = small_model(), small_model().bfloat16()
    x, text = clip(exact, 1)
    t = torch.full((1,), 700.0)
    expected = stream(exact, x, text, cache_for(exact, 1), t)

    def error(model: VideoDiT | FusedDiT) -> float:
        out = stream(model, x.bfloat16(), text.bfloat16(), cache_for(half, 1), t)
        assert out.dtype == torch.bfloat16
        return float((out.float() - expected).std())

    assert error(half) < 0.05 * expected.std()
    assert error(fuse(half)) < 1.5 * error(half)


@torch.inference_mode()
def test_streams_that_take_turns_do_not_meet() -> None:
    model = small_model()
    fused, t = fuse(model), torch.full((1,), 300.0)
    clips = [clip(model, 1) for _ in range(2)]
    apart = [stream(fused, x, text, cache_for(model, 1), t) for x, text in clips]
    caches = [cache_for(model, 1) for _ in clips]
    together: list[list[torch.Tensor]] = [[], []]
    for begin, n in CHUNKS:
        for who, (x, text) in enumerate(clips):
            context, part, cache = fused.text_context(text), x[:, begin : begin + n], caches[who]
            together[who] += [fused(part * scale, t * scale, context, cache=cache) for scale in (1, 0.5)]
            together[who].append(fused(part, torch.zeros(1), context, cache=cache, commit=True))
    for alone, turns in zip(apart, together, strict=True):
        assert torch.equal(alone, torch.cat(turns, dim=1))


@torch.inference_mode()
def test_changes_behind_its_back_are_seen() -> None:
    """Commits by the reference, restored snapshots and forgotten windows change the past that a fused model joins."""
    model = small_model()
    fused, cache, (x, text) = fuse(model), cache_for(model, 1), clip(model, 1)
    t, context = torch.full((1,), 300.0), model.text_context(text)

    def same() -> None:
        expected = model(x[:, 9:12], t, context, cache=cache)
        torch.testing.assert_close(fused(x[:, 9:12], t, context, cache=cache), expected, atol=TOLERANCE, rtol=0)

    same()
    for begin in (0, 3, 6):
        model(x[:, begin : begin + 3], torch.zeros(1), context, cache=cache, commit=True)
        same()
    state = cache.snapshot()
    cache.reset_window()
    same()
    cache.restore(state)
    same()
    cache.reset()
    same()


@torch.inference_mode()
@pytest.mark.parametrize("alike", [True, False])
def test_a_text_that_is_not_to_be_heard_is_a_constant_if_all_of_it_says_the_same(alike: bool) -> None:
    """Else it is heard as ever: the tokens are the reference's in both."""
    model = small_model()
    if alike:
        for block in model.blocks:
            block.cross_attn.v.weight.zero_()  # type: ignore[union-attr]
    x, text = clip(model, 2)
    t, caches = torch.full((2,), 700.0), [cache_for(model, 2) for _ in range(2)]
    expected = stream(model, x, text, caches[0], t)
    with patch.object(Unheard, "onto", autospec=True, side_effect=Unheard.onto) as added:
        made = stream(fuse(model, prompted=False), x, text, caches[1], t)
    assert added.called is alike
    torch.testing.assert_close(made, expected, atol=TOLERANCE, rtol=0)
    torch.testing.assert_close(caches[1].keys, caches[0].keys, atol=TOLERANCE, rtol=0)


@torch.inference_mode()
def test_a_picture_is_heard_where_the_text_is_not_to_be() -> None:
    model = small_model(image_dim=24)
    x, text = clip(model, 1)
    context = model.text_context(text, torch.randn(1, 5, 24))
    first, t = x[:, :3], torch.full((1,), 400.0)
    expected, made = (
        form(first, t, context, cache=cache_for(model, 1)) for form in (model, fuse(model, prompted=False))
    )
    torch.testing.assert_close(made, expected, atol=TOLERANCE, rtol=0)


@torch.inference_mode()
def test_any_timestep_works_and_few_are_kept() -> None:
    model = small_model()
    fused, cache, (x, text) = fuse(model), cache_for(model, 1), clip(model, 1)
    for t in torch.linspace(0, 1000, KEPT_TIMESTEPS + 5):
        out = fused(x[:, :1], t[None], text, cache=cache)
    assert len(fused._steers) == KEPT_TIMESTEPS
    torch.testing.assert_close(out, model(x[:, :1], t[None], text, cache=cache), atol=TOLERANCE, rtol=0)


def test_refuses_what_it_was_not_built_for() -> None:
    model = small_model()
    fused, cache, (x, text) = fuse(model), cache_for(model, 1), clip(model, 1)
    t = torch.zeros(1)
    with torch.inference_mode():
        with pytest.raises(ValueError, match="rolling cache only"):
            fused(x[:, :3], t, text)
        with pytest.raises(ValueError, match="rolling cache only"):
            fused(x[:, :3], t, text, mask=ChunkMask.regular(3, 3, 1, 1))
        with pytest.raises(ValueError, match="latents of shape"):
            fused(x[:, :3, :1], t, text, cache=cache)
    with pytest.raises(ValueError, match="no gradients"):
        fused(x[:, :3], t, text, cache=cache)
    with pytest.raises(ValueError, match="qk_norm"):
        fuse(VideoDiT(replace(small_config(), qk_norm=False)))


def test_fastest_dtype_is_one_that_the_model_runs_in() -> None:
    assert fastest_dtype("cpu") in (torch.float32, torch.bfloat16)
    assert fastest_dtype("cuda") is torch.bfloat16
