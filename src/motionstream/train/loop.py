"""The training loop: one stage, from wherever it was left to the last step, the time limit or a signal."""

from __future__ import annotations

import fcntl
import logging
import math
import os
import random
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np
import torch

from motionstream.train.checkpoint import Checkpoint, Checkpoints, load
from motionstream.train.log import RunLog
from motionstream.train.parallelize import any_rank, as_sharded_as, from_all_ranks, gathered, rank, world_size
from motionstream.train.recipe import Recipe, digest
from motionstream.train.serialise import pack, unpack
from motionstream.train.stage import Stage

_log = logging.getLogger(__name__)

KEEP = 2
"""Checkpoints of a run that are kept."""
PATIENCE = 20
"""Bad steps in a row before the run stops."""


class DivergedError(RuntimeError):
    """Too many steps in a row were not finite, or the weights are not."""


@dataclass(frozen=True)
class Outcome:
    """How a session ended. step: steps done in all; reason: "done", "minutes" or "signal"; seconds: trained in all."""

    step: int
    reason: str
    seconds: float


def run(
    stage: Stage, run_dir: Path, recipe: Recipe, minutes: float | None = None, finish: bool = False, resume: bool = True
) -> Outcome:
    """Train until done, out of time or asked to stop (SIGTERM, SIGINT); saves before it returns.

    run_dir gets checkpoints/, metrics.jsonl, sheets/, tensorboard/. With resume it goes on from the newest valid
    checkpoint exactly as if it had never stopped; without, a run_dir that holds checkpoints is refused.
    minutes: wall limit of this session. finish: this session is the last one, so the rate's decay ends with its
    minutes, and a run that was finished so is done.
    Raises DivergedError, with nothing bad saved; ValueError if another process trains in run_dir.
    """
    run_dir.mkdir(parents=True, exist_ok=True)
    with _alone_in(run_dir), _Stop() as stop:
        return _Run(stage, run_dir, recipe, minutes, finish, resume).go(stop)


class _Run:
    """One session of training. Rank 0 writes; the other ranks take part in what is collective."""

    def __init__(
        self, stage: Stage, run_dir: Path, recipe: Recipe, minutes: float | None, finish: bool, resume: bool
    ) -> None:
        self.stage, self.run_dir, self.recipe = stage, run_dir, recipe
        self.limit, self.finish = math.inf if minutes is None else 60 * minutes, finish
        self.checkpoints = Checkpoints(run_dir / "checkpoints", KEEP)
        self.step, self.bad, self.saved_step = 0, 0, -1
        self.seconds_before, self.progress_before = 0.0, 0.0
        self.began = time.monotonic()
        self._restore(resume)

    def go(self, stop: _Stop) -> Outcome:
        last_save = self.began = time.monotonic()
        with RunLog(self.run_dir, self.step, self.recipe.steps, self.recipe.log_every, quiet=rank() > 0) as log:
            if self.step:
                log.write(f"resumed at step {self.step} of {self.recipe.steps}")
            while (reason := self._ended(stop)) is None:
                self._one_step(log)
                if any_rank(time.monotonic() - last_save >= 60 * self.recipe.save_minutes):
                    self._save()
                    last_save = time.monotonic()
            self._save()
            log.write(f"stopped at step {self.step} of {self.recipe.steps}: {reason}")
        return Outcome(self.step, reason, self._seconds())

    def _one_step(self, log: RunLog) -> None:
        scalars = self.stage.step(self.step, self.progress())
        self.step += 1
        self._judge(scalars)
        log.scalars(self.step, scalars)
        if self.step % self.recipe.sheet_every == 0 or self.step == self.recipe.steps:
            before = _random_state()
            sheet = self.stage.sheet()
            if sheet is not None:
                log.sheet(self.step, sheet)
            _restore_random(before)

    def progress(self) -> float:
        """How far the run is, 0 … 1: by steps, and when it has to finish in this session by its minutes as well."""
        by_steps = self.step / self.recipe.steps
        if not self.finish:
            return by_steps
        share = min(1.0, (time.monotonic() - self.began) / self.limit)
        return max(by_steps, self.progress_before + (1 - self.progress_before) * share)

    def _ended(self, stop: _Stop) -> str | None:
        if self.step >= self.recipe.steps or (self.finish and self.progress_before >= 1):
            return "done"
        if any_rank(stop.asked):
            return "signal"
        return "minutes" if any_rank(time.monotonic() - self.began >= self.limit) else None

    def _judge(self, scalars: dict[str, float]) -> None:
        bad = bool(scalars.get("skipped")) or not all(math.isfinite(value) for value in scalars.values())
        self.bad = self.bad + 1 if any_rank(bad) else 0
        if self.bad >= PATIENCE:
            raise DivergedError(
                f"{self.bad} steps in a row up to step {self.step} had a loss or gradient that is not finite: "
                "lower the learning rate or the clip; the last checkpoint is sound"
            )

    def _seconds(self) -> float:
        return self.seconds_before + time.monotonic() - self.began

    def _save(self) -> None:
        """Save a checkpoint of this step. Raises DivergedError if a weight is not finite."""
        if self.step == self.saved_step:
            return
        weights = {
            name: {key: gathered(tensor.detach()) for key, tensor in module.state_dict().items()}
            for name, module in self.stage.modules().items()
        }
        _refuse_not_finite(weights, self.step)  # what is sharded is whole in the first rank: its answer counts for all
        optimizers = {name: optimizer.state_dict() for name, optimizer in self.stage.optimizers().items()}
        stages = from_all_ranks(self.stage.state_dict())
        state = {
            "optimizers": unpack(*pack(optimizers)),  # sharded moments are gathered, which takes every rank
            "random": from_all_ranks(_random_state()),
            "stage": stages[0],
            "other_stages": stages[1:],
            "loop": {"seconds": self._seconds(), "progress": self.progress(), "bad": self.bad},
        }
        refused = rank() == 0 and not self.checkpoints.save(self.step, weights, state, digest(self.recipe))
        if not any_rank(refused):
            self.saved_step = self.step

    def _restore(self, resume: bool) -> None:
        if not resume and self.checkpoints.steps():
            raise ValueError(f"{self.run_dir} holds a run already: resume it, or name another folder")
        checkpoint = None
        if rank() == 0:
            self.checkpoints.clean()
            checkpoint = self.checkpoints.newest()
        step = from_all_ranks(checkpoint and checkpoint.step)[0]
        if step is not None:
            self._take(checkpoint or load(self.checkpoints.path(step)))

    def _take(self, checkpoint: Checkpoint) -> None:
        for name, module in self.stage.modules().items():
            if name not in checkpoint.weights:
                raise ValueError(f"the checkpoint in {self.run_dir} has no module {name!r}: it is of another stage")
            own = module.state_dict()
            saved = checkpoint.weights[name]
            module.load_state_dict({k: as_sharded_as(v, own[k]) if k in own else v for k, v in saved.items()})
        for name, optimizer in self.stage.optimizers().items():
            optimizer.load_state_dict(checkpoint.state["optimizers"][name])
        loop = checkpoint.state["loop"]
        self.step = self.saved_step = checkpoint.step
        self.bad, self.seconds_before, self.progress_before = loop["bad"], loop["seconds"], loop["progress"]
        stages = [checkpoint.state["stage"], *(checkpoint.state["other_stages"] if rank() else [])]
        self.stage.load_state_dict(stages[rank() % len(stages)])
        generators = checkpoint.state["random"]
        if len(generators) == world_size():
            _restore_random(generators[rank()])
        else:
            _log.warning("resumed on %d ranks a run of %d: random draws differ", world_size(), len(generators))


