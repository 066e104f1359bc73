"""The gesture session that `bench live` plays: half a minute of what people do in the studio, as a recording.

Drags of several lengths and speeds, two at once, pins, a path drawn ahead, a drag with a fall-off, rests, a change of
prompt. `sessions/studio.jsonl` was written by `tests/evaluate/live/composed_session.py`.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from motionstream.tracks import events
from motionstream.tracks.events import Clear, Event, GridDown, Move, Pin, Unpin, Up
from motionstream.tracks.record import Recording

FILE = Path(__file__).parent / "sessions" / "studio.jsonl"
POINTER = (GridDown, Move, Up, Pin, Unpin, events.Path)
CELLS, CELLS_WIDTH = (48, 24, 12), 256  # pixels of the blobs of a textured picture of this width


def recorded_session() -> Recording:
    """The committed session."""
    return Recording.load(FILE)


class LoopedSession:
    """The events of a recording, repeated without end; each round begins with all gestures released."""

    def __init__(self, recording: Recording) -> None:
        self.events = sorted(recording.events, key=lambda event: event.time)
        frames = recording.frames / recording.header.fps
        self.length = max([frames, *(event.time for event in self.events)]) or 1.0
        self.queue: deque[Event] = deque()
        self.round = 0

    def until(self, seconds: float) -> Iterator[Event]:
        """Events up to this time, each once."""
        while True:
            if not self.queue:
                self.queue.extend(self._next_round())
            if self.queue[0].time > seconds:
                return
            yield self.queue.popleft()

    def _next_round(self) -> Iterable[Event]:
        begin = self.round * self.length
        self.round += 1
        yield Clear(begin)
        yield from (_shifted(event, begin) for event in self.events)


def _shifted(event: Event, seconds: float) -> Event:
    moved = replace(event, time=event.time + seconds)
    if isinstance(moved, events.Path) and moved.start is not None:
        moved = replace(moved, start=moved.start + seconds)
    return moved


def textured_picture(size: tuple[int, int], seed: int = 0) -> npt.NDArray[np.uint8]:
    """(H, W, 3) uint8 of soft blobs of several sizes, so that movement shows everywhere. size: (W, H) pixels."""
    rng, total = np.random.default_rng(seed), np.zeros((size[1], size[0], 3), np.float32)
    for cell in CELLS:
        columns, rows = (max(2, math.ceil(CELLS_WIDTH / cell * side / size[0])) for side in size)
        coarse = rng.integers(0, 256, (rows, columns, 3), dtype=np.uint8)
        total += np.asarray(Image.fromarray(coarse).resize(size, Image.Resampling.BICUBIC), np.float32)
    picture: npt.NDArray[np.uint8] = np.clip((total / len(CELLS) - 127.5) * 1.5 + 127.5, 0, 255).astype(np.uint8)
    return picture
