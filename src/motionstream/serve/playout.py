"""When to start the next chunk: just before the viewer's play-out buffer is empty, so that pointer input is recent."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable

SAFETY_SECONDS = 0.015
FIRST_LEAD = 0.5  # seconds; until the first turnaround is known


class Playout:
    """The server's estimate of one viewer's play-out buffer, corrected by each acknowledgement.

    fps: frames shown a second. clock: monotonic seconds.
    """

    def __init__(self, fps: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._fps = fps
        self._clock = clock
        self._held = 0.0  # frames in the buffer at `_since`
        self._since = clock()
        self._running = True
        self._in_flight: OrderedDict[int, tuple[float, int]] = OrderedDict()
        self._lead = FIRST_LEAD
        self._spread = 0.0
        self._measured = False

    @property
    def unacknowledged(self) -> int:
        return len(self._in_flight)

    @property
    def lead(self) -> float:
        """Seconds from starting a chunk to its acknowledgement, plus a margin for how much that varies."""
        return self._lead + 2 * self._spread + SAFETY_SECONDS

    def sent(self, chunk: int, frames: int, started: float) -> None:
        """A chunk that was started at clock time `started` has been sent."""
        self._in_flight[chunk] = started, frames

    def acknowledged(self, chunk: int, buffered: int) -> None:
        """The viewer has this chunk (and all before it) and holds `buffered` frames. Unknown chunks are ignored."""
        if chunk not in self._in_flight:
            return
        started, _ = self._in_flight[chunk]
        while self._in_flight and next(iter(self._in_flight)) <= chunk:
            self._in_flight.popitem(last=False)
        self._learn(self._clock() - started)
        self._held, self._since = float(buffered), self._clock()

    def _learn(self, turnaround: float) -> None:
        """Mean and mean deviation of the turnaround, as TCP estimates its timeout."""
        if not self._measured:
            self._lead, self._spread, self._measured = turnaround, turnaround / 4, True
            return
        error = turnaround - self._lead
        self._lead += error / 8
        self._spread += (abs(error) - self._spread) / 4

    def empty_in(self) -> float:
        """Seconds until all frames that it holds, or that were sent, are shown."""
        sent = sum(frames for _, frames in self._in_flight.values())
        return max(0.0, self._left()) / self._fps + sent / self._fps

    def wait(self) -> float:
        """Seconds to wait before starting the next chunk."""
        return max(0.0, self.empty_in() - self.lead)

    def _left(self) -> float:
        shown = (self._clock() - self._since) * self._fps if self._running else 0.0
        return self._held - shown

    def pause(self) -> None:
        """No more frames are shown."""
        self._held, self._since, self._running = self._left(), self._clock(), False

    def resume(self) -> None:
        """Frames are shown again."""
        self._since, self._running = self._clock(), True