def _refuse_not_finite(weights: dict[str, dict[str, torch.Tensor]], step: int) -> None:
    bad = [
        f"{module}.{name}"
        for module, tensors in weights.items()
        for name, tensor in tensors.items()
        if tensor.is_floating_point() and not torch.isfinite(tensor).all()
    ]
    if any_rank(bool(bad)):
        where = bad[0] if bad else "a weight of another rank"
        raise DivergedError(f"{where} is not finite at step {step}: nothing saved, resume from before")


def _random_state() -> dict[str, Any]:
    """All global random generators of this process."""
    cuda = torch.cuda.get_rng_state_all() if torch.cuda.is_available() else []
    numpy = np.random.get_state(legacy=False)
    return {"python": random.getstate(), "numpy": numpy, "torch": torch.get_rng_state(), "cuda": cuda}


def _restore_random(state: dict[str, Any]) -> None:
    random.setstate(state["python"])
    np.random.set_state(state["numpy"])
    torch.set_rng_state(state["torch"])
    if len(state["cuda"]) == torch.cuda.device_count():
        torch.cuda.set_rng_state_all(state["cuda"])


class _Stop:
    """The first SIGTERM or SIGINT asks to stop after this step; a second one acts at once, as without this."""

    def __init__(self) -> None:
        self.asked = False
        self._before: dict[int, Any] = {}

    def __enter__(self) -> _Stop:
        if threading.current_thread() is not threading.main_thread():
            return self  # only the main thread is sent signals
        for number in (signal.SIGTERM, signal.SIGINT):
            self._before[number] = signal.signal(number, self._ask)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _ask(self, number: int, frame: FrameType | None) -> None:
        self.asked = True
        self.__exit__()


@contextmanager
def _alone_in(run_dir: Path) -> Iterator[None]:
    """Hold the run's lock, which the system releases however the process ends; only rank 0 takes it."""
    with (run_dir / "lock").open("a+") as file:
        if rank() == 0:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                file.seek(0)
                raise ValueError(f"{run_dir} is being trained by process {file.read().strip()}") from None
            file.truncate(0)
            file.write(str(os.getpid()))
            file.flush()
        yield
