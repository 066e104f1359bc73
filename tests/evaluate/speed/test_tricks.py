"""Every row of `bench tricks` really lacks its trick and shows the same frames; times are never judged."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tests.stream.small_bundle import save_small

from motionstream import allocator, cli, errors
from motionstream.cli.bench import _with_and_without_malloc
from motionstream.dit import VideoDiT, attention
from motionstream.evaluate.speed import tricks as bench
from motionstream.evaluate.speed import without
from motionstream.evaluate.speed.stopwatch import Took
from motionstream.evaluate.speed.tricks import bench_tricks, lines, measured, rows_of
from motionstream.evaluate.speed.turns import FarForm, LiveForm, Pair, Round, Turn
from motionstream.evaluate.speed.without import TRICKS, NotHere, Subject, Trick, fused_of
from motionstream.fast import fuse, fuse_block
from motionstream.fast.fuse_block import FusedBlock, Said, Unheard
from motionstream.fast.fuse_past import Past
from motionstream.fast.products import Product
from motionstream.fast.slots import SlotCache
from motionstream.tiny import vae as tiny

BY_NAME = {trick.name: trick for trick in TRICKS}
EXACT = 1
"""By how much a pixel of 255 may differ in float32: rounding to whole numbers can fall either way."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_small(tmp_path_factory.mktemp("model"), 1, 1, 1)


@pytest.fixture(scope="module")
def exact(folder: Path) -> Subject:
    return Subject(folder, torch.float32)


@pytest.fixture(scope="module")
def rounded(folder: Path) -> Subject:
    return Subject(folder, torch.bfloat16)


def forms(subject: Subject, name: str) -> tuple[LiveForm, LiveForm]:
    """With the trick and without."""
    trick = BY_NAME[name]
    return LiveForm(trick.base(subject)), LiveForm(trick.without(subject), layout=trick.layout)


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


def both(monkeypatch: pytest.MonkeyPatch, subject: Subject, row: str, home: Any, name: str) -> tuple[int, int]:
    """Calls of that name in a turn with the trick and in one without."""
    having, lacking = forms(subject, row)
    having.turn(1), lacking.turn(1)
    return (
        calls(monkeypatch, home, name, lambda: having.turn(1)),
        calls(monkeypatch, home, name, lambda: lacking.turn(1)),
    )


ROUNDED, UNHEARD = "fastest dtype", "unheard silence"
SAME = [trick.name for trick in TRICKS if trick.same_picture and trick.name not in (ROUNDED, UNHEARD)]


@pytest.mark.parametrize("name", SAME)
def test_frames_are_the_same_without_a_trick(exact: Subject, name: str) -> None:
    having, lacking = forms(exact, name)
    assert Pair(having, lacking).round(0, 2).farthest <= EXACT


@pytest.mark.parametrize("name", [ROUNDED, "wide heads", "detail network"])
def test_frames_that_must_differ_are_seen_to(exact: Subject, name: str) -> None:
    found = Pair(*forms(exact, name)).round(0, 1)
    assert found.farthest > 0
    assert 0 < found.mean <= found.farthest


def test_the_plain_transformer_has_no_fused_parts(exact: Subject) -> None:
    assert isinstance(without.plain_transformer(exact).network.dit, VideoDiT)


def test_the_other_dtype_is_the_other(exact: Subject, rounded: Subject) -> None:
    assert without.other_dtype(exact).dtype == torch.bfloat16
    assert without.other_dtype(rounded).dtype == torch.float32
    assert rounded.in_float32.dtype == torch.float32
    assert exact.in_float32 is exact.shipped


@pytest.mark.parametrize("amx", [False, True])
def test_pytorchs_attention_is_taken_instead_where_it_is_not_shipped(
    rounded: Subject, monkeypatch: pytest.MonkeyPatch, amx: bool
) -> None:
    monkeypatch.setattr(attention, "_has_amx", lambda: amx)
    if amx:
        with pytest.raises(NotHere, match="bfloat16"):
            without.fused_attention(rounded)
        return
    ours, theirs = both(monkeypatch, rounded, "matmul attention", attention, "_matmul_attention")
    assert ours > theirs == 0


