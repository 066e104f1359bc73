"""Periodic tracks for long streams: nothing is touched, everything is pinned, or points move without rest.

All that moves is back at its first place every `PERIOD` frames, so that frames a whole number of periods apart should
look alike. Lengths are relative to the height of the frame.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from motionstream.tracks import Tracks

PERIOD = 100
"""Frames after which points are back at their first place."""
SPACING = 1 / 12
"""Of points, in heights of the frame."""
SWING = 1 / 6
"""Amplitude of the motion, in heights of the frame."""

Places = npt.NDArray[np.float64]


@dataclass(frozen=True)
class TrackPattern:
    """tracks: (size, first frame, frames) → the tracks of those frames. still: all frames should look alike."""

    tracks: Callable[[tuple[int, int], int, int], Tracks]
    still: bool


def idle(size: tuple[int, int], first: int, frames: int) -> Tracks:
    """No tracks."""
    return Tracks.empty(frames)


def pinned(size: tuple[int, int], first: int, frames: int) -> Tracks:
    """A grid over the frame that stays where it is."""
    return _moved(_full_grid(size), np.zeros((frames, 2)), size)


def moving(size: tuple[int, int], first: int, frames: int) -> Tracks:
    """A grid in the middle that swings from side to side."""
    angle = _angles(first, frames)
    return _moved(_middle_grid(size), SWING * size[1] * np.stack([np.sin(angle), np.zeros(frames)], -1), size)


def circling(size: tuple[int, int], first: int, frames: int) -> Tracks:
    """A grid in the middle on a circular path."""
    angle = _angles(first, frames)
    return _moved(_middle_grid(size), SWING / 2 * size[1] * np.stack([np.sin(angle), np.cos(angle) - 1], -1), size)


def panning(size: tuple[int, int], first: int, frames: int) -> Tracks:
    """A grid over the frame that swings from side to side, as under a panning camera."""
    angle = _angles(first, frames)
    return _moved(_full_grid(size), SWING * size[1] * np.stack([np.sin(angle), np.zeros(frames)], -1), size)


PATTERNS = {
    "moving": TrackPattern(moving, still=False),
    "idle": TrackPattern(idle, still=True),
    "pinned": TrackPattern(pinned, still=True),
    "circling": TrackPattern(circling, still=False),
    "panning": TrackPattern(panning, still=False),
}


def _angles(first: int, frames: int) -> Places:
    """Phase, (T,): 2π, the first place, in the last frame of each period."""
    angles: Places = np.arange(first + 1, first + frames + 1) * np.float64(2 * np.pi / PERIOD)
    return angles


def _middle_grid(size: tuple[int, int]) -> Places:
    steps = (np.arange(3) - 1) * SPACING * size[1]
    return np.stack(np.meshgrid(size[0] / 2 + steps, size[1] / 2 + steps), -1).reshape(-1, 2)


def _full_grid(size: tuple[int, int]) -> Places:
    step = SPACING * size[1]
    xs, ys = (np.arange(step, length, 2 * step) for length in size)
    return np.stack(np.meshgrid(xs, ys), -1).reshape(-1, 2)


def _moved(places: Places, away: Places, size: tuple[int, int]) -> Tracks:
    """Points (N, 2) moved alike by (T, 2), visible inside the frame."""
    xy = (places[None] + away[:, None]).astype(np.float32)
    inside = (xy >= 0) & (xy < np.array(size, np.float32))
    return Tracks(xy, np.asarray(inside.all(-1)))
