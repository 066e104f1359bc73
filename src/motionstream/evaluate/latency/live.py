"""How a stream keeps up with a hand, in this process: `motionstream bench live --through library`.

A recorded gesture session is played to a stream as a viewer would. The viewer's clock shows `stream.fps` frames a
second from a small buffer; a chunk is started just in time for it (so that the hand is read late), gestures arrive
when the clock reaches their time, and where a chunk comes too late the picture, and the clock, stand still.

Everything is measured in wall time, in one thread: drawing and encoding are not in these figures. Those of a viewer of
the real server are in `served.py`.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from motionstream.evaluate import machine
from motionstream.evaluate.latency.session import POINTER, Coming, recorded_session
from motionstream.tracks import Tracks
from motionstream.tracks.events import Gesture, Prompt
from motionstream.tracks.record import Recording

__all__ = ["bench_live", "bench_model", "recorded_session"]

MARGIN = 1.05  # a chunk is started this many times its expected duration before it is needed
SLACK = 0.01  # seconds on top
REMEMBERED = 8  # chunks whose slowest is the expectation
LEAST_CHUNKS = 4  # fewer have no quarters to compare


class LiveStream(Protocol):
    """The public contract of a stream, as far as it is driven here."""

    prompt: str

    @property
    def size(self) -> tuple[int, int]: ...
    @property
    def fps(self) -> float: ...
    @property
    def chunk_frames(self) -> int: ...
    def step(self, tracks: Tracks | None) -> npt.NDArray[np.uint8]: ...


@dataclass(frozen=True)
class Clock:
    """Where wall time, in seconds, comes from and how it is waited for."""

    now: Callable[[], float] = time.perf_counter
    sleep: Callable[[float], None] = time.sleep


def bench_model(model: Any, seconds: float, seed: int = 0) -> dict[str, Any]:
    """`bench_live` on a model of the public contract, with the committed session and a picture of noise.

    What the picture shows does not change the work. The model's hash and dtype, where it has them, are reported.
    """
    width, height = model.size
    picture = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    recording = recorded_session()
    figures = bench_live(lambda: model.open(picture, prompt=recording.header.prompt, seed=seed), recording, seconds)
    dtype = getattr(model, "dtype", None)
    numbers = {} if dtype is None else {"dtype": str(dtype).removeprefix("torch.")}
    return {**figures, **numbers, "model_hash": getattr(model, "hash", None)}


def bench_live(
    stream_factory: Callable[[], LiveStream],
    recording: Recording,
    seconds: float,
    clock: Clock | None = None,
    memory_mib: Callable[[], float | None] = machine.resident_mib,
) -> dict[str, Any]:
    """Drive a stream for `seconds` of wall time with a session, over and over; figures, JSON-ready.

    fps: frames a second of computing, free running. displayed_fps: frames shown a second of wall time.
    first_frame_ms: from opening the stream to its first chunk. chunk_ms: of all later steps. settle_ms: of the work
    that a stream puts off until its frames are shown (`stream.settle`, if it has that); fps counts both.
    gesture_to_frame_ms: from a pointer event to the display of the first frame that knows of it.
    last_over_first_quarter: median chunk time at the end over that at the start.
    rss_growth: share by which memory grew after the first quarter of the chunks.
    missed_deadlines: chunks that came after their first frame was due; stalled_ms: how long the picture stood.
    Raises ValueError where so few seconds see fewer than 5 chunks.
    """
    if not 0 < seconds < math.inf:
        raise ValueError(f"{seconds} seconds: must be positive")
    run = _Run(stream_factory, recording, clock or Clock(), memory_mib)
    run.drive(seconds)
    return run.figures()


@dataclass
class _Run:
    """One measured session. Times are wall seconds, frames count from the start of the stream."""

    stream_factory: Callable[[], LiveStream]
    recording: Recording
    clock: Clock
    memory_mib: Callable[[], float | None]
    chunk_seconds: list[float] = field(default_factory=list)
    settle_seconds: list[float] = field(default_factory=list)
    chunk_frames: list[int] = field(default_factory=list)
    memory: list[float | None] = field(default_factory=list)
    heard: list[float] = field(default_factory=list)
    reactions: list[float] = field(default_factory=list)
    late: list[float] = field(default_factory=list)
    first_frame: float = 0.0
    elapsed: float = 0.0

    def drive(self, seconds: float) -> None:
        began = self.clock.now()
        self.stream = self.stream_factory()
        recording = self.recording.on(self.stream.size)
        self.session = recording.header.session()
        self.coming = Coming(recording)
        self.fps = float(self.stream.fps)
        self._step()
        self.zero = self.clock.now()  # wall time at which frame 0 is shown, moved on by every stall
        self.first_frame = self.zero - began
        self._settle()
        while self.clock.now() - began < seconds:
            self._wait()
            self._listen(until=self._buffered)
            known, self.heard = self.heard, []
            self._step()
            self._arrive(known)
            self._settle()
        self.elapsed = self.clock.now() - self.zero + sum(self.late)

    @property
    def _buffered(self) -> float:
        """Stream seconds up to which frames are there: the viewer's clock cannot pass it."""
        return self.session.next_frame / self.fps

    def _wait(self) -> None:
        """Sleep until the next chunk has to be started to be just in time."""
        expected = max(self.chunk_seconds[-REMEMBERED:])
        ahead = self.zero + self._buffered - self.clock.now() - expected * MARGIN - SLACK
        if ahead > 0:
            self.clock.sleep(ahead)

    def _listen(self, until: float) -> None:
        """Apply what the hand did by now, at most up to `until` on the viewer's clock, and note when it did."""
        shown = min(self.clock.now() - self.zero, until)
        for event in self.coming.until(shown):
            if isinstance(event, Gesture):
                self.session.apply(event)
            elif isinstance(event, Prompt):
                self.stream.prompt = event.text
            if isinstance(event, POINTER):
                self.heard.append(self.zero + event.time)

    def _step(self) -> None:
        frames = self.stream.chunk_frames
        tracks = self.session.tracks(self.session.next_frame, frames)
        began = self.clock.now()
        made = self.stream.step(tracks)
        self.chunk_seconds.append(self.clock.now() - began)
        if len(made) != frames:
            raise ValueError(f"the stream returned {len(made)} frames after promising {frames}")
        self.chunk_frames.append(frames)
        self.memory.append(self.memory_mib())

    def _settle(self) -> None:
        """Let a stream that can do part of its work while its frames are looked at do so now, as a server does."""
        began = self.clock.now()
        getattr(self.stream, "settle", lambda: None)()
        self.settle_seconds.append(self.clock.now() - began)

    def _arrive(self, known: Sequence[float]) -> None:
        """The chunk is here: shown when it is due, or at once, and then the clock has stood still.

        known: wall times of the pointer events that it is the first chunk to know of.
        """
        begin = self._buffered - self.chunk_frames[-1] / self.fps
        self._listen(until=begin)  # what was done before the clock stood still has its time from before
        late = self.clock.now() - (self.zero + begin)
        if late > 0:
            self.late.append(late)
            self.zero += late
        self.reactions += [self.zero + begin - wall for wall in known]

    def figures(self) -> dict[str, Any]:
        later, frames = self.chunk_seconds[1:], self.chunk_frames[1:]
        if len(later) < LEAST_CHUNKS:
            raise ValueError(f"only {len(later) + 1} chunks in the time given: measure for longer")
        quarter = max(1, len(later) // 4)
        whole = [step + settle for step, settle in zip(later, self.settle_seconds[1:], strict=True)]
        return {
            "fps": sum(frames) / sum(whole),
            "displayed_fps": self._displayed() / self.elapsed,
            "first_frame_ms": self.first_frame * 1e3,
            "chunk_ms": percentiles(later, (50, 95, 99)),
            "settle_ms": percentiles(self.settle_seconds[1:], (50, 95)),
            "gesture_to_frame_ms": percentiles(self.reactions, (50, 95)),
            "last_over_first_quarter": float(np.median(whole[-quarter:]) / np.median(whole[:quarter])),
            "rss_growth": growth(self.memory, quarter),
            "missed_deadlines": len(self.late),
            "stalled_ms": sum(self.late) * 1e3,
            "chunks": len(later) + 1,
            "gestures": len(self.reactions),
            "size": "x".join(map(str, self.stream.size)),
            "nominal_fps": self.fps,
            "machine": machine.describe(),
            "date": machine.today(),
        }

    def _displayed(self) -> float:
        """Frames shown by the time the run ended."""
        return min(float(self.session.next_frame), (self.elapsed - sum(self.late)) * self.fps)


def percentiles(values: Sequence[float], ranks: Sequence[int]) -> dict[str, float | None]:
    """{"p50": …} in milliseconds of values in seconds; None where there are none."""
    if not values:
        return {f"p{rank}": None for rank in ranks}
    return {f"p{rank}": float(np.percentile(values, rank)) * 1e3 for rank in ranks}


def growth(memory: Sequence[float | None], settled: int) -> float | None:
    """Share by which the last figure exceeds the one after `settled` chunks; None where memory is unknown."""
    start, end = memory[min(settled, len(memory) - 1)], memory[-1]
    return None if start is None or end is None else (end - start) / start
