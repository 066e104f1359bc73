"""A live stream that takes turns with another one: what `bench tricks` compares.

A turn is one step that is not counted and some that are; both streams of a pair go through the same gestures from the
same picture, so that the frames of a turn can be laid on one another.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import torch
from safetensors.torch import load_file

from motionstream.evaluate.live.session import textured_picture
from motionstream.evaluate.speed.remote import Remote
from motionstream.evaluate.speed.step import SETTLING, Hand
from motionstream.evaluate.speed.stopwatch import Stopwatch, Took
from motionstream.evaluate.speed.without import CPU, laid_out
from motionstream.stream.model import StreamingModel

WORKER = "motionstream.evaluate.speed.turns_worker"


@dataclass(frozen=True)
class Turn:
    """What the counted steps took, and the frames of all (F, H, W, 3)."""

    times: list[Took]
    frames: npt.NDArray[np.uint8]


class Form(Protocol):
    """Whatever takes turns."""

    def turn(self, steps: int) -> Turn:
        """The next steps, after one that is not counted."""
        ...


class LiveForm:
    """A stream of a model, driven by the committed gesture session, its cache full.

    A step is everything from tracks to frames, and the commit that a server does after it.
    layout: in memory, of what is convolved.
    """

    def __init__(self, model: StreamingModel, seed: int = 0, layout: torch.memory_format = torch.channels_last) -> None:
        self.layout, self._watch = layout, Stopwatch(CPU)
        with laid_out(layout):
            self.stream = model.open(textured_picture(model.size, seed), seed=seed)
            self._hand = Hand(self.stream)
            while self.stream.state.cache.filled < model.rollout_config.sink + model.rollout_config.window:
                self._step()
            for _ in range(SETTLING):
                self._step()

    def turn(self, steps: int) -> Turn:
        """The next steps, after one that is not counted."""
        with laid_out(self.layout):
            frames, taken = zip(*(self._step() for _ in range(steps + 1)), strict=True)
        return Turn(list(taken[1:]), np.concatenate(frames))

    def _step(self) -> tuple[npt.NDArray[np.uint8], Took]:
        tracks = self._hand.tracks(self.stream.chunk_frames)

        def work() -> npt.NDArray[np.uint8]:
            frames = self.stream.step(tracks)
            self.stream.settle()
            return frames

        return self._watch.timed(work)


class FarForm(Remote):
    """A `LiveForm` in a process of its own, with the environment that it is given. Use it with `with`."""

    def __init__(self, folder: Path, dtype: torch.dtype, seed: int, environment: Mapping[str, str]) -> None:
        super().__init__(WORKER, "a stream in a process of its own", environment)
        self.open(
            {
                "do": "open",
                "folder": str(folder.resolve()),
                "dtype": str(dtype).removeprefix("torch."),
                "seed": seed,
                "threads": torch.get_num_threads(),
            }
        )

    def turn(self, steps: int) -> Turn:
        """The next steps, after one that is not counted."""
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "frames.safetensors"
            answer = self.ask({"do": "turn", "steps": steps, "file": str(file)})
            return Turn([Took(*took) for took in answer["took"]], load_file(file)["frames"].numpy())

    def environment(self, names: Sequence[str]) -> dict[str, str | None]:
        """What it has in these variables."""
        found: dict[str, str | None] = self.ask({"do": "environment", "names": list(names)})["environment"]
        return found


@dataclass(frozen=True)
class Round:
    """One turn of each side."""

    having: list[Took]
    lacking: list[Took]
    farthest: int
    """The most by which a pixel of one side differs from the other's, of 255."""
    mean: float
    """By how much pixels differ in the mean."""

    def ratio(self, clock: Callable[[Took], float]) -> float:
        """Time without over time with."""
        lacking, having = (np.median([clock(took) for took in times]) for times in (self.lacking, self.having))
        return float(lacking / having)


@dataclass(frozen=True)
class Pair:
    """The stream that has a trick, and the one that lacks it."""

    having: Form
    lacking: Form

    def round(self, index: int, steps: int) -> Round:
        """Each takes its turn, the other one first each time."""
        if index % 2:
            lacking, having = self.lacking.turn(steps), self.having.turn(steps)
        else:
            having, lacking = self.having.turn(steps), self.lacking.turn(steps)
        apart = np.abs(having.frames.astype(np.int16) - lacking.frames)
        return Round(having.times, lacking.times, int(apart.max()), float(apart.mean()))


def figures(rounds: Sequence[Round], same_picture: bool) -> dict[str, Any]:
    """Of a pair's rounds, JSON-ready: `times` by the wall and by processor time, what a step takes, and frames."""
    sides = {"with_ms": [round.having for round in rounds], "without_ms": [round.lacking for round in rounds]}
    difference = {
        "max": max(round.farthest for round in rounds),
        "mean": float(np.mean([round.mean for round in rounds])),
    }
    return {
        "times": _spread([round.ratio(lambda took: took.wall) for round in rounds]),
        "times_process": _spread([round.ratio(lambda took: took.process) for round in rounds]),
        **{
            name: float(np.median([took.wall for turn in turns for took in turn])) * 1e3
            for name, turns in sides.items()
        },
        "same_picture": same_picture,
        "difference": difference,
    }


def _spread(ratios: Sequence[float]) -> dict[str, float]:
    return {"median": float(np.median(ratios)), "min": min(ratios), "max": max(ratios)}
