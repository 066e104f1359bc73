"""Paired rounds: forms of the same work take turns in one process, and ratios are taken within a round, so that what
else the machine does meets both.

A round is A B B A, or B A A B every other time. What is given is the median ratio over rounds with its 95 % bootstrap
interval, by the wall and by processor time, which other programs disturb less.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import torch

from benchmarks.speed.stopwatch import Stopwatch, Took
from motionstream.evaluate.live.session import LoopedSession, recorded_session, textured_picture
from motionstream.stream.model import StreamingModel
from motionstream.stream.stream import Stream
from motionstream.tracks import Tracks
from motionstream.tracks.events import Gesture
from motionstream.vae import steps

SETTLING = 2
"""Steps run after a cache has filled that are not counted."""
BOOTSTRAPS = 2000
CPU = torch.device("cpu")


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


class RecordedGestures:
    """The committed gesture session on the clock of a stream; its changes of prompt are left out."""

    def __init__(self, stream: Stream) -> None:
        recording = recorded_session().on(stream.size)
        self.session, self.coming, self.fps = recording.header.session(), LoopedSession(recording), stream.fps

    def tracks(self, frames: int) -> Tracks:
        """Of the next frames."""
        for event in self.coming.until(self.session.next_frame / self.fps):
            if isinstance(event, Gesture):
                self.session.apply(event)
        return self.session.tracks(self.session.next_frame, frames)


class LiveForm:
    """A stream of a model on a CPU, driven by the recorded gestures, its cache full.

    A step is everything from tracks to frames, and the commit that a server does after it. layout: order in memory of
    what is convolved.
    """

    def __init__(self, model: StreamingModel, layout: torch.memory_format = torch.channels_last) -> None:
        self.layout, self._watch = layout, Stopwatch(CPU)
        with laid_out(layout):
            self.stream = model.open(textured_picture(model.size, 0))
            self._gestures = RecordedGestures(self.stream)
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
        tracks = self._gestures.tracks(self.stream.chunk_frames)

        def work() -> npt.NDArray[np.uint8]:
            frames = self.stream.step(tracks)
            self.stream.settle()
            return frames

        return self._watch.timed(work)


@contextmanager
def laid_out(layout: torch.memory_format) -> Iterator[None]:
    """Meanwhile what the VAE and the detail network convolve lies in memory like this."""
    before, steps.LAYOUT = steps.LAYOUT, layout
    try:
        yield
    finally:
        steps.LAYOUT = before


@dataclass(frozen=True)
class Round:
    """Two turns of each side. farthest, share: the most by which a value of a frame (0 to 255) differs between the
    sides, and the share of values that do."""

    having: list[Took]
    lacking: list[Took]
    farthest: int
    share: float

    def ratio(self, clock: Callable[[Took], float]) -> float:
        """Time without over time with."""
        lacking, having = (np.median([clock(took) for took in times]) for times in (self.lacking, self.having))
        return float(lacking / having)


@dataclass(frozen=True)
class Pair:
    """The form that has an optimisation, and the one that lacks it."""

    having: Form
    lacking: Form

    def round(self, index: int, steps: int) -> Round:
        """Both take two turns of so many steps, the other one first each time."""
        first, second = (self.lacking, self.having) if index % 2 else (self.having, self.lacking)
        outer, inner = [first.turn(steps)], [second.turn(steps), second.turn(steps)]
        outer.append(first.turn(steps))
        having, lacking = (inner, outer) if index % 2 else (outer, inner)
        apart = [abs(one.frames.astype(np.int16) - other.frames) for one, other in zip(having, lacking, strict=True)]
        return Round(
            [took for turn in having for took in turn.times],
            [took for turn in lacking for took in turn.times],
            max(int(one.max()) for one in apart),
            float(np.mean([(one > 0).mean() for one in apart])),
        )


def figures(rounds: Sequence[Round]) -> dict[str, Any]:
    """Of a pair's rounds, JSON-ready: `times` by the wall and by processor time, what a step takes, and frames."""
    return {
        "times": spread([round.ratio(lambda took: took.wall) for round in rounds]),
        "times_process": spread([round.ratio(lambda took: took.process) for round in rounds]),
        "with_ms": _milliseconds([round.having for round in rounds]),
        "without_ms": _milliseconds([round.lacking for round in rounds]),
        "difference": {
            "max": max(round.farthest for round in rounds),
            "share": float(np.mean([round.share for round in rounds])),
        },
    }


def spread(ratios: Sequence[float]) -> dict[str, float]:
    """The median and its 95 % bootstrap interval, from `low` to `high`."""
    drawn = np.random.default_rng(0).choice(ratios, (BOOTSTRAPS, len(ratios)))
    low, high = np.percentile(np.median(drawn, axis=1), (2.5, 97.5))
    return {"median": float(np.median(ratios)), "low": float(low), "high": float(high)}


def _milliseconds(turns: Sequence[Sequence[Took]]) -> float:
    return float(np.median([took.process for turn in turns for took in turn])) * 1e3
