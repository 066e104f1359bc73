"""Rows are resumable, tables pool them, and intervals are as wide as they claim."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

from motionstream.evaluate.harness import (
    FEWEST,
    Item,
    Results,
    Sums,
    Unusable,
    interval_of_mean,
    interval_of_ratio,
    mean,
    means,
    measure,
    table,
    total,
)


def counted(calls: list[str], item: str) -> dict[str, float]:
    calls.append(item)
    return {"epe_px": len(calls) / 2}


def test_what_was_measured_is_not_measured_again(tmp_path: Path) -> None:
    file, calls = tmp_path / "deep" / "results.jsonl", []
    first = Results(file, {"model": "abc", "size": (2, 3)})
    assert first.measured("a", lambda: counted(calls, "a")) == {"epe_px": 0.5}
    again = Results(file, {"model": "abc", "size": (2, 3)})
    assert "a" in again
    assert "b" not in again
    assert again.measured("a", lambda: counted(calls, "a")) == {"epe_px": 0.5}
    assert again.measured("b", lambda: counted(calls, "b")) == {"epe_px": 1.0}
    assert calls == ["a", "b"]


def test_a_line_cut_in_writing_is_measured_again_and_the_rest_kept(tmp_path: Path) -> None:
    file = tmp_path / "results.jsonl"
    results = Results(file)
    results.measured("a", lambda: 1)
    results.measured("b", lambda: 2)
    file.write_text(file.read_text()[:-5])
    cut = Results(file)
    assert cut.rows == {"a": 1}
    cut.measured("b", lambda: 3)
    assert Results(file).rows == {"a": 1, "b": 3}


def test_a_file_cut_in_its_first_line_begins_anew(tmp_path: Path) -> None:
    file = tmp_path / "results.jsonl"
    file.write_text('{"settings": {"mod')
    assert Results(file).rows == {}


def test_results_of_another_evaluation_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "results.jsonl"
    Results(file, {"model": "abc"})
    with pytest.raises(ValueError, match=r"another evaluation \(different: model\): remove it"):
        Results(file, {"model": "xyz"})


@pytest.mark.parametrize("text", ["a list\nto keep\n", '{"settings": 3}\n', "[1]\n"])
def test_a_file_that_is_no_results_file_is_refused_and_left_alone(tmp_path: Path, text: str) -> None:
    file = tmp_path / "notes.txt"
    file.write_text(text)
    with pytest.raises(ValueError, match="not a results file"):
        Results(file)
    assert file.read_text() == text


def test_without_a_file_nothing_is_written_and_numbers_must_be_finite(tmp_path: Path) -> None:
    results = Results()
    assert results.measured("a", lambda: 1) == 1
    with pytest.raises(ValueError, match="JSON"):
        results.measured("b", lambda: float("nan"))
    assert "b" not in results
    assert list(tmp_path.iterdir()) == []


def test_items_that_cannot_be_measured_are_named_and_tried_again(tmp_path: Path) -> None:
    def broken() -> None:
        raise Unusable("no frames")

    file = tmp_path / "results.jsonl"
    items = [Item("a", lambda: 1), Item("b", broken), Item("c", lambda: None)]
    measured = measure(items, Results(file))
    assert measured.rows == {"a": 1, "c": None}
    assert measured.skipped == {"b": "no frames"}
    assert measure([Item("b", lambda: 2)], Results(file)).rows == {"b": 2}


def test_a_table_pools_what_was_measured_item_by_item() -> None:
    first, second = Sums(), Sums()
    first.add("epe", [[1.0, 2.0], [3.0, 4.0]])
    first.add("epe", 5.0)
    second.add("epe", [9.0])
    rows = {
        "a": {"model": {**first, "psnr": 20.0, "kept": True}, "kind": "pan"},
        "b": {"model": {**second, "psnr": None, "kept": False}, "kind": "zoom"},
    }
    found = table(rows)
    assert total(found, "model.epe") == (24.0, 6)
    assert total(found, "model.epe", "model.psnr", "nothing") == (44.0, 7)
    assert mean(found.loc[["b"]], "model.psnr") is None
    assert means(found) == {"model": {"epe": 4.0, "psnr": 20.0, "kept": 0.5}}
    assert means(table({})) == {}


def test_lines_are_selected_by_the_parts_of_their_keys() -> None:
    found = table({("dense", "a"): {"epe": 1.0}, ("dense", "b"): {"epe": 2.0}, ("20", "a"): {"epe": 5.0}})
    assert means(found.loc["dense"]) == {"epe": 1.5}


def test_a_means_interval_is_that_of_its_standard_error() -> None:
    values = np.random.default_rng(3).normal(5, 2, 400)
    low, high = interval_of_mean(values)
    error = values.std() / 20
    assert low == pytest.approx(values.mean() - 1.96 * error, abs=0.2 * error)
    assert high == pytest.approx(values.mean() + 1.96 * error, abs=0.2 * error)
    assert interval_of_mean(values) == (low, high)


def quotient(above: np.ndarray, below: np.ndarray, seed: int = 0) -> tuple[float, float] | None:
    """Of (items, 2) totals and counts."""
    pairs = zip(above.tolist(), below.tolist(), strict=True)
    return interval_of_ratio(table({n: {"a": a, "b": b} for n, (a, b) in enumerate(pairs)}), "a", "b", seed)


def test_intervals_hold_the_truth_as_often_as_they_say() -> None:
    """Of the quotient of two means, of 40 clips of unlike sizes, in 200 experiments."""
    rng, held = np.random.default_rng(5), 0
    for experiment in range(200):
        count = rng.integers(50, 150, 40).astype(float)
        common = rng.gamma(4, 0.25, 40)
        above, below = (common * rng.normal(mean, 0.1, 40) * count for mean in (1.2, 1.0))
        found = quotient(np.stack([above, count], -1), np.stack([below, count], -1), seed=experiment)
        assert found is not None
        held += found[0] <= 1.2 <= found[1]
    assert 178 <= held <= 199


def test_one_clip_that_decides_everything_shows_in_the_interval() -> None:
    even = np.array([[10.0, 10]] * 16)
    lost = even.copy()
    lost[7, 0] = 40
    found = quotient(lost, even)
    assert found is not None
    low, high = found
    assert lost[:, 0].sum() / 160 == pytest.approx(1.1875)
    assert low == pytest.approx(1)
    assert high > 1.4


def test_no_interval_of_what_cannot_have_one() -> None:
    few, none = np.ones((FEWEST - 1, 2)), np.array([[1.0, 1], [0, 0], [0, 0], [0, 0]])
    assert quotient(few, few) is None
    assert quotient(np.ones((FEWEST, 2)), none) is None
    assert interval_of_ratio(table({n: {"a": 1.0} for n in range(FEWEST)}), "a", "b") is None
    assert not math.isnan(interval_of_mean(np.zeros(FEWEST))[0])
