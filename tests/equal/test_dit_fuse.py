"""The fused student gives the reference's tokens, shares its caches, and refuses what it was not built for."""

from dataclasses import replace
from unittest.mock import patch

import pytest
import torch
from tests.equal.dit_small import small_config, small_model

from motionstream.dit import ChunkMask, RollingCache, VideoDiT
from motionstream.fast.fuse import KEPT_TIMESTEPS, FusedDiT, fuse
from motionstream.fast.fuse_block import ConstantContext

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
        out += [model(part, times, context, over=cache), model(part * 0.5, times / 2, context, over=cache)]
        out.append(model(part, torch.zeros(len(x)), context, over=cache, commit=True))
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
        form(x[:, :3], torch.zeros(2), context, over=cache, commit=True)
    expected, *fused = (
        form(x[:, 3:6], t, context, over=cache) for form, cache in zip((model, fuse(model), plain), caches, strict=True)
    )
    for out in fused:
        torch.testing.assert_close(out, expected, atol=TOLERANCE, rtol=0)


@torch.inference_mode()
@pytest.mark.parametrize("fused", [False, True])
def test_a_commit_for_the_caches_sake_equals_a_whole_pass(fused: bool) -> None:
    model = small_model()
    x, text = clip(model, 2)
    form, context = fuse(model) if fused else model, model.text_context(text)
    caches = [cache_for(model, 2) for _ in range(2)]
    for begin, n in CHUNKS:
        part = x[:, begin : begin + n]
        model(part, torch.zeros(2), context, over=caches[0], commit=True)
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
            together[who] += [fused(part * scale, t * scale, context, over=cache) for scale in (1, 0.5)]
            together[who].append(fused(part, torch.zeros(1), context, over=cache, commit=True))
    for alone, turns in zip(apart, together, strict=True):
        assert torch.equal(alone, torch.cat(turns, dim=1))


@torch.inference_mode()
def test_changes_behind_its_back_are_seen() -> None:
    """Commits by the reference, restored snapshots and forgotten windows change the past that a fused model sees."""
    model = small_model()
    fused, cache, (x, text) = fuse(model), cache_for(model, 1), clip(model, 1)
    t, context = torch.full((1,), 300.0), model.text_context(text)

    def same() -> None:
        expected = model(x[:, 9:12], t, context, over=cache)
        torch.testing.assert_close(fused(x[:, 9:12], t, context, over=cache), expected, atol=TOLERANCE, rtol=0)

    same()
    for begin in (0, 3, 6):
        model(x[:, begin : begin + 3], torch.zeros(1), context, over=cache, commit=True)
        same()
    state = cache.snapshot()
    cache.reset_window()
    same()
    cache.restore(state)
    same()
    cache.reset()
    same()


@torch.inference_mode()
def test_any_timestep_works_and_few_are_kept() -> None:
    model = small_model()
    fused, cache, (x, text) = fuse(model), cache_for(model, 1), clip(model, 1)
    for t in torch.linspace(0, 1000, KEPT_TIMESTEPS + 5):
        out = fused(x[:, :1], t[None], text, over=cache)
    assert len(fused._modulations) == KEPT_TIMESTEPS
    torch.testing.assert_close(out, model(x[:, :1], t[None], text, over=cache), atol=TOLERANCE, rtol=0)


def test_refuses_what_it_was_not_built_for() -> None:
    model = small_model()
    fused, cache, (x, text) = fuse(model), cache_for(model, 1), clip(model, 1)
    t = torch.zeros(1)
    with torch.inference_mode():
        with pytest.raises(ValueError, match="with a cache only"):
            fused(x[:, :3], t, text)
        with pytest.raises(ValueError, match="with a cache only"):
            fused(x[:, :3], t, text, over=ChunkMask.regular(3, 3, 1, 1))
        with pytest.raises(ValueError, match="latents of shape"):
            fused(x[:, :3, :1], t, text, over=cache)
    with pytest.raises(ValueError, match="no gradients"):
        fused(x[:, :3], t, text, over=cache)
    with pytest.raises(ValueError, match="qk_norm"):
        fuse(VideoDiT(replace(small_config(), qk_norm=False)))


@torch.inference_mode()
@pytest.mark.parametrize("alike", [True, False])
def test_the_prompt_of_a_network_without_prompts_is_a_constant_if_its_tokens_are_alike(alike: bool) -> None:
    """Else it is attended to as ever: the tokens are the reference's in both."""
    model = small_model()
    if alike:
        for block in model.blocks:
            block.cross_attn.v.weight.zero_()  # type: ignore[union-attr]
    x, text = clip(model, 2)
    t, caches = torch.full((2,), 700.0), [cache_for(model, 2) for _ in range(2)]
    fused = fuse(model, prompted=False)
    assert isinstance(fused.text_context(text), ConstantContext) is alike
    assert not isinstance(fuse(model).text_context(text), ConstantContext)
    expected = stream(model, x, text, caches[0], t)
    torch.testing.assert_close(stream(fused, x, text, caches[1], t), expected, atol=TOLERANCE, rtol=0)
    torch.testing.assert_close(caches[1].keys, caches[0].keys, atol=TOLERANCE, rtol=0)


@torch.inference_mode()
def test_a_picture_is_attended_to_where_there_are_no_prompts() -> None:
    model = small_model(image_dim=24)
    x, text = clip(model, 1)
    fused, image = fuse(model, prompted=False), torch.randn(1, 5, 24)
    first, t = x[:, :3], torch.full((1,), 400.0)
    expected, made = (
        form(first, t, form.text_context(text, image), over=cache_for(model, 1)) for form in (model, fused)
    )
    torch.testing.assert_close(made, expected, atol=TOLERANCE, rtol=0)


@torch.inference_mode()
def test_the_same_timesteps_in_another_arrangement_are_others() -> None:
    """Four numbers for one clip of four latents, two of two, or four of one."""
    model = small_model()
    fused, times = fuse(model), torch.tensor([100.0, 200.0, 300.0, 400.0])
    for t in (times[None], times.view(2, 2), times[:, None], times, times[None]):
        batch = len(t)
        x, text = torch.randn(batch, 4 // batch, model.config.in_channels, 6, 10), clip(model, batch)[1]
        expected, made = (form(x, t, text, over=cache_for(model, batch)) for form in (model, fused))
        torch.testing.assert_close(made, expected, atol=TOLERANCE, rtol=0)