def test_bounded_scores_get_a_whole_softmax(rounded: Subject, monkeypatch: pytest.MonkeyPatch) -> None:
    having, lacking = both(monkeypatch, rounded, "bounded softmax", fuse_block, "attend_bounded")
    assert having > lacking == 0
    having, lacking = both(monkeypatch, rounded, "bounded softmax", attention, "_matmul_attention")
    assert lacking > having == 0
    with monkeypatch.context() as patch:
        patch.setattr(fuse_block, "HIGHEST_SCORE", 0.0)
        with pytest.raises(NotHere, match="bound"):
            without.whole_softmax(rounded)


def test_the_past_is_joined_at_every_pass(exact: Subject, monkeypatch: pytest.MonkeyPatch) -> None:
    having, lacking = both(monkeypatch, exact, "kept past", Past, "__init__")
    passes = 2 * (len(exact.shipped.rollout_config.times) + 1)
    assert (having, lacking) == (0, passes)


def test_a_commit_is_a_whole_pass(exact: Subject, monkeypatch: pytest.MonkeyPatch) -> None:
    having, lacking = both(monkeypatch, exact, "short commit", fuse.FusedDiT, "forward")
    calls_a_chunk = len(exact.shipped.rollout_config.times)
    assert (having, lacking) == (2 * calls_a_chunk, 2 * (calls_a_chunk + 1))


