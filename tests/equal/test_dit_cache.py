"""Rolling cache = chunk mask = the same tokens, long after the window has rolled; and the past never changes."""

from copy import deepcopy
from dataclasses import replace

import pytest
import torch
from tests.equal.dense_mask import masks
from tests.equal.dit_small import small_model

from motionstream.dit import ChunkMask, RollingCache, TextContext, VideoDiT

TOLERANCE = 1e-4
LATENTS = 17
SHAPES = [(3, 3, 3), (3, 0, 3), (1, 1, 1), (1, 0, 2), (1, 3, 6), (2, 3, 4), (3, 1, 2), (3, 4, 3), (2, 3, 0)]
"""(chunk, sink, window) in latents."""
FRAMES = [(6, 10), (10, 14)]
"""(H, W) of the latents: odd token grids of 3 × 5 and 5 × 7."""


def clip(model: VideoDiT, frame: tuple[int, int] = FRAMES[0], latents: int = LATENTS) -> torch.Tensor:
    """Latents with their conditioning channels (tracks among them) concatenated."""
    return torch.randn(2, latents, model.config.in_channels, *frame)


def text(model: VideoDiT) -> TextContext:
    return model.text_context(torch.randn(2, model.config.text_tokens, model.config.text_dim))


def cache_for(model: VideoDiT, x: torch.Tensor, sink: int, window: int) -> RollingCache:
    rows, columns = model.grid(*x.shape[-2:])
    return RollingCache(model.config, batch=len(x), tokens=rows * columns, sink=sink, window=window)


def stream(
    model: VideoDiT, x: torch.Tensor, t: torch.Tensor, context: TextContext, mask: ChunkMask, cache: RollingCache
) -> torch.Tensor:
    """Chunk after chunk through the cache, each committed as it is."""
    return torch.cat(
        [
            model(x[:, begin : begin + n], t[:, begin : begin + n], context, over=cache, commit=True)
            for begin, n in mask.spans
        ],
        dim=1,
    )


@pytest.mark.parametrize("frame", FRAMES)
@pytest.mark.parametrize(("chunk", "sink", "window"), SHAPES)
@torch.no_grad()
def test_cache_equals_dense_and_chunked_mask(chunk: int, sink: int, window: int, frame: tuple[int, int]) -> None:
    model = small_model()
    x, context, t = clip(model, frame), text(model), torch.rand(2, LATENTS) * 1000
    mask = ChunkMask.regular(LATENTS, chunk, sink, window)
    assert len(mask.spans) >= 5
    cache = cache_for(model, x, sink, window)
    streamed = stream(model, x, t, context, mask, cache)
    assert cache.filled == sink + window
    for dense in (False, True):
        with masks(dense):
            torch.testing.assert_close(model(x, t, context, over=mask), streamed, atol=TOLERANCE, rtol=0)


@torch.no_grad()
def test_cache_equals_mask_with_chunks_of_changing_size() -> None:
    model = small_model()
    sizes = (3, 1, 2, 3, 3, 1, 1, 2, 1)
    spans = tuple((sum(sizes[:i]), n) for i, n in enumerate(sizes))
    x, context, t = clip(model), text(model), torch.rand(2, LATENTS) * 1000
    for sink, window in ((3, 3), (1, 4), (0, 2)):
        mask = ChunkMask(spans, sink, window)
        streamed = stream(model, x, t, context, mask, cache_for(model, x, sink, window))
        torch.testing.assert_close(model(x, t, context, over=mask), streamed, atol=TOLERANCE, rtol=0)


@torch.no_grad()
def test_sink_window_and_text_matter() -> None:
    """The equalities above would also hold for a model that ignores its past and its prompt: this one does not."""
    model = small_model()
    x, context, t = clip(model), text(model), torch.rand(2, LATENTS) * 1000
    mask = ChunkMask.regular(LATENTS, 3, 3, 3)
    base = model(x, t, context, over=mask)[:, 9:]
    for other in (replace(mask, sink=0), replace(mask, window=0), replace(mask, window=6)):
        assert (model(x, t, context, over=other)[:, 9:] - base).abs().max() > 100 * TOLERANCE
    assert (model(x, t, text(model), over=mask)[:, 9:] - base).abs().max() > 100 * TOLERANCE


@pytest.mark.parametrize("dense", [False, True])
@pytest.mark.parametrize(("chunk", "sink", "window"), [(3, 3, 3), (1, 1, 2), (2, 0, 3), (3, 1, 1)])
@torch.no_grad()
def test_teacher_forcing_equals_cache_with_clean_commits(chunk: int, sink: int, window: int, dense: bool) -> None:
    model = small_model()
    clean, noisy, context = clip(model), clip(model), text(model)
    still, t = torch.zeros(2, LATENTS), torch.rand(2, LATENTS) * 1000
    mask = ChunkMask.regular(LATENTS, chunk, sink, window, teacher_forcing=True)
    with masks(dense):
        both = model(torch.cat((clean, noisy), 1), torch.cat((still, t), 1), context, over=mask)
    cache = cache_for(model, clean, sink, window)
    for begin, n in mask.spans:
        part = slice(begin, begin + n)
        denoised = model(noisy[:, part], t[:, part], context, over=cache)
        committed = model(clean[:, part], still[:, part], context, over=cache, commit=True)
        torch.testing.assert_close(both[:, part], committed, atol=TOLERANCE, rtol=0)
        late = slice(LATENTS + begin, LATENTS + begin + n)
        torch.testing.assert_close(both[:, late], denoised, atol=TOLERANCE, rtol=0)


