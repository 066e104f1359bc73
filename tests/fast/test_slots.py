"""The slots themselves: what is refused, what stays in place, for which sizes; pads; attention kernels."""

from __future__ import annotations

import math
from copy import deepcopy

import pytest
import torch
from tests.equal.dit_small import small_config, small_model
from torch.nn.attention import sdpa_kernel

from motionstream.dit.attention import (
    BIASED,
    SETTING,
    Kernel,
    _fused_attention,
    _matmul_attention,
    _torch_choice,
    attend,
    attention_backend,
    available_kernels,
    check_kernel,
)
from motionstream.dit.padding import collapse, pad_biases
from motionstream.fast.fuse import fuse
from motionstream.fast.slots import SlotCache

GRID = (3, 5)


def slots(**changes: object) -> SlotCache:
    sizes = {"batch": 1, "grid": GRID, "chunk": 3, "sink": 3, "window": 3}
    return SlotCache(small_config(), **{**sizes, **changes})  # type: ignore[arg-type]


@torch.inference_mode()
def test_nothing_is_allocated_again_and_denoising_changes_no_slot() -> None:
    model, cache = small_model(), slots()
    places = cache.keys.data_ptr(), cache.values.data_ptr()
    context = model.text_context(torch.randn(1, 7, 20))
    x, t = torch.randn(1, 3, 9, 6, 10), torch.full((1,), 400.0)
    for _ in range(4):
        model(x, torch.zeros(1), context, over=cache, commit=True)
        before, version = cache.snapshot(), cache.version
        first = model(x, t, context, over=cache)
        assert torch.equal(first, model(x, t, context, over=cache))
        after = cache.snapshot()
        assert all(torch.equal(before[name], after[name]) for name in ("keys", "values"))  # type: ignore[literal-required]
        assert cache.version == version
    assert places == (cache.keys.data_ptr(), cache.values.data_ptr())
    assert (cache.filled, cache.positions()) == (6, list(range(6)))


@torch.inference_mode()
def test_what_lies_beyond_the_filled_slots_is_never_read() -> None:
    model, poisoned, clean = small_model(), slots(), slots()
    poisoned.keys.fill_(math.nan)
    poisoned.values.fill_(math.nan)
    context, x = model.text_context(torch.randn(1, 7, 20)), torch.randn(1, 12, 9, 6, 10)
    for form in (model, fuse(model)):
        for begin in range(0, 12, 3):
            made, expected = (
                form(x[:, begin : begin + 3], torch.zeros(1), context, over=cache, commit=True)
                for cache in (poisoned, clean)
            )
            assert torch.equal(made, expected)
        poisoned.reset()
        clean.reset()


def test_it_refuses_what_it_was_not_built_for() -> None:
    model, cache = small_model(), slots()
    x, t, text = torch.randn(1, 3, 9, 6, 10), torch.zeros(1), torch.randn(1, 7, 20)
    with pytest.raises(ValueError, match="window of 4 latents is longer"):
        slots(window=4)
    with pytest.raises(ValueError, match="train with RollingCache"):
        model(x, t, text, over=cache)
    with torch.no_grad():
        with pytest.raises(ValueError, match="rows, columns"):
            model(x.transpose(-1, -2), t, text, over=cache)
        with pytest.raises(ValueError, match="4 latents in slots with room for 3"):
            model(torch.randn(1, 4, 9, 6, 10), t, text, over=cache)
        with pytest.raises(ValueError, match="with room"):
            model(x, t, text, over=slots(room=False))
        for _ in range(2):
            model(x, t, text, over=cache, commit=True)
        model(x[:, :2], t, text, over=cache)
        with pytest.raises(ValueError, match="2 latents would shift a window of 3"):
            model(x[:, :2], t, text, over=cache, commit=True)
        with pytest.raises(ValueError, match="model's dtype"):
            fuse(small_model().bfloat16())(x, t, text.bfloat16(), over=cache)
        with pytest.raises(ValueError, match="rows of tokens"):
            slots(grid=(5, 3)).restore(cache.snapshot())


@torch.inference_mode()
def test_a_cache_takes_anothers_slots_and_a_copy_goes_its_own_way() -> None:
    model, shared, kept = small_model(), slots(), slots(room=False)
    x, context = torch.randn(1, 12, 9, 6, 10), model.text_context(torch.randn(1, 7, 20))
    for begin in range(0, 9, 3):
        written = shared.written(3)
        model(x[:, begin : begin + 3], torch.zeros(1), context, over=shared, commit=True)
        kept.take(shared, written)
    assert kept.keys.shape[2] == 6
    assert torch.equal(kept.keys, shared.keys[:, :, :6])
    copy = deepcopy(shared)
    expected = model(x[:, 9:], torch.zeros(1), context, over=shared, commit=True)
    for other in (copy, slots()):
        other.take(kept)
        assert torch.equal(expected, model(x[:, 9:], torch.zeros(1), context, over=other, commit=True))
    assert not torch.equal(kept.keys, shared.keys[:, :, :6])


