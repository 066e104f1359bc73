"""What goes on in a long stream: nobody touches it, all is pinned, or a hand never rests.

Everything that moves comes home every `PERIOD` frames, so that frames a whole number of periods apart should look
alike. Lengths go with the height of the frame.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from motionstream.tracks import Tracks

PERIOD = 100
"""Frames there and back."""
SPACING = 1 / 12
"""Of points, in heights of the frame."""
SWING = 1 / 6
"""Of a hand to each side, in heights of the frame."""

Places = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Scene:
    """tracks: (size, first frame, frames) → the tracks of those frames. still: all frames should look alike."""

    tracks: Callable[[tuple[int, int], int, int], Tracks]
    still: bool


def idle(size: tuple[int, int], first: int, frames: int) -> Tracks:
    """Nobody touches it."""
    return Tracks.empty(frames)


def pinned(size: tuple[int, int], first: int, frames: int) -> Tracks:
    """Pins all over."""
    return _moved(_everywhere(size), np.zeros((frames, 2)), size)


def moving(size: tuple[int, int], first: int, frames: int) -> Tracks:
    """A grid in the middle, swung from side to side."""
    angle = _angles(first, frames)
    return _moved(_in_the_middle(size), SWING * size[1] * np.stack([np.sin(angle), np.zeros(frames)], -1), size)


def circling(size: tuple[int, int], first: int, frames: int) -> Tracks:
    """A grid in the middle, led round a circle."""
    angle = _angles(first, frames)
    return _moved(_in_the_middle(size), SWING / 2 * size[1] * np.stack([np.sin(angle), np.cos(angle) - 1], -1), size)


def panning(size: tuple[int, int], first: int, frames: int) -> Tracks:
    """Everything moves together, as under a camera that looks left and right."""
    angle = _angles(first, frames)
    return _moved(_everywhere(size), SWING * size[1] * np.stack([np.sin(angle), np.zeros(frames)], -1), size)


SCENES = {
    "moving": Scene(moving, still=False),
    "idle": Scene(idle, still=True),
    "pinned": Scene(pinned, still=True),
    "circling": Scene(circling, still=False),
    "panning": Scene(panning, still=False),
}


def _angles(first: int, frames: int) -> Places:
    """Of the cycle, (T,): the last frame of each period is at home."""
    angles: Places = np.arange(first + 1, first + frames + 1) * np.float64(2 * np.pi / PERIOD)
    return angles


def _in_the_middle(size: tuple[int, int]) -> Places:
    steps = (np.arange(3) - 1) * SPACING * size[1]
    return np.stack(np.meshgrid(size[0] / 2 + steps, size[1] / 2 + steps), -1).reshape(-1, 2)


def _everywhere(size: tuple[int, int]) -> Places:
    step = SPACING * size[1]
    xs, ys = (np.arange(step, length, 2 * step) for length in size)
    return np.stack(np.meshgrid(xs, ys), -1).reshape(-1, 2)


def _moved(places: Places, away: Places, size: tuple[int, int]) -> Tracks:
    """Points (N, 2) moved alike by (T, 2), visible inside the frame."""
    xy = (places[None] + away[:, None]).astype(np.float32)
    inside = (xy >= 0) & (xy < np.array(size, np.float32))
    return Tracks(xy, np.asarray(inside.all(-1)))
