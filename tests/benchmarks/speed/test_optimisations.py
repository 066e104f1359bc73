"""Every row really lacks its optimisation and shows the same frames; times are never judged."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.stream.small_bundle import save_small

from benchmarks.speed import optimisations as bench
from benchmarks.speed.cli import app
from benchmarks.speed.compiled import CompiledDiT
from benchmarks.speed.optimisations import (
    OPTIMISATIONS,
    NotHere,
    Optimisation,
    Shipped,
    bench_optimisations,
    fused_of,
    lines,
    pairs_of,
    products_of,
)
from benchmarks.speed.paired import LiveForm, Pair
from motionstream.dit import RollingCache, VideoDiT, attention
from motionstream.fast import fuse_block, modulation
from motionstream.fast.fuse_block import ConstantContext, FusedBlock
from motionstream.fast.products import Product
from motionstream.fast.slots import SlotCache
from motionstream.tiny.finisher import PhotoFinisher
from motionstream.tiny.vae import TinyVAE
from motionstream.vae import steps

BY_NAME = {one.name: one for one in OPTIMISATIONS}
EXACT = 1
"""By how much a value of 255 may differ in float32: rounding to whole numbers can fall either way."""
FORMAT, CONSTANT = "number format", "constant cross-attention"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_small(tmp_path_factory.mktemp("model"), 1, 1, 1)


@pytest.fixture(scope="module")
def exact(folder: Path) -> Shipped:
    return Shipped(folder, torch.float32)


def forms(shipped: Shipped, name: str) -> tuple[LiveForm, LiveForm]:
    """With the optimisation and without."""
    one = BY_NAME[name]
    return LiveForm(shipped.model), LiveForm(one.without(shipped), one.layout)


def calls(monkeypatch: pytest.MonkeyPatch, home: Any, name: str, work: Callable[[], object]) -> int:
    """How often the function or method of that name is called meanwhile."""
    count, real = 0, getattr(home, name)

    def counted(*arguments: Any, **options: Any) -> Any:
        nonlocal count
        count += 1
        return real(*arguments, **options)

    with monkeypatch.context() as patch:
        patch.setattr(home, name, counted)
        work()
    return count


def both(monkeypatch: pytest.MonkeyPatch, shipped: Shipped, row: str, home: Any, name: str) -> tuple[int, int]:
    """Calls of that name in a turn with the optimisation and in one without."""
    having, lacking = forms(shipped, row)
    having.turn(1), lacking.turn(1)
    return (
        calls(monkeypatch, home, name, lambda: having.turn(1)),
        calls(monkeypatch, home, name, lambda: lacking.turn(1)),
    )


SAME = [one.name for one in OPTIMISATIONS if one.name not in (FORMAT, CONSTANT) and not one.compiles]


@pytest.mark.parametrize("name", SAME)
def test_frames_are_the_same_without_an_optimisation(exact: Shipped, name: str) -> None:
    assert Pair(*forms(exact, name)).round(0, 1).farthest <= EXACT


def test_another_number_format_shows_other_frames(exact: Shipped) -> None:
    found = Pair(*forms(exact, FORMAT)).round(0, 1)
    assert found.farthest > 0
    assert 0 < found.share < 1


def test_the_plain_transformer_has_no_fused_parts(exact: Shipped) -> None:
    assert isinstance(bench.plain_transformer(exact).network.dit, VideoDiT)


def test_the_other_dtype_is_the_other(exact: Shipped, folder: Path) -> None:
    assert bench.other_dtype(exact).dtype == torch.bfloat16
    assert bench.other_dtype(Shipped(folder, torch.bfloat16)).dtype == torch.float32


@pytest.mark.filterwarnings("ignore:Dynamo detected a call")
def test_the_compiled_transformer_shows_the_same_frames(exact: Shipped, monkeypatch: pytest.MonkeyPatch) -> None:
    """Traced as one graph; how the graph is run is another's work."""
    monkeypatch.setattr(bench, "_check_compiler", lambda: None)
    monkeypatch.setattr(bench, "CompiledDiT", lambda model: CompiledDiT(model, backend="eager"))
    having, lacking = LiveForm(exact.model), LiveForm(bench.compiled_transformer(exact))
    assert Pair(having, lacking).round(0, 1).farthest <= EXACT