def test_a_clean_chunk_is_passed_once_more(exact: Subject, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the model does so by itself the trick is not there; else a shorter such pass is not."""
    kept = Subject(save_small(tmp_path, 1, 1, 1, clean_pass=False), torch.float32)
    having, lacking = both(monkeypatch, kept, "no clean pass", fuse.FusedDiT, "commit")
    assert (having, lacking) == (0, 2)
    with pytest.raises(NotHere, match="as the paper does"):
        without.clean_pass(exact)
    with pytest.raises(NotHere, match="no clean pass"):
        without.whole_commit(kept)


def test_the_past_is_in_slots(exact: Subject, tmp_path: Path) -> None:
    having, lacking = forms(exact, "past beside a ring")
    assert not isinstance(having.stream.state.cache, SlotCache)
    assert isinstance(lacking.stream.state.cache, SlotCache)
    with pytest.raises(NotHere, match="longer than a chunk"):
        without.fixed_slots(Subject(save_small(tmp_path, 1, 1, 3), torch.float32))


def test_modulations_are_computed_at_every_pass(exact: Subject, monkeypatch: pytest.MonkeyPatch) -> None:
    having, lacking = both(monkeypatch, exact, "kept modulation", fuse.Steer, "__init__")
    assert (having, lacking) == (0, 2 * (len(exact.shipped.rollout_config.times) + 1))


def test_modulations_are_applied_after_the_norms(exact: Subject, monkeypatch: pytest.MonkeyPatch) -> None:
    having, lacking = forms(exact, "folded modulation")
    for form, folded in ((having, True), (lacking, False)):
        steers = fused_of(form.stream.model)._steers.values()
        assert steers
        assert all(block.ffn.shared is folded for steer in steers for block in steer.blocks)
    assert calls(monkeypatch, fuse.Steer, "__init__", lambda: lacking.turn(1)) == 0


def test_queries_keys_and_values_are_three_products(exact: Subject, monkeypatch: pytest.MonkeyPatch) -> None:
    having, lacking = both(monkeypatch, exact, "fused QKV", FusedBlock, "project")
    assert having > lacking == 0
    having, lacking = both(monkeypatch, exact, "fused QKV", Product, "__call__")
    passes = 2 * (len(exact.shipped.rollout_config.times) + 1) * exact.shipped.network.dit.config.layers
    commits = 2  # which end before the last block's queries
    assert lacking - having == 2 * (passes - commits)


def test_the_prompt_is_attended_to(exact: Subject, monkeypatch: pytest.MonkeyPatch) -> None:
    having, lacking = both(monkeypatch, exact, "folded prompt", Said, "onto")
    assert having > lacking == 0
    with monkeypatch.context() as patch:
        patch.setattr(Said, "pays", lambda block, layer: False)
        with pytest.raises(NotHere, match="not folded"):
            without.heard_prompt(exact)


def test_silence_is_heard(exact: Subject, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the network is told the prompt there is none; else the prompt's own trick is not there."""
    monkeypatch.setattr(Unheard, "fits", lambda block, layer: True)
    unprompted = Subject(save_small(tmp_path, reads_prompt=False), torch.float32)
    having, lacking = both(monkeypatch, unprompted, UNHEARD, Unheard, "onto")
    assert having > lacking == 0
    having, lacking = both(monkeypatch, unprompted, UNHEARD, Said, "onto")
    assert lacking > having == 0
    with pytest.raises(NotHere, match="is told the prompt"):
        without.heard_silence(exact)
    with pytest.raises(NotHere, match="is not told the prompt"):
        without.heard_prompt(unprompted)


def test_weights_are_not_packed(exact: Subject) -> None:
    having, lacking = forms(exact, "packed products")
    for form, packed in ((having, True), (lacking, False)):
        transformer = fused_of(form.stream.model)
        parts = [part for block in transformer.fused_blocks for part in vars(block).values()]
        products = [part for part in (*parts, transformer._patch) if isinstance(part, Product)]
        assert len(products) > 7 * len(transformer.fused_blocks)
        assert all((product.packed is not None) is packed for product in products)


def test_what_is_convolved_lies_channels_first_meanwhile(exact: Subject) -> None:
    for form, last in zip(forms(exact, "channels last"), (True, False), strict=True):
        parts = [part for part in convolved(form) if min(part.shape[1], part.shape[-1]) > 1]
        assert len(parts) > 3
        assert all(part.is_contiguous(memory_format=torch.channels_last) is last for part in parts)
        assert all(part.is_contiguous() is not last for part in parts)
    assert tiny.LAYOUT is torch.channels_last


def convolved(form: LiveForm) -> list[torch.Tensor]:
    """Weights and inputs of some of the convolutions of a turn."""
    model, seen = form.stream.model, list[torch.Tensor]()
    assert isinstance(model.vae, tiny.TinyVAE)
    assert model.detail is not None
    layers = model.vae.decoder.half_blocks[0].mix, model.vae.encoder.pack, model.detail.mix

    def see(layer: torch.nn.Module, given: tuple[torch.Tensor, ...]) -> None:
        seen.extend((layer.get_parameter("weight"), *given))

    hooks = []
    for layer in layers:
        assert isinstance(layer, torch.nn.Module)
        hooks.append(layer.register_forward_pre_hook(see))
    form.turn(1)
    for hook in hooks:
        hook.remove()
    return seen


def test_heads_are_narrow_and_weights_the_same(exact: Subject, monkeypatch: pytest.MonkeyPatch) -> None:
    narrow, wide = without.narrow_heads(exact).network.dit, exact.shipped.network.dit
    assert (narrow.config.heads, narrow.config.width) == (4 * wide.config.heads, wide.config.width)
    theirs = wide.state_dict()
    assert all(torch.equal(weight, theirs[name]) for name, weight in narrow.state_dict().items())
    monkeypatch.setattr(without, "NARROWER", 8)
    with pytest.raises(NotHere, match="head"):
        without.narrow_heads(exact)


def test_there_is_no_detail_network(exact: Subject) -> None:
    assert exact.shipped.detail is not None
    assert without.no_detail(exact).detail is None


def test_malloc_settings_are_those_of_another_process(exact: Subject, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(allocator, "is_glibc", lambda: True)
    monkeypatch.delenv(next(iter(allocator.SETTINGS)), raising=False)
    environments = _with_and_without_malloc()
    assert environments is not None
    having, lacking = (FarForm(exact.folder, exact.dtype, 0, environment) for environment in environments)
    with having, lacking:
        assert having.environment(list(allocator.SETTINGS)) == allocator.SETTINGS
        assert set(lacking.environment(list(allocator.SETTINGS)).values()) == {None}
        found = Pair(having, lacking).round(0, 2)
        here = LiveForm(exact.shipped).turn(2)
        there = having.turn(2)
    assert found.farthest == 0
    assert len(found.having) == len(found.lacking) == len(there.times) == 2
    assert here.frames.shape == there.frames.shape
    assert having.process.returncode == lacking.process.returncode == 0
    monkeypatch.setattr(allocator, "is_glibc", lambda: False)
    assert _with_and_without_malloc() is None


def test_what_goes_wrong_over_there_is_said(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"a process of its own: .*model\.json is missing"):
        FarForm(tmp_path, torch.float32, 0, os.environ)


class Fake:
    """A form whose every step takes so long, and shows one brightness."""

    def __init__(self, said: list[str], name: str, seconds: list[float], brightness: int = 0) -> None:
        self.said, self.name, self.seconds, self.brightness = said, name, iter(seconds), brightness

    def turn(self, steps: int) -> Turn:
        self.said.append(self.name)
        took = next(self.seconds)
        return Turn([Took(took, 2 * took)] * steps, np.full((steps + 1, 2, 2, 3), self.brightness, np.uint8))


def test_ratios_are_taken_within_rounds_and_turns_are_swapped() -> None:
    said: list[str] = []
    pair = Pair(Fake(said, "with", [1.0, 10.0, 2.0], 250), Fake(said, "without", [3.0, 20.0, 2.0], 5))
    found = measured([bench.Row("trick", "is a trick", "as shipped", pair)], 3, 2)["trick"]
    assert said == ["with", "without", "without", "with", "with", "without"]
    assert found["times"] == {"median": 2.0, "min": 1.0, "max": 3.0}
    assert found["times_process"]["median"] == 2.0
    assert found["difference"] == {"max": 245, "mean": 245.0}
    assert (found["with_ms"], found["without_ms"]) == (2000.0, 3000.0)
    assert Round([Took(1, 1)], [Took(3, 4)], 0, 0.0).ratio(lambda took: took.process) == 4.0


def test_what_cannot_be_taken_away_is_left_out_and_says_why(exact: Subject) -> None:
    def nothing(_: Subject) -> Any:
        raise NotHere("there is none")

    rows, left_out = rows_of(exact, [Trick("luck", "is not measured", nothing), BY_NAME["fused QKV"]])
    assert [row.name for row in rows] == ["fused QKV"]
    assert left_out == {"luck": "there is none"}


@pytest.fixture(scope="module")
def found(folder: Path) -> dict[str, Any]:
    return bench_tricks(folder, 1, 1, dtype=torch.float32)


def test_every_trick_has_a_row_or_a_reason(found: dict[str, Any]) -> None:
    assert found["tricks"].keys() | found["left_out"].keys() == {*BY_NAME, bench.MALLOC}
    assert bench.MALLOC in found["left_out"]
    for row in found["tricks"].values():
        assert row["what"]
        assert row["times"]["min"] <= row["times"]["median"] <= row["times"]["max"]
        assert row["with_ms"] > 0
    assert found["tricks"]["bounded softmax"]["beside"] == "as shipped, in float32"
    assert not found["tricks"]["wide heads"]["same_picture"]
    assert {"machine", "date", "model_hash", "dtype", "attention", "rounds", "steps_a_turn"} <= found.keys()
    json.dumps(found, allow_nan=False)
    head, *rows = lines(found["tricks"])
    assert all(len(row) == len(head) for row in rows)
    assert next(row for row in rows if row[0] == "wide heads")[-1] == "another"


def test_the_program_prints_and_writes_them(
    found: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    given: dict[str, Any] = {}

    def pretended(model: str, rounds: int, steps: int, **more: Any) -> dict[str, Any]:
        given.update(model=model, rounds=rounds, steps=steps, **more)
        return found

    monkeypatch.setattr(bench, "bench_tricks", pretended)
    out = tmp_path / "tricks.json"
    assert cli.run(["bench", "tricks", "--rounds", "2", "--steps", "3", "--json", str(out)]) == errors.DONE
    assert (given["model"], given["rounds"], given["steps"]) == ("tiny", 2, 3)
    figures = json.loads(out.read_text())
    assert figures["model"] == "tiny"
    assert figures["malloc"] == allocator.state()
    printed = capsys.readouterr().out
    assert "fused QKV" in printed
    assert "not measured" in printed


def test_wrong_requests_are_one_line(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def none(_: object) -> Iterator[int]:
        raise AssertionError("nothing must be measured")

    with pytest.raises(ValueError, match="at least 1"):
        bench_tricks(folder, 0, over=none)
    monkeypatch.setattr(bench, "read_header", lambda folder: {"kind": "wan"})
    assert cli.run(["bench", "tricks", "-m", str(folder)]) == errors.WRONG_INPUT
    assert "models of our own" in capsys.readouterr().err
