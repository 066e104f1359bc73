"""The loop: bad steps, limits, signals, one run a folder."""

from __future__ import annotations

import fcntl
import json
import math
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from tests.train.tiny_stage import TinyStage, tiny_recipe

from motionstream.train import loop
from motionstream.train.checkpoint import Checkpoints
from motionstream.train.loop import DivergedError, Outcome, run


@pytest.fixture(autouse=True)
def patience(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop, "PATIENCE", 3)


def train(
    folder: Path,
    stage: TinyStage,
    steps: int = 10,
    minutes: float | None = None,
    finish: bool = False,
    save_minutes: float = 60,
) -> Outcome:
    return run(stage, folder, tiny_recipe(steps, save_minutes=save_minutes), minutes, finish)


def metrics(folder: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def test_runs_to_the_end(tmp_path: Path) -> None:
    outcome = train(tmp_path, TinyStage(), 12)
    assert (outcome.step, outcome.reason) == (12, "done")
    assert [line["step"] for line in metrics(tmp_path)] == list(range(1, 13))
    assert metrics(tmp_path)[-1]["loss"] < metrics(tmp_path)[0]["loss"]
    assert Checkpoints(tmp_path / "checkpoints").steps() == [12]
    assert sorted(path.name for path in (tmp_path / "sheets").iterdir()) == [
        "step-000000007.png",
        "step-000000012.png",
    ]


def test_a_finished_run_is_left_alone(tmp_path: Path) -> None:
    train(tmp_path, TinyStage(), 5)
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "checkpoints").rglob("*")}
    assert train(tmp_path, TinyStage(), 5).reason == "done"
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "checkpoints").rglob("*")} == before


def test_bad_steps_are_survived(tmp_path: Path) -> None:
    stage = TinyStage(bad=frozenset({2, 5, 6}))
    assert train(tmp_path, stage, 10).reason == "done"
    skipped = [line["step"] for line in metrics(tmp_path) if line["skipped"]]
    assert skipped == [3, 6, 7]
    assert all(math.isfinite(value) for line in metrics(tmp_path) for value in line.values())
    assert all(torch.isfinite(p).all() for p in (*stage.net.parameters(), *stage.ema.parameters()))


def test_too_many_bad_steps_end_the_run_with_a_sound_checkpoint(tmp_path: Path) -> None:
    stage = TinyStage(bad=frozenset(range(4, 50)))
    with pytest.raises(DivergedError, match="3 steps in a row up to step 7"):
        train(tmp_path, stage, 50, save_minutes=0)
    saved = Checkpoints(tmp_path / "checkpoints").newest()
    assert saved is not None
    assert saved.step == 6
    assert all(torch.isfinite(t).all() for module in saved.weights.values() for t in module.values())


def test_patience_counts_over_a_restart(tmp_path: Path) -> None:
    bad = frozenset(range(4, 50))
    train_until(tmp_path, TinyStage(bad), 6)
    with pytest.raises(DivergedError, match="up to step 7"):
        train(tmp_path, TinyStage(bad), 50)


def train_until(folder: Path, stage: TinyStage, steps: int, of: int = 50) -> Outcome:
    """Stop by a real signal in the last of `steps`."""
    inner = stage.step

    def step(number: int, progress: float) -> dict[str, float]:
        if number + 1 == steps:
            os.kill(os.getpid(), signal.SIGTERM)
        return inner(number, progress)

    stage.step = step  # type: ignore[method-assign]
    return train(folder, stage, of)


def test_poisoned_weights_are_not_saved(tmp_path: Path) -> None:
    """A stage that changes weights past the guard cannot publish them."""
    stage = TinyStage()
    inner = stage.step

    def step(number: int, progress: float) -> dict[str, float]:
        result = inner(number, progress)
        if number == 6:
            stage.net.head.bias.data[0] = math.inf
        return result

    stage.step = step  # type: ignore[method-assign]
    with pytest.raises(DivergedError, match=r"net\.head\.bias is not finite at step 7"):
        train(tmp_path, stage, 10, save_minutes=0)
    assert Checkpoints(tmp_path / "checkpoints").steps() == [5, 6]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_after_the_step_and_saves(tmp_path: Path, number: signal.Signals) -> None:
    stage, before = TinyStage(), signal.getsignal(number)
    inner = stage.step

    def step(done: int, progress: float) -> dict[str, float]:
        if done == 3:
            os.kill(os.getpid(), number)
        return inner(done, progress)

    stage.step = step  # type: ignore[method-assign]
    outcome = train(tmp_path, stage, 100)
    assert (outcome.step, outcome.reason) == (4, "signal")
    assert Checkpoints(tmp_path / "checkpoints").steps() == [4]
    assert signal.getsignal(number) is before


