"""A play-out buffer: shows received frames at the stream's own rate, and counts gaps.

The rule is that of the page (`serve/web/js/player.js`): a frame is shown at the first refresh of the screen after it is
due; after a gap of more than a frame the rate starts anew from there, it does not catch up.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

LATE_FRAMES = 1  # a frame shown so many frames after it was due is a missed deadline


@dataclass(frozen=True)
class Frame:
    """One frame: its number, the `seq` of the newest message in its chunk (`applied_seq`), (H, W, 3) uint8."""

    number: int
    applied: int
    pixels: npt.NDArray[np.uint8]


class Player:
    """Shows at `fps` frames a second; all times are wall seconds of the caller's clock.

    queue: frames not shown yet. due: when the next one is. intervals: between frames shown. missed: frames shown more
    than a frame late. underruns: times that the queue was empty when a frame was due; starved: seconds that the picture
    then stood too long.
    """

    def __init__(self, fps: float) -> None:
        self.fps = fps
        self.queue: deque[Frame] = deque()
        self.shown: Frame | None = None
        self.shown_at = self.first_at = self.due = 0.0
        self.frames = self.missed = self.underruns = 0
        self.intervals: list[float] = []
        self.starved = 0.0
        self._empty = False  # since a frame was due

    def add(self, frames: Iterable[Frame]) -> None:
        """Frames that have arrived."""
        self.queue.extend(frames)

    def seconds(self, now: float) -> float:
        """Stream seconds of what is on display, running on between frames but never past the next one."""
        if self.shown is None:
            return 0.0
        return self.shown.number / self.fps + min(now - self.shown_at, 1 / self.fps)

    def tick(self, now: float) -> Frame | None:
        """The screen refreshes: the frame newly shown, or None."""
        if self.shown is not None and now < self.due:
            return None
        if not self.queue:
            self._underrun()
            return None
        frame = self.queue.popleft()
        self._time(now)
        self.shown, self.shown_at = frame, now
        self.frames += 1
        return frame

    def finish(self, now: float) -> None:
        """The viewer leaves: a picture that stands still counts up to `now`."""
        if self._empty:
            self.starved += max(0.0, now - self.due)

    def _underrun(self) -> None:
        if self.shown is not None and not self._empty:
            self._empty = True
            self.underruns += 1

    def _time(self, now: float) -> None:
        step = 1 / self.fps
        if self.shown is None:
            self.first_at, self.due = now, now + step
            return
        late = now - self.due
        self.intervals.append(now - self.shown_at)
        self.starved += late if self._empty else 0.0
        self._empty = False
        self.missed += late > LATE_FRAMES * step
        self.due = now + step if late > LATE_FRAMES * step else self.due + step
