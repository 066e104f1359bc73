"""What a run reports: a progress bar or plain lines, `metrics.jsonl`, sample sheets, TensorBoard if it is installed."""

from __future__ import annotations

import importlib.util
import json
import logging
import math
import os
import sys
import time
from datetime import timedelta
from pathlib import Path
from types import TracebackType
from typing import Any

from PIL import Image as Picture
from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, TextColumn, TimeElapsedColumn

from motionstream.train.stage import Image

_log = logging.getLogger(__name__)


class RunLog:
    """Reports one session of a run, from step `first` on; with `quiet`, as on ranks after the first, nothing.

    `metrics.jsonl` gets a line for every `every` steps: the step, seconds a step, the mean of each scalar over them.
    """

    def __init__(self, run_dir: Path, first: int, steps: int, every: int = 10, quiet: bool = False) -> None:
        self.run_dir, self.steps, self.every, self.quiet = run_dir, steps, every, quiet
        self._sums: dict[str, tuple[float, int]] = {}
        self._since, self._since_step, self._warned = time.monotonic(), first, False
        self._bar = None if quiet or not sys.stderr.isatty() else _bar(first, steps)
        self._board = None
        if not quiet:
            _drop_after(run_dir / "metrics.jsonl", first)
            self._board = _tensorboard(run_dir / "tensorboard", first)

    def __enter__(self) -> RunLog:
        if self._bar:
            self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar:
            self._bar.stop()
        if self._board:
            self._board.close()

    def scalars(self, step: int, scalars: dict[str, float]) -> None:
        """Take in a step's scalars; every `every` steps report their means. step: steps done so far."""
        if self.quiet:
            return
        for key, value in scalars.items():
            if math.isfinite(value):
                total, count = self._sums.get(key, (0.0, 0))
                self._sums[key] = total + value, count + 1
        if self._bar:
            self._bar.update(self._bar.task_ids[0], completed=step)
        if step % self.every == 0 or step == self.steps:
            self._report(step)

    def sheet(self, step: int, image: Image) -> None:
        """Keep a sample sheet as `sheets/step-….png` and in TensorBoard."""
        if self.quiet:
            return
        path = self.run_dir / "sheets" / f"step-{step:09d}.png"
        try:
            path.parent.mkdir(exist_ok=True)
            Picture.fromarray(image).save(path)
            if self._board:
                self._board.add_image("samples", image, step, dataformats="HWC")
        except OSError as error:
            self._warn(error)

    def write(self, message: str) -> None:
        """One line above the bar."""
        if self.quiet:
            return
        if self._bar:
            self._bar.console.print(message, highlight=False, markup=False)
        else:
            print(message, file=sys.stderr, flush=True)

    def _report(self, step: int) -> None:
        now = time.monotonic()
        seconds = (now - self._since) / max(1, step - self._since_step)
        means = {key: total / count for key, (total, count) in self._sums.items()}
        self._sums, self._since, self._since_step = {}, now, step
        self._show(step, means, seconds)
        try:
            with (self.run_dir / "metrics.jsonl").open("a") as file:
                file.write(json.dumps({"step": step, "step_seconds": seconds, **means}) + "\n")
            if self._board:
                for key, value in {**means, "step_seconds": seconds}.items():
                    self._board.add_scalar(key, value, step)
        except OSError as error:
            self._warn(error)

    def _show(self, step: int, means: dict[str, float], seconds: float) -> None:
        loss = means.get("loss")
        shown = "–" if loss is None else f"{loss:.4f}"
        left = str(timedelta(seconds=round(seconds * (self.steps - step))))
        if self._bar:
            self._bar.update(self._bar.task_ids[0], loss=shown, pace=f"{seconds:.2f} s/step", left=left)
        else:
            rest = " ".join(f"{key} {value:.4g}" for key, value in means.items() if key != "loss")
            self.write(f"step {step}/{self.steps}  loss {shown}  {seconds:.2f} s/step  left {left}  {rest}")

    def _warn(self, error: OSError) -> None:
        if not self._warned:
            _log.warning("the run's log cannot be written (%s): training goes on", error)
            self._warned = True


def _bar(first: int, steps: int) -> Progress:
    columns: tuple[str | ProgressColumn, ...] = (
        TextColumn("step {task.completed}/{task.total}"),
        BarColumn(),
        TextColumn("loss {task.fields[loss]}  {task.fields[pace]}"),
        TimeElapsedColumn(),
        TextColumn("left {task.fields[left]}"),
    )
    bar = Progress(*columns, console=Console(stderr=True))
    bar.add_task("train", total=steps, completed=first, loss="–", pace="", left="–")
    return bar


def _drop_after(path: Path, step: int) -> None:
    """Cut what a killed session logged after the step it is resumed from, and a last line that was never finished."""
    if not path.is_file():
        return
    kept = [line for line in path.read_text().splitlines() if _step_of(line) <= step]
    draft = path.with_suffix(".draft")
    draft.write_text("".join(line + "\n" for line in kept))
    os.replace(draft, path)


def _step_of(line: str) -> float:
    try:
        return float(json.loads(line)["step"])
    except (ValueError, KeyError, TypeError):
        return math.inf


def _tensorboard(folder: Path, first: int) -> Any:
    if importlib.util.find_spec("tensorboard") is None:
        _log.warning("TensorBoard is not installed (extra 'train'): figures go to metrics.jsonl, pictures to sheets/")
        return None
    from torch.utils.tensorboard import SummaryWriter

    return SummaryWriter(str(folder), purge_step=first)
