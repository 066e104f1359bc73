"""Rounding to e4m3 costs what it must and no more, and a model that it costs too much is refused."""

from __future__ import annotations

import copy

import pytest
import torch
import torch.nn.functional as F
from tests.equal.dit_small import small_model
from torch import Tensor, nn

from motionstream.dit import RollingCache, VideoDiT
from motionstream.fast.fp8 import (
    Fp8Linear,
    _simulated,
    _tensor_core,
    gate,
    quantise_products,
    relative_difference,
    runs_on,
)
from motionstream.fast.fuse import fuse
from motionstream.fast.kernels import REFERENCE, quantise_rows
from motionstream.fast.kernels.table import E4M3, HIGHEST
from motionstream.fast.slots import SlotCache

DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")


def draw(seed: int, *shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed)).to(DEVICE)


def call(model: VideoDiT) -> dict[str, object]:
    """One call on a past of two chunks, so that what is quantised writes and reads the cache."""
    x, text = draw(0, 1, 3, model.config.in_channels, 4, 6), draw(1, 1, 7, model.config.text_dim)
    return {"x_BTCHW": x, "t": torch.tensor([600.0]), "context": text}


def rounded(model: VideoDiT) -> VideoDiT:
    """A copy whose blocks' linear layers are in fp8, but for those that only run when the prompt changes."""
    twin = copy.deepcopy(model)
    for name, part in model.named_modules():
        if isinstance(part, nn.Linear) and "blocks." in name and not name.endswith(("cross_attn.k", "cross_attn.v")):
            twin.set_submodule(name, Fp8Linear(part.weight, part.bias))
    return twin


def test_a_row_is_scaled_to_the_range_and_rounded_to_four_bits() -> None:
    x = draw(0, 40, 64) * torch.logspace(-6, 6, 40, device=DEVICE)[:, None]
    values, scale = quantise_rows(x)
    assert values.dtype == E4M3
    assert scale.shape == (40, 1)
    assert (values.float().abs().amax(-1) == HIGHEST).all()
    wrong = (values.float() * scale - x).abs()
    step = torch.maximum(x.abs() / 16, scale * 2**-10)  # half a step: 3 bits after the first, and below the least power
    assert (wrong <= step * 1.0001).all()
    assert wrong.max() > 0
    nothing, least = quantise_rows(torch.zeros(2, 16, device=DEVICE))
    assert (nothing.float() == 0).all()
    assert (least > 0).all()


def test_a_products_error_is_bounded_and_not_nothing() -> None:
    """Each factor is off by 2.6 % of its size on average, independently: 3.7 % of a sum over many."""
    linear, x = nn.Linear(512, 256, bias=False, device=DEVICE).requires_grad_(False), draw(0, 2, 33, 512)
    linear.weight *= torch.logspace(-3, 3, 256, device=DEVICE)[:, None]  # one scale for all would lose most rows
    got, expected = Fp8Linear(linear.weight, None)(x), linear(x)
    assert got.shape == expected.shape
    for row in (0, 100, 255):
        assert 0.01 < relative_difference(got[..., row], expected[..., row]) < 0.05
    assert relative_difference(got, expected) < 0.05


def test_a_layer_stands_where_a_product_stands() -> None:
    weight, bias, x = draw(0, 32, 48), draw(1, 32), draw(2, 5, 48).bfloat16()
    layer, base = Fp8Linear(weight, bias), draw(3, 5, 32).bfloat16()
    assert layer(x).dtype == torch.bfloat16
    torch.testing.assert_close(layer.onto(base, x), base + layer(x))
    gelu = Fp8Linear(weight, bias, "gelu")
    torch.testing.assert_close(gelu(x), F.gelu(layer(x), approximate="tanh"))
    assert 0 < relative_difference(layer.weight, weight) < 0.05
    with pytest.raises(ValueError, match=r"\(30, 48\): fp8 needs multiples of 16"):
        Fp8Linear(draw(0, 30, 48), None)


@pytest.mark.skipif(not runs_on(DEVICE), reason="no GPU with products of e4m3 here")
def test_the_tensor_cores_products_are_the_simulated_ones() -> None:
    x, weight, bias = quantise_rows(draw(0, 700, 512)), quantise_rows(draw(1, 256, 512)), draw(2, 256)
    assert relative_difference(_tensor_core(x, weight, bias), _simulated(x, weight, bias)) < 5e-3


@torch.inference_mode()
def test_a_fused_model_takes_products_in_fp8() -> None:
    """No farther from the exact model than the plain one, in fp8, is, but for the order of rounding."""
    model = small_model().to(DEVICE)
    fused = fuse(model)
    assert quantise_products(fused.fused_blocks) >= 6 * model.config.layers
    given = call(model)
    cache = RollingCache(model.config, batch=1, tokens=6, sink=3, window=3, device=DEVICE)
    exact = model(**given, over=cache)
    apart = relative_difference(fused(**given, over=cache), exact)
    plain = relative_difference(rounded(model)(**given, over=cache), exact)
    assert 0 < apart < 2 * plain


@torch.inference_mode()
def test_a_pass_over_slots_takes_products_in_fp8_too() -> None:
    model = small_model().to(DEVICE)
    fused, given = fuse(model, REFERENCE), call(model)
    grid = (2, 3)
    slots = SlotCache(model.config, batch=1, grid=grid, chunk=3, sink=3, window=3, device=DEVICE)
    exact = fused(**given, over=slots)
    quantise_products(fused.fused_blocks)
    assert 0 < relative_difference(fused(**given, over=slots), exact) < 0.1


def test_the_gate_lets_pass_and_refuses_with_the_figure() -> None:
    model = small_model().to(DEVICE)
    twin, given = rounded(model), call(model)
    figure = gate(model, twin, [given], limit=0.5)
    assert 0 < figure < 0.5
    with pytest.raises(ValueError, match=f"by {figure:.3g} of its size, over the limit of {figure / 2:g}"):
        gate(model, twin, [given], limit=figure / 2)
    with pytest.raises(ValueError, match="no inputs"):
        gate(model, twin, [])


def test_the_gate_refuses_what_is_no_number() -> None:
    one = torch.ones(3)
    with pytest.raises(ValueError, match="by nan"):
        gate(lambda: one, lambda: one * float("nan"), [{}])
    answers = iter([one * float("nan"), one])
    with pytest.raises(ValueError, match="by nan"):
        gate(lambda x: one, lambda x: next(answers), [{"x": 0}, {"x": 1}])
