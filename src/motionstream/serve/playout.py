"""When to make the next chunk: just before the viewer's player runs dry, so that pointer input is taken late."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable

SAFETY_SECONDS = 0.015
FIRST_LEAD = 0.5  # seconds; until the first turnaround is known


class Playout:
    """The server's picture of one viewer's player, corrected by each acknowledgement.

    fps: frames the player shows a second. clock: monotonic seconds.
    """

    def __init__(self, fps: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._fps = fps
        self._clock = clock
        self._held = 0.0  # frames in the player at `_since`
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
        """Seconds from asking for a chunk to its arrival, with room for how much that varies."""
        return self._lead + 2 * self._spread + SAFETY_SECONDS

    def sent(self, chunk: int, frames: int, asked: float) -> None:
        """A chunk that was asked for at clock time `asked` is on its way."""
        self._in_flight[chunk] = asked, frames

    def acknowledged(self, chunk: int, buffered: int) -> None:
        """The viewer has this chunk (and all before it) and holds `buffered` frames. Unknown chunks are ignored."""
        if chunk not in self._in_flight:
            return
        asked, _ = self._in_flight[chunk]
        while self._in_flight and next(iter(self._in_flight)) <= chunk:
            self._in_flight.popitem(last=False)
        self._learn(self._clock() - asked)
        self._held, self._since = float(buffered), self._clock()

    def _learn(self, turnaround: float) -> None:
        """Mean and mean deviation of the turnaround, as TCP estimates its timeout."""
        if not self._measured:
            self._lead, self._spread, self._measured = turnaround, turnaround / 4, True
            return
        error = turnaround - self._lead
        self._lead += error / 8
        self._spread += (abs(error) - self._spread) / 4

    def dry_in(self) -> float:
        """Seconds until the player has shown all it holds and all that is on its way."""
        coming = sum(frames for _, frames in self._in_flight.values())
        return max(0.0, self._left()) / self._fps + coming / self._fps

    def wait(self) -> float:
        """Seconds to wait before asking for the next chunk."""
        return max(0.0, self.dry_in() - self.lead)

    def _left(self) -> float:
        shown = (self._clock() - self._since) * self._fps if self._running else 0.0
        return self._held - shown

    def pause(self) -> None:
        """The player stands still."""
        self._held, self._since, self._running = self._left(), self._clock(), False

    def resume(self) -> None:
        """The player goes on with what it held."""
        self._since, self._running = self._clock(), True
