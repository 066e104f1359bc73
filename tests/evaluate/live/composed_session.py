"""The gesture session of `bench live`, composed anew: run it to write `sessions/studio.jsonl`.

The pointer moves with the least jerk (Flash and Hogan 1985), trembles a little, and is sampled 60 times a second, as a
browser does.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from motionstream.evaluate.live.session import FILE
from motionstream.geometry import Geometry
from motionstream.tracks import events
from motionstream.tracks.events import Event, GridDown, Move, Pin, Prompt, Unpin, Up
from motionstream.tracks.record import Header, Recorder, Recording

SIZE, FPS, SECONDS = (256, 144), 24.0, 30.0
CHUNK = 3  # latents
RATE = 60.0  # pointer samples a second
TREMBLE = 0.25  # pixels

Place = tuple[float, float]


def compose() -> Recording:
    """The session: the same every time."""
    coming = sorted(_events(np.random.default_rng(0)), key=lambda event: event.time)
    recorder = Recorder(Header(SIZE, FPS, prompt="a boat on a lake"))
    geometry, first, latents = Geometry(*SIZE), 0, 0
    while first < SECONDS * FPS:
        while coming and coming[0].time <= first / FPS:
            recorder.apply(coming.pop(0))
        frames = geometry.chunk_frames(latents, CHUNK)
        recorder.tracks(first, frames)
        first, latents = first + frames, latents + CHUNK
    return recorder.recording()


def _events(rng: np.random.Generator) -> Iterator[Event]:
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
    """Press, go from stop to stop, rest a moment, release."""
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
    compose().save(FILE)
