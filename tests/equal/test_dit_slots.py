"""Fixed slots give the tokens of the rolling cache, long after it has rolled; one pad gives those of all the pads."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from tests.equal.dit_small import small_model

from motionstream.dit import RollingCache, TextContext, VideoDiT
from motionstream.fast.fuse import FusedDiT, fuse
from motionstream.fast.kernels import REFERENCE
from motionstream.fast.slots import SlotCache

TOLERANCE = 1e-5
GRID, FRAME = (3, 5), (6, 10)
CHUNKS = 6
SIZES = [(3, 3, 3), (3, 1, 3), (3, 2, 3), (3, 0, 3), (1, 3, 1), (1, 1, 1), (2, 3, 1), (3, 4, 3), (3, 3, 0)]
"""(chunk, sink, window) in latents."""


def slots_for(model: VideoDiT, batch: int, chunk: int, sink: int, window: int) -> SlotCache:
    return SlotCache(model.config, batch=batch, grid=GRID, chunk=chunk, sink=sink, window=window)


def ring_for(model: VideoDiT, batch: int, sink: int, window: int) -> RollingCache:
    return RollingCache(model.config, batch=batch, tokens=15, sink=sink, window=window)


def clip(model: VideoDiT, batch: int, chunk: int) -> torch.Tensor:
    """Latents with their conditioning channels (tracks among them) concatenated."""
    return torch.randn(batch, CHUNKS * chunk, model.config.in_channels, *FRAME)


def text(model: VideoDiT, batch: int) -> TextContext:
    return model.text_context(torch.randn(batch, model.config.text_tokens, model.config.text_dim))


def stream(
    model: VideoDiT | FusedDiT, x: torch.Tensor, context: TextContext, cache: RollingCache, chunk: int
) -> torch.Tensor:
    """Of every chunk: two denoising passes and the committing one."""
    out = []
    for begin in range(0, x.shape[1], chunk):
        part = x[:, begin : begin + chunk]
        for scale, t in ((1.0, 900.0), (0.5, 400.0)):
            out.append(model(part * scale, torch.full((len(x),), t), context, over=cache))
        out.append(model(part, torch.zeros(len(x)), context, over=cache, commit=True))
    return torch.cat(out, dim=1)


FORMS: dict[str, Callable[[VideoDiT], VideoDiT | FusedDiT]] = {
    "plain": lambda model: model,
    "fused": fuse,
    "kernels": lambda model: fuse(model, REFERENCE),
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(("chunk", "sink", "window"), SIZES)
@torch.inference_mode()
def test_slots_equal_the_rolling_cache(chunk: int, sink: int, window: int, form: str) -> None:
    model = small_model()
    x, context = clip(model, 2, chunk), text(model, 2)
    ring, slots = ring_for(model, 2, sink, window), slots_for(model, 2, chunk, sink, window)
    expected = stream(model, x, context, ring, chunk)
    made = stream(FORMS[form](model), x, context, slots, chunk)
    torch.testing.assert_close(made, expected, atol=TOLERANCE, rtol=0)
    assert (slots.sink_filled, slots.window_filled) == (ring.sink_filled, ring.window_filled) == (sink, window)
    again = ring_for(model, 2, sink, window)
    again.restore(slots.snapshot())
    torch.testing.assert_close(again.keys[:, :, :sink], ring.keys[:, :, :sink], atol=TOLERANCE, rtol=0)


@torch.inference_mode()
def test_sink_window_and_text_matter() -> None:
    """The equality above would also hold for a model that ignores its past and its prompt: this one does not."""
    model = small_model()
    x, context = clip(model, 1, 3), text(model, 1)
    base = stream(model, x, context, slots_for(model, 1, 3, 3, 3), 3)[:, -9:]
    for sink, window in ((0, 3), (3, 0)):
        other = stream(model, x, context, slots_for(model, 1, 3, sink, window), 3)[:, -9:]
        assert (other - base).abs().max() > 100 * TOLERANCE
    other = stream(model, x, text(model, 1), slots_for(model, 1, 3, 3, 3), 3)[:, -9:]
    assert (other - base).abs().max() > 100 * TOLERANCE


@pytest.mark.parametrize("form", FORMS)
@torch.inference_mode()
def test_bf16_slots_are_as_close_to_float32_as_the_ring_is(form: str) -> None:
    exact, half = small_model(), small_model().bfloat16()
    x, said = clip(exact, 1, 3), torch.randn(1, 7, 20)
    expected = stream(exact, x, exact.text_context(said), ring_for(exact, 1, 3, 3), 3)
    sizes = {"batch": 1, "sink": 3, "window": 3, "dtype": torch.bfloat16}
    ring = RollingCache(half.config, tokens=15, **sizes)  # type: ignore[arg-type]
    slots = SlotCache(half.config, grid=GRID, chunk=3, **sizes)  # type: ignore[arg-type]
    live = FORMS[form](half)

    def error(cache: RollingCache) -> float:
        made = stream(live, x.bfloat16(), half.text_context(said.bfloat16()), cache, 3)
        return float((made.float() - expected).std())

    assert error(slots) < 1.2 * error(ring) < 0.1 * expected.std()


@pytest.mark.parametrize("fused", [False, True])
@pytest.mark.parametrize("committed", [0, 1, 2, 4])
@pytest.mark.parametrize(("chunk", "sink", "window"), [(3, 3, 3), (3, 1, 3), (3, 1, 2), (1, 3, 1)])
@torch.inference_mode()
def test_snapshots_go_from_either_kind_to_either(
    chunk: int, sink: int, window: int, committed: int, fused: bool
) -> None:
    model = small_model()
    form = fuse(model) if fused else model
    x, context = clip(model, 2, chunk), text(model, 2)
    kinds = (lambda: ring_for(model, 2, sink, window), lambda: slots_for(model, 2, chunk, sink, window))
    for first in kinds:
        cache = first()
        stream(form, x[:, : committed * chunk], context, cache, chunk) if committed else None
        state, rest = cache.snapshot(), x[:, committed * chunk :]
        expected = stream(form, rest, context, cache, chunk)
        for second in kinds:
            taken = second()
            taken.restore(state)
            made = stream(form, rest, context, taken, chunk)
            if first is second:
                assert torch.equal(made, expected), "its own snapshots continue bit for bit"
            torch.testing.assert_close(made, expected, atol=TOLERANCE, rtol=0)


@pytest.mark.parametrize("sink", [3, 1])
@torch.inference_mode()
def test_a_changed_prompt_recommits_the_window_and_keeps_the_sink(sink: int) -> None:
    model = small_model()
    x, old, new, zero = clip(model, 1, 3), text(model, 1), text(model, 1), torch.zeros(1)
    for form in (model, fuse(model)):
        after = []
        for cache in (ring_for(model, 1, sink, 3), slots_for(model, 1, 3, sink, 3)):
            stream(form, x[:, :9], old, cache, 3)
            kept = cache.keys[:, :, :sink].clone()
            cache.reset_window()
            form(x[:, 6:9], zero, new, over=cache, commit=True)
            assert torch.equal(cache.keys[:, :, :sink], kept)
            after.append(stream(form, x[:, 9:], new, cache, 3))
        torch.testing.assert_close(after[1], after[0], atol=TOLERANCE, rtol=0)


def padded(model: VideoDiT, lengths: list[int], tokens: int) -> torch.Tensor:
    """Random embeddings of these lengths with zeros behind them, as Wan has them."""
    said = torch.randn(len(lengths), tokens, model.config.text_dim)
    for row, length in zip(said, lengths, strict=True):
        row[length:] = 0
    return said


@pytest.mark.parametrize("image", [False, True])
@pytest.mark.parametrize("lengths", [[3, 9], [0, 1], [24, 5], [23, 24], [24, 24]])
@torch.inference_mode()
def test_one_key_stands_for_all_pads(lengths: list[int], image: bool) -> None:
    model = small_model(text_tokens=24, image_dim=16 if image else None)
    said = padded(model, lengths, 24)
    picture = torch.randn(2, 5, 16) if image else None
    whole, few = model.text_context(said, picture), model.text_context(said, picture, lengths)
    assert few.layers[0][0][0].shape[1] == min(24, max(lengths) + 1)
    x, t = torch.randn(2, 3, model.config.in_channels, *FRAME), torch.tensor([300.0, 800.0])
    expected = model(x, t, whole)
    torch.testing.assert_close(model(x, t, few), expected, atol=TOLERANCE, rtol=0)
    for form in (model, fuse(model), fuse(model, REFERENCE)):
        made = stream(form, x, few, slots_for(model, 2, 3, 3, 3), 3)
        reference = stream(model, x, whole, ring_for(model, 2, 3, 3), 3)
        torch.testing.assert_close(made, reference, atol=TOLERANCE, rtol=0)
    deaf = model.text_context(said[:, : max(1, *lengths)], picture)
    if max(lengths) < 20:
        assert (model(x, t, deaf) - expected).abs().max() > 100 * TOLERANCE, "pads are heard"


@pytest.mark.parametrize("form", ["fused", "kernels"])
@torch.inference_mode()
def test_a_known_first_latent_has_its_own_timestep(form: str) -> None:
    """As in a stream's first chunk: modulations then differ within the chunk."""
    model = small_model()
    x, context, t = clip(model, 1, 3)[:, :3], text(model, 1), torch.tensor([[0.0, 700.0, 700.0]])
    expected = model(x, t, context, over=ring_for(model, 1, 3, 3))
    made = FORMS[form](model)(x, t, context, over=slots_for(model, 1, 3, 3, 3))
    torch.testing.assert_close(made, expected, atol=TOLERANCE, rtol=0)


@torch.inference_mode()
def test_only_real_tokens_need_to_be_sent() -> None:
    model = small_model(text_tokens=24)
    said = padded(model, [6, 4], 24)
    x, t = torch.randn(2, 3, model.config.in_channels, *FRAME), torch.full((2,), 500.0)
    short = model.text_context(said[:, :6], None, [6, 4])
    torch.testing.assert_close(model(x, t, short), model(x, t, model.text_context(said)), atol=TOLERANCE, rtol=0)


def test_gradient_flows_through_collapsed_pads_as_through_all() -> None:
    model = small_model(text_tokens=24)
    x, t = torch.randn(1, 2, model.config.in_channels, *FRAME), torch.full((1,), 500.0)
    weight = model.blocks[0].get_parameter("cross_attn.k.weight")
    said = padded(model, [5], 24).requires_grad_()
    gradients = []
    for lengths in (None, [5]):
        loss = model(x, t, model.text_context(said, None, lengths)).square().sum()
        of_text, of_weight = torch.autograd.grad(loss, (said, weight))
        gradients.append((of_text[:, :5], of_weight))
    torch.testing.assert_close(gradients[1], gradients[0], atol=1e-4, rtol=1e-4)
    assert gradients[0][0].abs().max() > 1e-3
