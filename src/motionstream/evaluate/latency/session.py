"""The gesture session that live figures are measured with: half a minute of what people do in the studio.

`recorded_session` is that session, `Coming` plays it again and again, and `textured_picture` is something to drag in
which movement can be seen wherever the hand takes hold.

Drags of several lengths and speeds, two hands at once, pins, a path drawn ahead, a soft drag, rests, a change of
words. `sessions/studio.jsonl` holds it as a recording, which `python -m motionstream.evaluate.latency.session` writes.
The hand is modelled: it moves with the least jerk (Flash and Hogan 1985), trembles a little, and is sampled
60 times a second, as a browser does.
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

from motionstream.geometry import Geometry
from motionstream.tracks import events
from motionstream.tracks.events import Clear, Event, GridDown, Move, Pin, Prompt, Unpin, Up
from motionstream.tracks.record import Header, Recorder, Recording

FILE = Path(__file__).parent / "sessions" / "studio.jsonl"
SIZE, FPS, SECONDS = (256, 144), 24.0, 30.0
CHUNK = 3  # latents
RATE = 60.0  # pointer samples a second
TREMBLE = 0.25  # pixels
POINTER = (GridDown, Move, Up, Pin, Unpin, events.Path)
CELLS = (48, 24, 12)  # pixels of the blobs of a textured picture 256 wide

Place = tuple[float, float]


def recorded_session() -> Recording:
    """The committed session."""
    return Recording.load(FILE)


class Coming:
    """The events of a session, played again and again; each round begins with everything let go."""

    def __init__(self, recording: Recording) -> None:
        self.events = sorted(recording.events, key=lambda event: event.time)
        frames = recording.frames / recording.header.fps
        self.length = max([frames, *(event.time for event in self.events)]) or 1.0
        self.queue: deque[Event] = deque()
        self.round = 0

    def until(self, seconds: float) -> Iterator[Event]:
        """Events not yet given whose time has come."""
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
    """(H, W, 3) of soft blobs of several sizes: no place in it looks like its neighbourhood. size: (W, H) pixels."""
    rng, total = np.random.default_rng(seed), np.zeros((size[1], size[0], 3), np.float32)
    for cell in CELLS:
        columns, rows = (max(2, math.ceil(SIZE[0] / cell * side / size[0])) for side in size)
        coarse = rng.integers(0, 256, (rows, columns, 3), dtype=np.uint8)
        total += np.asarray(Image.fromarray(coarse).resize(size, Image.Resampling.BICUBIC), np.float32)
    picture: npt.NDArray[np.uint8] = np.clip((total / len(CELLS) - 127.5) * 1.5 + 127.5, 0, 255).astype(np.uint8)
    return picture


def compose() -> Recording:
    """The session, made again from the hand's model: the same every time."""
    happenings = sorted(_happenings(np.random.default_rng(0)), key=lambda event: event.time)
    recorder = Recorder(Header(SIZE, FPS, prompt="a boat on a lake"))
    geometry, first, latents = Geometry(*SIZE), 0, 0
    while first < SECONDS * FPS:
        while happenings and happenings[0].time <= first / FPS:
            recorder.apply(happenings.pop(0))
        frames = geometry.chunk_frames(latents, CHUNK)
        recorder.tracks(first, frames)
        first, latents = first + frames, latents + CHUNK
    return recorder.recording()


def _happenings(rng: np.random.Generator) -> Iterator[Event]:
    yield Pin("pin 1", 30, 118, spacing=12, size=36, time=0.4)
    yield from _drag(rng, "drag 1", [(120, 80), (170, 70)], begin=1.0, seconds=1.6)
    yield from _drag(rng, "drag 2", [(90, 60), (60, 75), (90, 90), (120, 75), (90, 60)], 3.6, 3.2)
    yield from _drag(rng, "flick", [(180, 90), (215, 60)], begin=7.2, seconds=0.35)
    yield Prompt("a boat on a lake, it is snowing", time=8.0)
    yield events.Path("path 1", _circle(170, 60, 18, 4.0), spacing=10, size=30, start=8.5, time=8.4)
    yield from _drag(rng, "soft", [(70, 80), (70, 50)], begin=10.0, seconds=1.5, falloff=40)
    yield Pin("pin 2", 225, 40, spacing=12, size=24, time=12.5)
    yield from _drag(rng, "left hand", [(60, 100), (80, 60), (60, 100)], begin=13.5, seconds=4.0)
    yield from _drag(rng, "right hand", [(190, 100), (160, 60), (190, 100)], begin=13.8, seconds=4.0)
    yield Unpin("pin 1", time=18.5)
    yield from _drag(rng, "across", [(40, 72), (216, 72)], begin=19.5, seconds=2.5)
    yield from _drag(rng, "out", [(200, 72), (275, 80)], begin=22.6, seconds=1.4)
    yield from _drag(rng, "slow", [(128, 90), (140, 60)], begin=24.5, seconds=4.5)
    yield Unpin("pin 2", time=29.2)


def _drag(
    rng: np.random.Generator,
    name: str,
    stops: list[Place],
    begin: float,
    seconds: float,
    falloff: float = 0.0,
) -> Iterator[Event]:
    """Press, go from stop to stop, rest a moment, let go."""
    yield GridDown(name, *stops[0], spacing=12, size=48, falloff=falloff, time=begin)
    legs = len(stops) - 1
    for sample in range(1, int(seconds * RATE) + 1):
        leg, share = divmod(min(sample / RATE / seconds, 1 - 1e-9) * legs, 1)
        ease = share**3 * (10 - 15 * share + 6 * share**2)  # least jerk
        (x0, y0), (x1, y1) = stops[int(leg)], stops[int(leg) + 1]
        dx, dy = rng.normal(0, TREMBLE, 2)
        place = round(x0 + ease * (x1 - x0) + dx, 1), round(y0 + ease * (y1 - y0) + dy, 1)
        yield Move(name, *place, time=round(begin + sample / RATE, 3))
    yield Up(name, time=round(begin + seconds + 0.2, 3))


def _circle(x: float, y: float, radius: float, seconds: float) -> tuple[events.Knot, ...]:
    turns = np.linspace(0, 1, 25)
    return tuple(
        (
            round(x + radius * math.cos(2 * math.pi * turn), 1),
            round(y + radius * math.sin(2 * math.pi * turn), 1),
            round(seconds * turn, 3),
        )
        for turn in turns.tolist()
    )


if __name__ == "__main__":
    FILE.parent.mkdir(exist_ok=True)
    compose().save(FILE)
