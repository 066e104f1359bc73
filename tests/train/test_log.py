"""What a run writes down and shows."""

from __future__ import annotations

import importlib.util
import json
import logging
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from motionstream.train.log import RunLog


def lines(folder: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def test_means_over_the_steps_between(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with RunLog(tmp_path, 0, 5, every=2) as log:
        for step, loss in enumerate([1.0, 3.0, 5.0, float("nan"), 2.0], 1):
            log.scalars(step, {"loss": loss, **({"critic": 4.0} if step == 1 else {})})
    assert [(line["step"], line["loss"]) for line in lines(tmp_path)] == [(2, 2.0), (4, 5.0), (5, 2.0)]
    assert lines(tmp_path)[0]["critic"] == 4.0
    assert "critic" not in lines(tmp_path)[1]
    shown = capsys.readouterr().err.splitlines()
    assert len(shown) == 3
    assert shown[0].startswith("step 2/5  loss 2.0000")


def test_resuming_cuts_what_was_logged_too_far(tmp_path: Path) -> None:
    with RunLog(tmp_path, 0, 9, every=1) as log:
        for step in range(1, 8):
            log.scalars(step, {"loss": 1.0})
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('{"step": 8, "lo')
    with RunLog(tmp_path, 5, 9, every=1) as log:
        log.scalars(6, {"loss": 2.0})
    assert [(line["step"], line["loss"]) for line in lines(tmp_path)] == [*((s, 1.0) for s in range(1, 6)), (6, 2.0)]


def test_sheets_are_pictures(tmp_path: Path) -> None:
    sheet = np.random.default_rng(0).integers(0, 255, (8, 10, 3), np.uint8)
    with RunLog(tmp_path, 0, 9) as log:
        log.sheet(3, sheet)
    with Image.open(tmp_path / "sheets" / "step-000000003.png") as picture:
        assert np.array_equal(np.asarray(picture), sheet)


def test_tensorboard_has_figures_and_sheets(tmp_path: Path) -> None:
    with RunLog(tmp_path, 0, 9, every=1) as log:
        log.scalars(1, {"loss": 0.25})
        log.sheet(1, np.zeros((8, 8, 3), np.uint8))
    (events,) = (tmp_path / "tensorboard").iterdir()
    content = events.read_bytes()
    assert b"loss" in content
    assert b"samples" in content


def test_without_tensorboard_it_says_so_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    real = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "tensorboard" else real(name))
    caplog.set_level(logging.WARNING)
    with RunLog(tmp_path, 0, 9, every=1) as log:
        log.scalars(1, {"loss": 0.25})
        log.scalars(2, {"loss": 0.25})
    assert len(caplog.records) == 1
    assert len(lines(tmp_path)) == 2
    assert not (tmp_path / "tensorboard").exists()


def test_a_log_that_cannot_be_written_is_said_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with RunLog(tmp_path, 0, 9, every=1) as log:
        (tmp_path / "metrics.jsonl").mkdir()
        log.scalars(1, {"loss": 0.25})
        log.scalars(2, {"loss": 0.25})
    assert len(caplog.records) == 1
    assert "training goes on" in caplog.text


def test_quiet_ranks_write_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with RunLog(tmp_path, 0, 9, every=1, quiet=True) as log:
        log.scalars(1, {"loss": 0.25})
        log.sheet(1, np.zeros((8, 8, 3), np.uint8))
        log.write("hello")
    assert not list(tmp_path.iterdir())
    assert capsys.readouterr() == ("", "")


def test_on_a_terminal_a_bar_is_drawn(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    with RunLog(tmp_path, 2, 9, every=1) as log:
        log.scalars(3, {"loss": 0.25})
        log.write("resumed at step 2")
    shown = capsys.readouterr().err
    assert "step 3/9" in shown
    assert "loss 0.2500" in shown
    assert "resumed at step 2" in shown