@pytest.fixture
def interruptible() -> Iterator[None]:
    """Ctrl-C as a terminal's process has it; one started in the background by a shell ignores it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("interruptible")
def test_a_second_interrupt_acts_at_once(tmp_path: Path) -> None:
    stage = TinyStage()

    def step(done: int, progress: float) -> dict[str, float]:
        for _ in range(2):
            os.kill(os.getpid(), signal.SIGINT)
        raise AssertionError("not reached")

    stage.step = step  # type: ignore[method-assign]
    with pytest.raises(KeyboardInterrupt):
        train(tmp_path, stage)


class Clock:
    """Time that only steps take: one second each."""

    def __init__(self) -> None:
        self.now = 0.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    own = Clock()
    monkeypatch.setattr("motionstream.train.loop.time", own)
    return own


def ticking(clock: Clock) -> TinyStage:
    stage = TinyStage()
    inner = stage.step

    def step(done: int, progress: float) -> dict[str, float]:
        clock.now += 1
        return inner(done, progress)

    stage.step = step  # type: ignore[method-assign]
    return stage


def test_minutes_end_a_session(tmp_path: Path, clock: Clock) -> None:
    assert train(tmp_path, ticking(clock), 100, minutes=0.5) == Outcome(30, "minutes", 30)
    assert train(tmp_path, ticking(clock), 100, minutes=0.25) == Outcome(45, "minutes", 45)
    assert train(tmp_path, ticking(clock), 50, minutes=0.25) == Outcome(50, "done", 50)


def test_saved_every_so_many_minutes(tmp_path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop, "KEEP", 9)
    train(tmp_path, ticking(clock), 25, save_minutes=1 / 6)
    assert Checkpoints(tmp_path / "checkpoints").steps() == [10, 20, 25]


def test_finishing_lets_the_rate_fall_with_the_minutes(tmp_path: Path, clock: Clock) -> None:
    stage = ticking(clock)
    assert train(tmp_path, stage, 10**6, minutes=0.5, finish=True) == Outcome(30, "minutes", 30)
    expected = [0.01 * min(1, (30 - step) / 30 / 0.3) for step in range(5, 30)]
    assert stage.rates[5:] == pytest.approx(expected)
    assert train(tmp_path, ticking(clock), 10**6, minutes=0.5, finish=True) == Outcome(30, "done", 30)


def test_finishing_goes_on_from_where_the_run_was(tmp_path: Path, clock: Clock) -> None:
    train(tmp_path, ticking(clock), 60, minutes=0.5)
    stage = ticking(clock)
    train(tmp_path, stage, 60, minutes=0.25, finish=True)
    assert len(stage.rates) == 15, "half of the run in half the time left for it"
    assert stage.rates == pytest.approx([0.01 * min(1, (15 - step) / 30 / 0.3) for step in range(15)])


def test_two_runs_cannot_share_a_folder(tmp_path: Path) -> None:
    train(tmp_path, TinyStage(), 2)
    with (tmp_path / "lock").open("r+") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        with pytest.raises(ValueError, match=f"being trained by process {os.getpid()}"):
            train(tmp_path, TinyStage(), 4)
    assert train(tmp_path, TinyStage(), 4).step == 4


def test_without_resume_an_old_run_is_not_overwritten(tmp_path: Path) -> None:
    train(tmp_path, TinyStage(), 2)
    with pytest.raises(ValueError, match="holds a run already"):
        run(TinyStage(), tmp_path, tiny_recipe(4), resume=False)


def test_a_checkpoint_of_another_stage_is_refused(tmp_path: Path) -> None:
    train(tmp_path, TinyStage(), 2)
    other = TinyStage()
    other.modules = lambda: {"vae": other.net}  # type: ignore[method-assign]
    with pytest.raises(ValueError, match="no module 'vae'"):
        train(tmp_path, other, 4)


def test_a_full_disk_does_not_stop_it(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("motionstream.train.checkpoint.save_file", full)
    assert train(tmp_path, TinyStage(), 3, save_minutes=0).reason == "done"
    said = [record.message for record in caplog.records]
    assert len(said) == 4, "after each step, and once more at the end"
    assert all("No space left" in message for message in said)
    assert Checkpoints(tmp_path / "checkpoints").steps() == []