@pytest.mark.parametrize("pads", [1, 2, 3, 17, 312, 500, 512])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_weights_of_the_collapsed_pads_add_up(pads: int, dtype: torch.dtype) -> None:
    biases = pad_biases(pads, dtype)
    assert len(biases) <= (1 if dtype is torch.float32 else 2)
    assert sum(torch.tensor(biases).to(dtype).double().exp()) == pytest.approx(pads, rel=2e-4)


def test_lengths_that_do_not_fit_are_refused() -> None:
    text = torch.randn(2, 6, 4)
    for lengths in ([3], [3, 7], [-1, 2]):
        with pytest.raises(ValueError, match="lengths"):
            collapse(text, lengths, 24)
    kept, bias = collapse(text, [6, 6], 4)
    assert kept.shape == (2, 4, 4)
    assert not bias.any()


@pytest.mark.parametrize("kernel", ["auto", "sdpa", "matmul"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_bias_is_added_to_the_logits(kernel: Kernel, dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    q, k, v = torch.randn(2, 6, 2, 8), torch.randn(2, 5, 2, 8), torch.randn(2, 5, 2, 8)
    bias = torch.tensor([[0.0, 1.5, 0.0, 0.0, -math.inf], [2.0, 0.0, 0.0, 0.0, 0.0]])
    scores = torch.einsum("bqhd,bkhd->bhqk", q, k) / 8**0.5 + bias[:, None, None]
    expected = torch.einsum("bhqk,bkhd->bqhd", scores.softmax(-1), v)
    made = attend(q.to(dtype), k.to(dtype), v.to(dtype), bias=bias, kernel=kernel)
    atol = 1e-6 if dtype is torch.float32 else 0.03
    torch.testing.assert_close(made.float(), expected, atol=atol, rtol=0)


def test_a_kernel_that_is_not_here_is_refused_with_those_that_are(monkeypatch: pytest.MonkeyPatch) -> None:
    q = torch.randn(1, 4, 2, 8)
    assert available_kernels("cpu") == ("auto", "sdpa", "matmul")
    kernels: tuple[Kernel, ...] = ("cudnn", "flash", "fa3")
    for kernel in kernels:
        with pytest.raises(ValueError, match=f"'{kernel}': cpu here has auto, sdpa, matmul"):
            attend(q, q, q, kernel=kernel)
    with pytest.raises(ValueError, match=r"'quick': is not one of auto, .*fa3; cpu here has"):
        check_kernel("quick", "cpu")
    monkeypatch.setenv(SETTING, "cudnn")
    with pytest.raises(ValueError, match="cudnn"):
        attend(q, q, q)


def test_the_backend_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(SETTING, raising=False)
    assert attention_backend("cpu") == "sdpa"
    assert attention_backend("cpu", "matmul") == "matmul"
    monkeypatch.setenv(SETTING, "matmul")
    assert attention_backend("cpu") == "matmul"
    monkeypatch.setattr("motionstream.dit.attention._has_amx", lambda: False)
    monkeypatch.delenv(SETTING)
    assert attention_backend("cpu", dtype=torch.bfloat16) == "matmul"


def test_orders_of_pytorchs_kernels_are_ones_it_takes() -> None:
    """On a CPU it has but two of them, so that those named first are passed over."""
    torch.manual_seed(0)
    q, bias = torch.randn(1, 2, 16, 8), torch.randn(1, 1, 1, 16)
    kernels: tuple[Kernel, ...] = ("sdpa", "cudnn", "flash")
    for kernel in kernels:
        plain, biased = (_fused_attention(q, q, q, added, kernel) for added in (None, bias))
        torch.testing.assert_close(plain, _matmul_attention(q, q, q), atol=1e-6, rtol=0)
        torch.testing.assert_close(biased, _matmul_attention(q, q, q, bias), atol=1e-6, rtol=0)
    assert _torch_choice(q) in {"flash", "math"}
    with sdpa_kernel(list(BIASED), set_priority=True):
        assert _torch_choice(q) == "math"


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here")
def test_every_kernel_of_a_gpu_agrees() -> None:
    q, k, v = (torch.randn(1, n, 2, 128, device="cuda", dtype=torch.bfloat16) for n in (96, 160, 160))
    exact = attend(q.float(), k.float(), v.float(), kernel="matmul")
    bias = torch.zeros(1, 160, device="cuda")
    bias[:, 100:] = -math.inf
    hidden = attend(q.float(), k[:, :100].float(), v[:, :100].float(), kernel="matmul")
    for kernel in available_kernels("cuda"):
        assert (attend(q, k, v, kernel=kernel).float() - exact).abs().max() < 0.03
        assert (attend(q, k, v, kernel=kernel, bias=bias).float() - hidden).abs().max() < 0.03
        assert attention_backend("cuda", kernel) in {"cudnn", "flash", "efficient", "math", "matmul", "fa3"}
