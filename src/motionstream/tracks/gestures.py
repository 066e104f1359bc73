"""Gestures → `Tracks`, chunk by chunk: drags, pins and drawn paths on the clock of the stream.

Only the future can change: a gesture acts from the first frame of the chunk that is built after it arrived.

How a drag is timed. Pointer samples arrive while earlier frames are shown, so they cannot be used at their own
times. All samples of a drag that arrived since the last chunk are spread over the frames of the next chunk, in
proportion to the time between them: the first frame continues where the last chunk ended, the last frame is exactly
the newest sample. No sample is left over, so no lag builds up however long the session lasts; a pointer that moves
evenly gives an even motion, and a pointer that rests gives points that rest.

Life of a point: born at the first frame of the chunk after its gesture began, where the pointer was pressed (so that
it marks what is there; if that chunk has one frame, the movement begins in the next); released after the chunk that
shows the last movement before `Up`. Outside the frame a point is invisible. Ids are never used twice.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from motionstream.tracks import events
from motionstream.tracks.events import Gesture, GridDown, Move, Path, Pin, Unpin, Up
from motionstream.tracks.tracks import Tracks, inside

Array = npt.NDArray[np.float64]
CLOSEST = 1 / 240  # seconds between two samples at least: pointer events can have equal times, as in a pause
MOST_SAMPLES = 512  # of one drag before one chunk; of more, every second is dropped


def fall_off(offsets: Array, radius: float) -> Array:
    """(N, 1) share of the pointer's movement that points at these offsets make: 1 at the centre.

    radius 0: 1 everywhere; otherwise a half cosine that reaches 0 at `radius` pixels.
    """
    if radius == 0:
        return np.ones((len(offsets), 1))
    distance = np.minimum(np.linalg.norm(offsets, axis=1, keepdims=True), radius) / radius
    share: Array = (1 + np.cos(np.pi * distance)) / 2
    return share


class _Points(ABC):
    """A grid of points around `origin` that follows a centre; points away from it may move less."""

    def __init__(self, origin: tuple[float, float], spacing: float, size: float, falloff: float = 0.0) -> None:
        self.origin = np.array(origin)
        self.offsets = events.grid_points(spacing, size)
        self.share = fall_off(self.offsets, falloff)
        self.ids: npt.NDArray[np.int64] | None = None  # given at birth
        self.released = False

    @property
    def finished(self) -> bool:
        """Whether no later frame has these points."""
        return self.released

    def follow(self, centre: Array) -> Array:
        """(F, 2) positions of the centre → (F, N, 2) positions of the points."""
        moved = (centre - self.origin)[:, None] * self.share
        followed: Array = self.origin + self.offsets + moved
        return followed

    @abstractmethod
    def centre(self, first_frame: int, frames: int, fps: float) -> tuple[Array, npt.NDArray[np.bool_]] | None:
        """Positions (F, 2) of the centre and alive (F,) for these frames; None if not alive in any of them."""


class _Drag(_Points):
    def __init__(self, event: GridDown) -> None:
        super().__init__((event.x, event.y), event.spacing, event.size, event.falloff)
        self.pointer = self.origin
        self.pointer_time = event.time
        self.samples: list[tuple[float, float, float]] = []

    @property
    def finished(self) -> bool:
        return self.released and not self.samples  # its last movement is still to be shown

    def move(self, event: Move) -> None:
        newest = self.samples[-1][0] if self.samples else self.pointer_time
        self.samples.append((max(event.time, newest), event.x, event.y))
        if len(self.samples) > MOST_SAMPLES:
            self.samples[:-1] = self.samples[:-1:2]

    def centre(self, first_frame: int, frames: int, fps: float) -> tuple[Array, npt.NDArray[np.bool_]] | None:
        if self.finished:
            return None
        if self.samples and (frames > 1 or self.ids is not None):  # one frame alone shows where the pointer pressed
            pointer = self._resampled(frames, fps, newborn=self.ids is None)
            self.pointer, self.pointer_time = pointer[-1], self.samples[-1][0]
            self.samples.clear()
        else:
            pointer = np.tile(self.pointer, (frames, 1))
        return pointer, np.ones(frames, bool)

    def _resampled(self, frames: int, fps: float, newborn: bool) -> Array:
        """The samples over `frames` frames: from where the pointer was to the newest sample."""
        samples = np.array(self.samples)
        gaps = np.diff(samples[:, 0], prepend=max(self.pointer_time, samples[0, 0] - 1 / fps))
        knots = np.concatenate([[0.0], np.cumsum(np.maximum(gaps, CLOSEST))])
        places = np.concatenate([self.pointer[None], samples[:, 1:]])
        # the first frame of a newborn marks what is under the pointer, before any movement
        when = np.linspace(0, knots[-1], frames if newborn else frames + 1)[-frames:]
        pointer = np.stack([np.interp(when, knots, places[:, axis]) for axis in (0, 1)], axis=-1)
        pointer[-1] = places[-1]
        return pointer


class _Pin(_Points):
    def __init__(self, event: Pin) -> None:
        super().__init__((event.x, event.y), event.spacing, event.size)

    def centre(self, first_frame: int, frames: int, fps: float) -> tuple[Array, npt.NDArray[np.bool_]] | None:
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

    def centre(self, first_frame: int, frames: int, fps: float) -> tuple[Array, npt.NDArray[np.bool_]] | None:
        if self.ids is None:  # past frames cannot change: start now at the earliest
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
        centre = [np.interp(age, self.knots[:, 2], self.knots[:, axis]) for axis in (0, 1)]
        return np.stack(centre, axis=-1), alive


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
        """Names of the active gestures, oldest first."""
        return tuple(name for name, points in self._gestures.items() if not points.released)

    @property
    def points(self) -> int:
        """Points of the active gestures, born or not yet."""
        return sum(len(points.offsets) for points in self._gestures.values())

    def apply(self, event: Gesture) -> None:
        """Apply one event from the next chunk on.

        Raises ValueError, and changes nothing, on a name that is or is not in use, or too many points.
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
                self._release(event)
            case Unpin():
                self._unpin(event)
            case events.Clear():
                self._gestures.clear()
            case _:
                raise ValueError(f"{type(event).__name__} is not a gesture: pass it to the stream")

    def tracks(self, first_frame: int, frames: int) -> Tracks:
        """Tracks for the frames [first_frame, first_frame + frames), which must follow those of the last call.

        Consumes the pointer samples that arrived since the last call.
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
        return Tracks(xy, alive & inside(xy, self.size), np.concatenate([part[2] for part in parts]))

    def _part(
        self, points: _Points, first_frame: int, frames: int
    ) -> tuple[Array, npt.NDArray[np.bool_], npt.NDArray[np.int64]] | None:
        found = points.centre(first_frame, frames, self.fps)
        if found is None:
            return None
        centre, alive = found
        if points.ids is None:
            points.ids = np.arange(self._next_id, self._next_id + len(points.offsets))
            self._next_id += len(points.offsets)
        return points.follow(centre), np.repeat(alive[:, None], len(points.offsets), axis=1), points.ids

    def _begin(self, event: GridDown | Pin | Path, make: Callable[[], _Points]) -> None:
        if event.gesture in self._gestures:
            raise ValueError(f"gesture {event.gesture!r} is in use: give the new one a name of its own")
        added = events.grid_count(event.spacing, event.size)
        if self.points + added > self.max_points:
            raise ValueError(
                f"{added} points more would make {self.points + added}, over the limit of {self.max_points}: "
                "use a smaller grid, a wider spacing, or end a gesture"
            )
        self._gestures[event.gesture] = make()

    def _find(self, event: Move | Up | Unpin) -> _Points | None:
        points = self._gestures.get(event.gesture)
        return None if points is None or points.released else points

    def _drag(self, event: Move) -> _Drag:
        points = self._find(event)
        if not isinstance(points, _Drag):
            raise ValueError(f"Move: no drag named {event.gesture!r} is active; send GridDown first")
        return points

    def _release(self, event: Up) -> None:
        points = self._find(event)
        if points is None or isinstance(points, _Pin):
            raise ValueError(f"Up: no drag or path named {event.gesture!r} is active (a pin ends by Unpin)")
        points.released = True
        if points.finished:
            del self._gestures[event.gesture]

    def _unpin(self, event: Unpin) -> None:
        if not isinstance(self._find(event), _Pin):
            raise ValueError(f"Unpin: no pin named {event.gesture!r} is active")
        del self._gestures[event.gesture]
