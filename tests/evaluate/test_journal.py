from __future__ import annotations

from pathlib import Path

import pytest

from motionstream.evaluate.journal import Journal


def counted(calls: list[str], item: str) -> dict[str, float]:
    calls.append(item)
    return {"epe_px": len(calls) / 2}


def test_what_was_measured_is_not_measured_again(tmp_path: Path) -> None:
    file, calls = tmp_path / "deep" / "journal.jsonl", []
    first = Journal(file, {"model": "abc", "size": (2, 3)})
    assert first.measured("a", lambda: counted(calls, "a")) == {"epe_px": 0.5}
    again = Journal(file, {"model": "abc", "size": (2, 3)})
    assert "a" in again
    assert "b" not in again
    assert again.measured("a", lambda: counted(calls, "a")) == {"epe_px": 0.5}
    assert again.measured("b", lambda: counted(calls, "b")) == {"epe_px": 1.0}
    assert calls == ["a", "b"]


def test_a_line_cut_in_writing_is_measured_again_and_the_rest_kept(tmp_path: Path) -> None:
    file = tmp_path / "journal.jsonl"
    journal = Journal(file, {})
    journal.measured("a", lambda: 1)
    journal.measured("b", lambda: 2)
    file.write_text(file.read_text()[:-5])
    cut = Journal(file, {})
    assert cut.items == {"a": 1}
    cut.measured("b", lambda: 3)
    assert Journal(file, {}).items == {"a": 1, "b": 3}


def test_another_evaluations_journal_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "journal.jsonl"
    Journal(file, {"model": "abc"})
    with pytest.raises(ValueError, match=r"another evaluation \(other: model\): remove it"):
        Journal(file, {"model": "xyz"})


def test_without_a_file_nothing_is_written_and_numbers_must_be_finite(tmp_path: Path) -> None:
    journal = Journal(None, {})
    assert journal.measured("a", lambda: 1) == 1
    with pytest.raises(ValueError, match="JSON"):
        journal.measured("b", lambda: float("nan"))
    assert "b" not in journal
    assert list(tmp_path.iterdir()) == []
