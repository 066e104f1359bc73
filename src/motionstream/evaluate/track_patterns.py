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
    """Points that move alike.

    points: size (W, H) → (N, 2). path: angles (T,) → (T, 2), 0 at the angle 2π. amplitude: of the path, in heights.
    """

    points: Callable[[tuple[int, int]], Places]
    path: Callable[[Places], Places]
    amplitude: float

    @property
    def still(self) -> bool:
        """Whether all frames should look alike."""
        return self.amplitude == 0

    def tracks(self, size: tuple[int, int], first: int, frames: int) -> Tracks:
        """Those of `frames` frames from number `first` on, visible inside the frame."""
        angle = np.arange(first + 1, first + frames + 1) * np.float64(2 * np.pi / PERIOD)
        away = self.amplitude * size[1] * self.path(angle)
        xy = (self.points(size)[None] + away[:, None]).astype(np.float32)
        inside = (xy >= 0) & (xy < np.array(size, np.float32))
        return Tracks(xy, np.asarray(inside.all(-1)))


def _none(size: tuple[int, int]) -> Places:
    return np.zeros((0, 2))


def _middle(size: tuple[int, int]) -> Places:
    steps = (np.arange(3) - 1) * SPACING * size[1]
    return np.stack(np.meshgrid(size[0] / 2 + steps, size[1] / 2 + steps), -1).reshape(-1, 2)


def _everywhere(size: tuple[int, int]) -> Places:
    step = SPACING * size[1]
    xs, ys = (np.arange(step, length, 2 * step) for length in size)
    return np.stack(np.meshgrid(xs, ys), -1).reshape(-1, 2)


def _side_to_side(angle: Places) -> Places:
    return np.stack([np.sin(angle), np.zeros_like(angle)], -1)


def _circle(angle: Places) -> Places:
    return np.stack([np.sin(angle), np.cos(angle) - 1], -1)


PATTERNS = {
    "moving": TrackPattern(_middle, _side_to_side, SWING),
    "idle": TrackPattern(_none, _side_to_side, 0),
    "pinned": TrackPattern(_everywhere, _side_to_side, 0),
    "circling": TrackPattern(_middle, _circle, SWING / 2),
    "panning": TrackPattern(_everywhere, _side_to_side, SWING),
}
"""panning: as under a camera that swings from side to side."""
