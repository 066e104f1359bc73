"""Both models agree before they are timed, and a difference is not timed at all."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from benchmarks.speed import compare
from benchmarks.speed.cli import app
from benchmarks.speed.compare import (
    EXACT,
    RATIOS,
    Pair,
    bench_compare,
    difference,
    diffusers_model,
    take_weights,
)
from benchmarks.speed.compiled import CompiledDiT
from benchmarks.speed.stopwatch import Took
from benchmarks.speed.untrained import randomised, shape_of
from motionstream.dit import VideoDiT

CPU = torch.device("cpu")
SMALL = ["--layers", "1", "--size", "64x32", "--device", "cpu"]


def test_forms_are_equal_and_ratios_are_of_rounds() -> None:
    pytest.importorskip("diffusers")
    found = bench_compare(shape_of("wan2.1-1.3b", 1, True, (64, 32)), CPU, rounds=2)
    assert found["difference_float32"].keys() == {"whole", "whole_reading", "chunk", "fused"}
    assert max(found["difference_float32"].values()) < EXACT
    for kind in ("ratio", "ratio_process"):
        assert found[kind].keys() == RATIOS.keys()
        for ratio in found[kind].values():
            assert 0 < ratio["min"] <= ratio["median"] <= ratio["max"]
    for form in {name for pair in RATIOS.values() for name in pair}:
        assert found[form]["ms"]["p50"] > 0
    assert (found["latents"], found["tokens_per_latent"]) == (9, 8)
    json.dumps(found, allow_nan=False)


def test_the_picture_branch_is_compared_too() -> None:
    pytest.importorskip("diffusers")
    found = bench_compare(shape_of("wan2.1-1.3b-i2v", 1, True, (64, 32)), CPU, rounds=1)
    assert max(found["difference_float32"].values()) < EXACT


@torch.inference_mode()
def test_models_that_differ_are_named_and_not_timed() -> None:
    pytest.importorskip("diffusers")
    shape = shape_of("wan2.1-1.3b", 1, True, (64, 32))
    theirs, _ = diffusers_model(shape.dit)
    ours = VideoDiT(shape.dit)
    randomised(ours)
    take_weights(theirs, ours)
    given = compare.chunk_inputs(shape, CPU, 0)
    Pair(ours, theirs, given).differences(EXACT)
    other = VideoDiT(shape.dit)
    randomised(other)
    with torch.no_grad():
        other.get_parameter("blocks.0.ffn.0.weight").mul_(1.01)
    with pytest.raises(RuntimeError, match="whole: outputs differ"):
        Pair(other, theirs, given).differences(EXACT)


def test_a_weight_without_a_place_is_an_error() -> None:
    pytest.importorskip("diffusers")
    theirs, _ = diffusers_model(shape_of("wan2.1-1.3b", 1, True).dit)
    with pytest.raises(RuntimeError, match=r"blocks\.1"):
        take_weights(theirs, VideoDiT(shape_of("wan2.1-1.3b", 2, True).dit))


def test_diffusers_runs_as_it_is_shipped_and_ours_keeps_its_weights() -> None:
    pytest.importorskip("diffusers")
    shape = shape_of("wan2.1-1.3b", 1, True)
    theirs, _ = diffusers_model(shape.dit)
    ours = VideoDiT(shape.dit)
    take_weights(theirs, ours)
    compare.as_shipped(theirs, torch.bfloat16)
    dtypes = {name: weight.dtype for name, weight in theirs.named_parameters()}
    assert dtypes["blocks.0.ffn.net.2.weight"] == torch.bfloat16
    assert (
        dtypes["blocks.0.norm2.weight"] == dtypes["condition_embedder.time_embedder.linear_1.weight"] == torch.float32
    )
    assert {weight.dtype for weight in ours.parameters()} == {torch.float32}


def test_the_spread_of_a_ratio_is_of_its_rounds() -> None:
    rounds = [{"a": [Took(a, a)], "b": [Took(1.0, 2.0)]} for a in (3.0, 2.0, 10.0)]
    assert compare._spread(rounds, "a", "b", compare._clock) == {"median": 3.0, "min": 2.0, "max": 10.0}
    assert compare._spread(rounds, "a", "b", compare._process)["median"] == 1.5
    assert difference(torch.tensor([3.0, 4.4]), torch.tensor([3.0, 4.0])) == pytest.approx(0.08)


def test_a_difference_of_one_bit_is_seen_and_layout_is_not() -> None:
    """Equal outputs read exactly 0, and they do here: so the figure must be able to be anything else."""
    one = torch.randn(1, 9, 16, 4, 8, generator=torch.Generator().manual_seed(0))
    other = one.clone()
    other[0, 3, 5, 2, 1] = torch.nextafter(one[0, 3, 5, 2, 1], torch.tensor(9.0))
    assert 0 < difference(other, one) < 1e-7
    strided = one.transpose(1, 2).contiguous().transpose(1, 2)
    assert not strided.is_contiguous()
    assert difference(2 * one, strided) == pytest.approx(difference(2 * one, one), rel=1e-13)
    assert difference(strided, one) == 0


def test_every_form_is_first_once() -> None:
    order: list[str] = []
    forms: dict[str, Any] = {name: lambda name=name: order.append(name) for name in "abc"}
    firsts = []
    for turn in range(3):
        order.clear()
        found = compare._round(forms, turn, compare.Stopwatch(CPU))
        firsts.append(order[0])
        assert {name: len(times) for name, times in found.items()} == dict.fromkeys("abc", compare.CALLS)
    assert firsts == ["a", "b", "c"]


def test_the_program_writes_it_down(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("diffusers")
    out = tmp_path / "compare.json"
    app(["compare", "--rounds", "1", *SMALL, "--json", str(out)], standalone_mode=False)
    figures = json.loads(out.read_text())
    assert {"model", "model_hash", "machine", "date", "ratio", "diffusers"} <= figures.keys()
    assert "ratio.whole_same_work.median" in capsys.readouterr().out


def test_a_missing_diffusers_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "diffusers", None)
    with pytest.raises(ModuleNotFoundError, match="diffusers"):
        app(["compare", "--rounds", "1", *SMALL], standalone_mode=False)


@pytest.mark.filterwarnings("ignore:Dynamo detected a call")
def test_the_compiled_form_takes_its_turn_where_it_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """Traced as one graph; how the graph is run is another's work."""
    pytest.importorskip("diffusers")
    monkeypatch.setattr(compare, "CompiledDiT", lambda model: CompiledDiT(model, backend="eager"))
    found = bench_compare(shape_of("wan2.1-1.3b", 1, True, (64, 32)), CPU, rounds=1, compiled=True)
    assert found["ratio"].keys() == {*RATIOS, "compiled_over_fused"}
    assert found["difference"][compare.COMPILED] < compare.ROUNDED
