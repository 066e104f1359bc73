"""Frame rate and latency of a stream in this process: `motionstream bench live --through library`.

A recorded gesture session is played to a stream as a viewer would. The viewer's clock shows `stream.fps` frames a
second from a small buffer; a chunk is started just in time (so that the pointer is read as late as possible), gestures
arrive when the clock reaches their time, and where a chunk is late the picture, and the clock, stand still.

All times are wall times of one thread, without drawing, encoding and sending; `served.py` measures those too.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from motionstream.evaluate import machine
from motionstream.evaluate.live.session import POINTER, LoopedSession, recorded_session
from motionstream.stream.contract import StreamLike
from motionstream.tracks.events import Gesture, Prompt
from motionstream.tracks.record import Recording

MARGIN = 1.05  # a chunk is started this many times its expected duration before it is needed
SLACK = 0.01  # seconds on top
REMEMBERED = 8  # chunks; the slowest of them is the expected duration
LEAST_CHUNKS = 4  # fewer cannot be split into quarters


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
    stream_factory: Callable[[], StreamLike],
    recording: Recording,
    seconds: float,
    clock: Clock | None = None,
    memory_mib: Callable[[], float | None] = machine.resident_mib,
) -> dict[str, Any]:
    """Drive a stream for `seconds` of wall time with a session, over and over; figures, JSON-ready.

    fps: frames a second of computing, free running. displayed_fps: frames shown a second of wall time.
    first_frame_ms: from opening the stream to its first chunk. chunk_ms: of all later steps. settle_ms: of the work
    that a stream does after its frames are returned (`stream.settle`, if it has that); fps counts both.
    gesture_to_frame_ms: from a pointer event to the display of the first frame made with it.
    last_over_first_quarter: median chunk time at the end over that at the start.
    rss_growth: share by which memory grew after the first quarter of the chunks.
    missed_deadlines: chunks that came after their first frame was due; stalled_ms: how long the picture stood still.
    Raises ValueError where so few seconds hold fewer than 5 chunks.
    """
    if not 0 < seconds < math.inf:
        raise ValueError(f"{seconds} seconds: must be positive")
    run = _Run(stream_factory, recording, clock or Clock(), memory_mib)
    run.drive(seconds)
    return run.figures()


@dataclass
class _Run:
    """One measured run. Times are wall seconds, frames count from the start of the stream.

    zero: wall time at which frame 0 is shown, moved on by every stall. unshown: when pointer events happened that
    the next chunk is the first to include. late: by how much each late chunk was.
    """

    stream_factory: Callable[[], StreamLike]
    recording: Recording
    clock: Clock
    memory_mib: Callable[[], float | None]
    chunk_seconds: list[float] = field(default_factory=list)
    settle_seconds: list[float] = field(default_factory=list)
    chunk_frames: list[int] = field(default_factory=list)
    memory: list[float | None] = field(default_factory=list)
    unshown: list[float] = field(default_factory=list)
    reactions: list[float] = field(default_factory=list)
    late: list[float] = field(default_factory=list)
    zero: float = 0.0
    first_frame: float = 0.0
    elapsed: float = 0.0

    def drive(self, seconds: float) -> None:
        began = self.clock.now()
        self.stream = self.stream_factory()
        recording = self.recording.on(self.stream.size)
        self.session, self.events = recording.header.session(), LoopedSession(recording)
        self.fps = float(self.stream.fps)
        self._step()
        self.zero = self.clock.now()
        self.first_frame = self.zero - began
        self._settle()
        while self.clock.now() - began < seconds:
            self._wait()
            self._apply_events(until=self._buffered)
            included, self.unshown = self.unshown, []
            self._step()
            self._show(included)
            self._settle()
        self.elapsed = self.clock.now() - self.zero + sum(self.late)

    @property
    def _buffered(self) -> float:
        """Stream seconds up to which there are frames: the viewer's clock cannot pass it."""
        return self.session.next_frame / self.fps

    def _wait(self) -> None:
        """Sleep until the next chunk has to be started to be just in time."""
        expected = max(self.chunk_seconds[-REMEMBERED:])
        ahead = self.zero + self._buffered - self.clock.now() - expected * MARGIN - SLACK
        if ahead > 0:
            self.clock.sleep(ahead)

    def _apply_events(self, until: float) -> None:
        """Apply the events that happened by now, at most up to `until` on the viewer's clock, and note when."""
        shown = min(self.clock.now() - self.zero, until)
        for event in self.events.until(shown):
            if isinstance(event, Gesture):
                self.session.apply(event)
            elif isinstance(event, Prompt):
                self.stream.prompt = event.text
            if isinstance(event, POINTER):
                self.unshown.append(self.zero + event.time)

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
        """Let the stream do its remaining work now, while its frames are shown, as a server does."""
        began = self.clock.now()
        getattr(self.stream, "settle", lambda: None)()
        self.settle_seconds.append(self.clock.now() - began)

    def _show(self, included: Sequence[float]) -> None:
        """The chunk is shown when it is due, or at once if it is late; then the clock stood still until now.

        included: wall times of the pointer events that it is the first chunk to include.
        """
        begin = self._buffered - self.chunk_frames[-1] / self.fps
        self._apply_events(until=begin)  # events before the clock stood still keep their time
        late = self.clock.now() - (self.zero + begin)
        if late > 0:
            self.late.append(late)
            self.zero += late
        self.reactions += [self.zero + begin - wall for wall in included]

    def figures(self) -> dict[str, Any]:
        later, frames = self.chunk_seconds[1:], self.chunk_frames[1:]
        if len(later) < LEAST_CHUNKS:
            raise ValueError(f"only {len(later) + 1} chunks in the time given: measure for longer")
        quarter = max(1, len(later) // 4)
        whole = [step + settle for step, settle in zip(later, self.settle_seconds[1:], strict=True)]
        shown = min(float(self.session.next_frame), (self.elapsed - sum(self.late)) * self.fps)
        return {
            "fps": sum(frames) / sum(whole),
            "displayed_fps": shown / self.elapsed,
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


def percentiles(values: Sequence[float], ranks: Sequence[int]) -> dict[str, float | None]:
    """{"p50": …} in milliseconds of values in seconds; None where there are none."""
    if not values:
        return {f"p{rank}": None for rank in ranks}
    return {f"p{rank}": float(np.percentile(values, rank)) * 1e3 for rank in ranks}


def growth(memory: Sequence[float | None], settled: int) -> float | None:
    """Share by which the last figure exceeds the one after `settled` chunks; None where memory is unknown."""
    start, end = memory[min(settled, len(memory) - 1)], memory[-1]
    return None if start is None or end is None else (end - start) / start
