"""Gestures → `Tracks`, chunk by chunk: drags, pins and drawn paths on the clock of the stream.

Only the future can change: a gesture acts from the first frame of the chunk that is built after it arrived.

How a drag is put in time. Pointer samples arrive while earlier frames are shown, so they cannot be used at
their own times. All samples of a drag that came since the last chunk are laid out over the frames of the next
chunk, in proportion to the time between them: the first frame continues where the last chunk ended, the last
frame is exactly the newest sample. Nothing is left over, so no lag builds up however long the session lasts;
a hand that moves evenly gives an even motion, and a hand that rests gives points that rest.

Life of a point: born at the first frame of the chunk after its gesture began, at the place where the hand went
down (so that it marks what is there); released after the chunk that shows the last movement before `Up`.
Outside the frame a point is invisible, and comes back when it returns. Ids are never used twice.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from motionstream.tracks.events import (
    Clear,
    Event,
    Gesture,
    GridDown,
    Move,
    Path,
    Pause,
    Pin,
    Prompt,
    Resume,
    Unpin,
    Up,
    fitted,
    from_json,
    grid_count,
    grid_points,
    to_json,
)
from motionstream.tracks.tracks import Tracks

__all__ = [
    "Clear",
    "Event",
    "Gesture",
    "GestureSession",
    "GridDown",
    "Move",
    "Path",
    "Pause",
    "Pin",
    "Prompt",
    "Resume",
    "Unpin",
    "Up",
    "fitted",
    "from_json",
    "to_json",
]

Array = npt.NDArray[np.float64]
CLOSEST = 1 / 240  # seconds between two samples at least: pointer events can share a time, as in a pause
MOST_SAMPLES = 512  # of one drag before one chunk; more are thinned out


def fall_off(offsets: Array, radius: float) -> Array:
    """(N, 1) share of the hand's movement that points at these offsets take: 1 at the centre.

    radius 0: all of it everywhere; otherwise a half cosine that reaches 0 at `radius` pixels.
    """
    if radius == 0:
        return np.ones((len(offsets), 1))
    distance = np.minimum(np.linalg.norm(offsets, axis=1, keepdims=True), radius) / radius
    share: Array = (1 + np.cos(np.pi * distance)) / 2
    return share


class _Points(ABC):
    """What drags, pins and paths share: a grid around `origin` with ids, some of whose points may move less."""

    def __init__(self, origin: tuple[float, float], spacing: float, size: float, falloff: float = 0.0) -> None:
        self.origin = np.array(origin)
        self.offsets = grid_points(spacing, size)
        self.share = fall_off(self.offsets, falloff)
        self.ids: npt.NDArray[np.int64] | None = None  # given at birth
        self.released = False

    @property
    def finished(self) -> bool:
        """Whether no later frame has these points."""
        return self.released

    def follow(self, hand: Array) -> Array:
        """(F, 2) positions of the hand → (F, N, 2) positions of the points."""
        moved = (hand - self.origin)[:, None] * self.share
        followed: Array = self.origin + self.offsets + moved
        return followed

    @abstractmethod
    def walk(self, first_frame: int, frames: int, fps: float) -> tuple[Array, npt.NDArray[np.bool_]] | None:
        """Hand positions (F, 2) and alive (F,) for these frames; None if not alive in any of them."""


class _Drag(_Points):
    def __init__(self, event: GridDown) -> None:
        super().__init__((event.x, event.y), event.spacing, event.size, event.falloff)
        self.hand = self.origin
        self.hand_time = event.time
        self.samples: list[tuple[float, float, float]] = []

    @property
    def finished(self) -> bool:
        return self.released and not self.samples  # its last movement is still to be shown

    def move(self, event: Move) -> None:
        newest = self.samples[-1][0] if self.samples else self.hand_time
        self.samples.append((max(event.time, newest), event.x, event.y))
        if len(self.samples) > MOST_SAMPLES:
            self.samples[:-1] = self.samples[:-1:2]

    def walk(self, first_frame: int, frames: int, fps: float) -> tuple[Array, npt.NDArray[np.bool_]] | None:
        if self.finished:
            return None
        if self.samples and (frames > 1 or self.ids is not None):  # one frame alone shows where the pointer pressed
            hand = self._resampled(frames, fps, newborn=self.ids is None)
            self.hand, self.hand_time = hand[-1], self.samples[-1][0]
            self.samples.clear()
        else:
            hand = np.tile(self.hand, (frames, 1))
        return hand, np.ones(frames, bool)

    def _resampled(self, frames: int, fps: float, newborn: bool) -> Array:
        """The samples over `frames` frames: from where the hand was to the newest sample."""
        samples = np.array(self.samples)
        gaps = np.diff(samples[:, 0], prepend=max(self.hand_time, samples[0, 0] - 1 / fps))
        knots = np.concatenate([[0.0], np.cumsum(np.maximum(gaps, CLOSEST))])
        places = np.concatenate([self.hand[None], samples[:, 1:]])
        # the first frame of a newborn marks what is under the pointer, before any movement
        when = np.linspace(0, knots[-1], frames if newborn else frames + 1)[-frames:]
        hand = np.stack([np.interp(when, knots, places[:, axis]) for axis in (0, 1)], axis=-1)
        hand[-1] = places[-1]
        return hand


class _Pin(_Points):
    def __init__(self, event: Pin) -> None:
        super().__init__((event.x, event.y), event.spacing, event.size)

    def walk(self, first_frame: int, frames: int, fps: float) -> tuple[Array, npt.NDArray[np.bool_]] | None:
        return np.tile(self.origin, (frames, 1)), np.ones(frames, bool)


class _Path(_Points):
    def __init__(self, event: Path) -> None:
        super().__init__(event.knots[0][:2], event.spacing, event.size, event.falloff)
        self.knots = np.array(event.knots)
        self.hold = event.hold
        self.loop = event.loop
        self.start = event.start
        if event.loop and tuple(self.knots[0, :2]) != tuple(self.knots[-1, :2]):
            back = self.knots[-2::-1].copy()
            back[:, 2] = 2 * self.knots[-1, 2] - back[:, 2]
            self.knots = np.concatenate([self.knots, back])

    @property
    def seconds(self) -> float:
        return float(self.knots[-1, 2])

    def walk(self, first_frame: int, frames: int, fps: float) -> tuple[Array, npt.NDArray[np.bool_]] | None:
        if self.ids is None:  # what has been generated cannot change: start now at the earliest
            self.start = max(self.start or 0.0, first_frame / fps)
        assert self.start is not None
        age = np.arange(first_frame, first_frame + frames) / fps - self.start
        alive = age >= -1e-9
        if not (self.loop or self.hold):
            alive &= age <= self.seconds + 1e-9
            self.released = bool(age[-1] + 1 / fps > self.seconds + 1e-9)
        if not alive.any():
            return None
        age = np.mod(age, self.seconds) if self.loop else age
        hand = [np.interp(age, self.knots[:, 2], self.knots[:, axis]) for axis in (0, 1)]
        return np.stack(hand, axis=-1), alive


class GestureSession:
    """All gestures of one stream, and the tracks they make.

    size: (W, H) of the model's frame in pixels. fps: nominal frames a second of the stream.
    max_points: points of all gestures together at any moment.

    Frames are asked for in order, once each; a stream that is paused simply does not ask.
    """

    def __init__(self, size: tuple[int, int], fps: float = 24, max_points: int = 2500) -> None:
        if min(size) < 1 or not 0 < fps < 1000 or max_points < 1:
            raise ValueError(f"size {size}, fps {fps}, max_points {max_points}: all must be positive")
        self.size = size
        self.fps = float(fps)
        self.max_points = max_points
        self.next_frame = 0
        self._gestures: dict[str, _Points] = {}
        self._next_id = 0

    @property
    def gestures(self) -> tuple[str, ...]:
        """Names of the gestures in force, oldest first."""
        return tuple(name for name, points in self._gestures.items() if not points.released)

    @property
    def points(self) -> int:
        """Points of the gestures in force, born or waiting to be born."""
        return sum(len(points.offsets) for points in self._gestures.values())

    def apply(self, event: Gesture) -> None:
        """Take in one event; it acts from the next chunk on.

        Raises ValueError, and changes nothing, on a name in use or not in use, or too many points.
        """
        match event:
            case GridDown():
                self._begin(event, lambda: _Drag(event))
            case Pin():
                self._begin(event, lambda: _Pin(event))
            case Path():
                self._begin(event, lambda: _Path(event))
            case Move():
                self._drag(event).move(event)
            case Up():
                self._let_go(event)
            case Unpin():
                self._unpin(event)
            case Clear():
                self._gestures.clear()
            case _:
                raise ValueError(f"{type(event).__name__} is not a gesture: give it to the stream")

    def tracks(self, first_frame: int, frames: int) -> Tracks:
        """Tracks for the frames [first_frame, first_frame + frames), which must follow the last ones asked for.

        Uses up the pointer samples that arrived since the last call.
        """
        if first_frame != self.next_frame or frames < 1:
            raise ValueError(
                f"tracks for {frames} frames from {first_frame}: ask for at least one, from {self.next_frame} on"
            )
        parts = [part for points in self._gestures.values() if (part := self._part(points, first_frame, frames))]
        self._gestures = {name: points for name, points in self._gestures.items() if not points.finished}
        self.next_frame += frames
        if not parts:
            return Tracks.empty(frames)
        xy = np.concatenate([part[0] for part in parts], axis=1).astype(np.float32)
        alive = np.concatenate([part[1] for part in parts], axis=1)
        return Tracks(xy, alive & self._inside(xy), np.concatenate([part[2] for part in parts]))

    def _part(
        self, points: _Points, first_frame: int, frames: int
    ) -> tuple[Array, npt.NDArray[np.bool_], npt.NDArray[np.int64]] | None:
        walked = points.walk(first_frame, frames, self.fps)
        if walked is None:
            return None
        hand, alive = walked
        if points.ids is None:
            points.ids = np.arange(self._next_id, self._next_id + len(points.offsets))
            self._next_id += len(points.offsets)
        return points.follow(hand), np.repeat(alive[:, None], len(points.offsets), axis=1), points.ids

    def _inside(self, xy: npt.NDArray[np.float32]) -> npt.NDArray[np.bool_]:
        return np.asarray(np.all((xy >= 0) & (xy < np.array(self.size)), axis=-1))

    def _begin(self, event: GridDown | Pin | Path, make: Callable[[], _Points]) -> None:
        if event.gesture in self._gestures:
            raise ValueError(f"gesture {event.gesture!r} is in use: give the new one a name of its own")
        added = grid_count(event.spacing, event.size)
        if self.points + added > self.max_points:
            raise ValueError(
                f"{added} points more would make {self.points + added}, over the limit of {self.max_points}: "
                "use a smaller grid, a wider spacing, or let something go"
            )
        self._gestures[event.gesture] = make()

    def _find(self, event: Move | Up | Unpin) -> _Points | None:
        points = self._gestures.get(event.gesture)
        return None if points is None or points.released else points

    def _drag(self, event: Move) -> _Drag:
        points = self._find(event)
        if not isinstance(points, _Drag):
            raise ValueError(f"Move: no drag named {event.gesture!r} is in force; send GridDown first")
        return points

    def _let_go(self, event: Up) -> None:
        points = self._find(event)
        if points is None or isinstance(points, _Pin):
            raise ValueError(f"Up: no drag or path named {event.gesture!r} is in force (a pin ends by Unpin)")
        points.released = True
        if points.finished:
            del self._gestures[event.gesture]

    def _unpin(self, event: Unpin) -> None:
        if not isinstance(self._find(event), _Pin):
            raise ValueError(f"Unpin: no pin named {event.gesture!r} is in force")
        del self._gestures[event.gesture]