@torch.no_grad()
def test_past_never_changes_when_the_future_arrives() -> None:
    model = small_model()
    x, context, t = clip(model), text(model), torch.rand(2, LATENTS) * 1000
    other = x.clone()
    other[:, 12:] = torch.randn_like(other[:, 12:])
    mask = ChunkMask.regular(LATENTS, 3, 3, 3)
    before, after = model(x, t, context, over=mask), model(other, t, context, over=mask)
    assert torch.equal(before[:, :12], after[:, :12])
    assert not torch.equal(before[:, 12:], after[:, 12:])


@torch.no_grad()
def test_denoising_leaves_the_cache_as_it_is_and_memory_in_place() -> None:
    model = small_model()
    x, context, t = clip(model), text(model), torch.rand(2, LATENTS) * 1000
    cache = cache_for(model, x, 3, 3)
    places = cache.keys.data_ptr(), cache.values.data_ptr()
    stream(model, x[:, :9], t, context, ChunkMask.regular(9, 3, 3, 3), cache)
    before = cache.snapshot()
    first = model(x[:, 9:12], t[:, 9:12], context, over=cache)
    assert torch.equal(first, model(x[:, 9:12], t[:, 9:12], context, over=cache))
    after = cache.snapshot()
    assert all(torch.equal(before[name], after[name]) for name in ("keys", "values"))  # type: ignore[literal-required]
    assert before["window_seen"] == after["window_seen"]
    assert places == (cache.keys.data_ptr(), cache.values.data_ptr())


@pytest.mark.parametrize("committed", [0, 2, 3, 5, 14])
@torch.no_grad()
def test_snapshot_continues_bit_for_bit(committed: int) -> None:
    model = small_model()
    x, context, t = clip(model), text(model), torch.rand(2, LATENTS) * 1000
    cache = cache_for(model, x, 3, 4)
    if committed:
        stream(model, x[:, :committed], t, context, ChunkMask.regular(committed, 2, 3, 4), cache)
    state, copy = cache.snapshot(), deepcopy(cache)
    following = [model(x[:, i : i + 1], t[:, i : i + 1], context, over=cache, commit=True) for i in (14, 15, 16)]
    resumed = cache_for(model, x, 3, 4)
    resumed.restore(state)
    for other in (copy, resumed):
        again = [model(x[:, i : i + 1], t[:, i : i + 1], context, over=other, commit=True) for i in (14, 15, 16)]
        assert all(torch.equal(a, b) for a, b in zip(following, again, strict=True))


@torch.no_grad()
def test_prompt_change_recommits_the_window_and_keeps_the_sink() -> None:
    model = small_model()
    x, old, new, t = clip(model), text(model), text(model), torch.zeros(2, LATENTS)
    cache = cache_for(model, x, 3, 3)
    stream(model, x[:, :9], t, old, ChunkMask.regular(9, 3, 3, 3), cache)
    sink = cache.keys[:, :, :3].clone()
    cache.reset_window()
    assert cache.filled == 3
    model(x[:, 6:9], t[:, 6:9], new, over=cache, commit=True)
    assert torch.equal(cache.keys[:, :, :3], sink)
    fresh = cache_for(model, x, 3, 3)
    model(x[:, :3], t[:, :3], old, over=fresh, commit=True)
    model(x[:, 6:9], t[:, 6:9], new, over=fresh, commit=True)
    assert torch.equal(model(x[:, 9:12], t[:, 9:12], new, over=cache), model(x[:, 9:12], t[:, 9:12], new, over=fresh))


def test_reset_forgets_everything() -> None:
    model = small_model()
    x, context = clip(model), text(model).detach()
    cache = cache_for(model, x, 3, 3)
    with torch.no_grad():
        first = model(x[:, :3], torch.zeros(2), context, over=cache, commit=True)
        model(x[:, 3:6], torch.zeros(2), context, over=cache, commit=True)
        cache.reset()
        assert torch.equal(first, model(x[:, :3], torch.zeros(2), context, over=cache))


def test_gradient_flows_through_the_chunk_alone_and_survives_later_commits() -> None:
    model = small_model()
    x, context, t = clip(model), text(model).detach(), torch.full((2,), 500.0)
    cache = cache_for(model, x, 3, 3)
    model(x[:, :3], t, context, over=cache, commit=True)
    assert not cache.keys.requires_grad
    assert not cache.values.requires_grad

    def gradient(then_commit: bool) -> torch.Tensor:
        held = deepcopy(cache)
        chunk = x[:, 3:6].clone().requires_grad_()
        loss = model(chunk, t, context, over=held).square().mean()
        for begin in (3, 6, 9) if then_commit else ():
            model(x[:, begin : begin + 3], t, context, over=held, commit=True)
        return torch.autograd.grad(loss, chunk)[0]

    alone, followed = gradient(False), gradient(True)
    assert alone.abs().max() > 0
    assert torch.equal(alone, followed)


@torch.no_grad()
def test_cached_and_masked_students_see_what_the_teacher_sees_in_one_chunk() -> None:
    model = small_model()
    x, context, t = clip(model, latents=3), text(model), torch.tensor([200.0, 700.0])
    teacher = model(x, t, context)
    torch.testing.assert_close(model(x, t, context, over=ChunkMask.regular(3, 3, 3, 3)), teacher)
    torch.testing.assert_close(model(x, t, context, over=cache_for(model, x, 3, 3)), teacher)