def test_what_needs_a_compiler_says_so(exact: Shipped, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.which", lambda name: None)
    for without in (bench.compiled_transformer, bench.compiled_decoder):
        with pytest.raises(NotHere, match="compiler"):
            without(exact)


@pytest.mark.parametrize("amx", [False, True])
def test_the_other_attention_is_taken_instead(folder: Path, monkeypatch: pytest.MonkeyPatch, amx: bool) -> None:
    monkeypatch.setattr(attention, "_has_amx", lambda: amx)
    rounded = Shipped(folder, torch.bfloat16)
    ours, other = both(monkeypatch, rounded, "attention", attention, "_matmul_attention")
    assert (ours > 0, other > 0) == (not amx, amx)


def test_the_past_is_in_a_rolling_cache(exact: Shipped, tmp_path: Path) -> None:
    having, lacking = forms(exact, "fixed slots")
    assert isinstance(having.stream.state.cache, SlotCache)
    assert type(lacking.stream.state.cache) is RollingCache
    with pytest.raises(NotHere, match="longer than a chunk"):
        bench.rolling_cache(Shipped(save_small(tmp_path, 1, 1, 3), torch.float32))


def test_modulations_are_computed_at_every_pass(exact: Shipped, monkeypatch: pytest.MonkeyPatch) -> None:
    having, lacking = both(monkeypatch, exact, "kept modulation", modulation.Modulations, "__init__")
    assert (having, lacking) == (0, 2 * (len(exact.model.rollout_config.times) + 1))


def test_modulations_are_applied_after_the_norms(exact: Shipped) -> None:
    for model, folded in ((exact.model, True), (bench.unfolded_modulation(exact), False)):
        found = fused_of(model)._modulations_at(torch.tensor([500.0]))
        assert {one.shared for block in found.blocks for one in (block.attention, block.ffn)} == {folded}
        assert found.head.shared is folded


def test_queries_keys_and_values_are_three_products(exact: Shipped, monkeypatch: pytest.MonkeyPatch) -> None:
    having, lacking = both(monkeypatch, exact, "joined QKV", FusedBlock, "project")
    assert having > lacking == 0
    having, lacking = both(monkeypatch, exact, "joined QKV", Product, "__call__")
    passes = 2 * (len(exact.model.rollout_config.times) + 1) * exact.model.network.dit.config.layers
    assert lacking - having == 2 * passes


def test_the_empty_prompt_is_attended_to(exact: Shipped, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fuse_block, "ALIKE", 1e9)
    unprompted = Shipped(save_small(tmp_path, reads_prompt=False), torch.float32)
    assert isinstance(unprompted.model.context(""), ConstantContext)
    having, lacking = both(monkeypatch, unprompted, CONSTANT, FusedBlock, "cross")
    assert lacking > having == 0
    with pytest.raises(NotHere, match="not a constant"):
        bench.full_cross_attention(exact)


def test_weights_are_not_packed(exact: Shipped) -> None:
    for model, packed in ((exact.model, True), (bench.unpacked_products(exact), False)):
        products = products_of(fused_of(model))
        assert len(products) == 1 + 6 * len(fused_of(model).fused_blocks)
        assert all((product.packed is not None) is packed for product in products)


def test_what_is_convolved_lies_channels_first_meanwhile(exact: Shipped) -> None:
    for form, last in zip(forms(exact, "channels last"), (True, False), strict=True):
        parts = [part for part in convolved(form, exact) if min(part.shape[1], part.shape[-1]) > 1]
        assert len(parts) > 3
        assert all(part.is_contiguous(memory_format=torch.channels_last) is last for part in parts)
        assert all(part.is_contiguous() is not last for part in parts)
    assert steps.LAYOUT is torch.channels_last


def convolved(form: LiveForm, exact: Shipped) -> list[torch.Tensor]:
    """Weights and inputs of some of the convolutions of a turn."""
    seen = list[torch.Tensor]()
    finisher, vae = form.stream.parts.finisher, getattr(form.stream.parts.decode, "__self__", None)
    assert isinstance(vae, TinyVAE)
    assert isinstance(finisher, PhotoFinisher)
    assert finisher.detail is not None

    def see(layer: torch.nn.Module, given: tuple[torch.Tensor, ...]) -> None:
        seen.extend((layer.get_parameter("weight"), *given))

    layers = vae.decoder.half_blocks[0].mix, vae.encoder.pack, finisher.detail.mix
    hooks = [layer.register_forward_pre_hook(see) for layer in layers if isinstance(layer, torch.nn.Module)]
    form.turn(1)
    for hook in hooks:
        hook.remove()
    return seen


def test_what_cannot_be_ablated_is_left_out_and_says_why(exact: Shipped) -> None:
    def nothing(_: Shipped) -> Any:
        raise NotHere("there is none")

    pairs, left_out = pairs_of(exact, [Optimisation("luck", "is not measured", nothing), BY_NAME["joined QKV"]])
    assert list(pairs) == ["joined QKV"]
    assert left_out == {"luck": "there is none"}


@pytest.fixture(scope="module")
def found(folder: Path) -> dict[str, Any]:
    return bench_optimisations(folder, 1, 1, dtype=torch.float32, compiled=False)


def test_every_optimisation_has_a_row_or_a_reason(found: dict[str, Any]) -> None:
    rows, left_out = found["optimisations"], found["left_out"]
    assert rows.keys() | left_out.keys() == {one.name for one in OPTIMISATIONS if not one.compiles}
    assert left_out.keys() == {CONSTANT}
    for row in rows.values():
        assert row["what"]
        assert row["times"]["low"] <= row["times"]["median"] <= row["times"]["high"]
        assert row["with_ms"] > 0
    assert {"machine", "date", "model_hash", "dtype", "attention", "rounds", "steps_a_turn"} <= found.keys()
    json.dumps(found, allow_nan=False)
    head, *others = lines(rows)
    assert all(len(row) == len(head) for row in others)


def test_the_program_prints_and_writes_them(
    found: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    given: list[Any] = []
    monkeypatch.setattr(bench, "bench_optimisations", lambda *arguments: given.extend(arguments) or found)
    out = tmp_path / "optimisations.json"
    arguments = ["--rounds", "2", "--steps", "3", "--dtype", "bfloat16", "--no-compiled", "--json", str(out)]
    app(["optimisations", *arguments], standalone_mode=False)
    assert (*given[:3], *given[4:]) == ("tiny", 2, 3, torch.bfloat16, False)
    assert json.loads(out.read_text())["model"] == "tiny"
    printed = capsys.readouterr().out
    assert "joined QKV" in printed
    assert "not measured" in printed


def test_wrong_requests_say_what_is_right(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def none(_: object) -> Iterator[int]:
        raise AssertionError("nothing must be measured")

    with pytest.raises(ValueError, match="at least 1"):
        bench_optimisations(folder, 0, over=none)
    with pytest.raises(ValueError, match="use float32 or bfloat16"):
        app(["optimisations", "--dtype", "int8"], standalone_mode=False)
    monkeypatch.setattr(bench, "read_header", lambda folder: {"kind": "wan"})
    with pytest.raises(ValueError, match="embedded kind"):
        app(["optimisations", "-m", str(folder)], standalone_mode=False)
