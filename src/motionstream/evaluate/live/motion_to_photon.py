"""Motion-to-photon latency: from a pointer movement to the first shown frame in which the picture moved with it.

`applied_seq` tells which gestures a chunk includes; only the pixels show that the picture followed. For every drag:
when was the pointer `MOVED` pixels from where it pressed, and which shown frame is the first in which what was there
moved that far too? Found by comparing the patch under the pointer, as it was shown at the press, with later frames.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from motionstream.tracks.events import Event, GridDown, Move

WIDTH = 256  # wider frames are subsampled to about this before they are compared; the figures below are for it
MOVED = 4.0  # pixels from where the pointer pressed
QUANTUM = 1.0  # pixels by which a place found in whole pixels of a JPEG may fall short
PATCH = 8  # pixels from the pointer to the border of the patch that is compared
REACH = 28  # pixels around it that are searched
TIMEOUT = 3.0  # seconds after which a drag counts as not followed
BETTER = 0.5  # the patch must fit its new place with at most this share of the error at its old one
LEAST_TEXTURE = 3.0  # grey levels; in a flatter patch movement cannot be seen

CENTRE = PATCH + REACH  # row and column of the pressed place in its neighbourhood

Grey = npt.NDArray[np.uint8]
"""The square neighbourhood of a place, grey, 2 · CENTRE + 1 pixels a side; the frame's border is repeated outside."""


@dataclass
class Drag:
    """One drag. Places are pixels of the subsampled frame, times wall seconds.

    pressed: where. still: its neighbourhood as shown at the press; None before the first frame, and where the patch
    reaches outside the frame. acted, direction: when the pointer was `MOVED` away, and the unit direction in which.
    later: (when shown, neighbourhood) of frames since.
    """

    pressed: tuple[float, float]
    still: Grey | None
    acted: float | None = None
    direction: tuple[float, float] = (0.0, 0.0)
    later: list[tuple[float, Grey]] = field(default_factory=list)

    def wants(self, now: float) -> bool:
        """Whether frames shown at this moment are to be compared."""
        return self.still is not None and self.acted is not None and now - self.acted <= TIMEOUT

    @property
    def visible(self) -> bool:
        """Whether the pointer went far enough, from a place with enough texture."""
        return self.still is not None and self.acted is not None and float(_patch(self.still).std()) >= LEAST_TEXTURE

    def reaction(self) -> float | None:
        """Seconds from the pointer's being `MOVED` away to the first frame that followed; None if none did."""
        assert self.still is not None
        assert self.acted is not None
        for shown, picture in self.later:
            dx, dy = displacement(self.still, picture)
            if dx * self.direction[0] + dy * self.direction[1] >= MOVED - QUANTUM:
                return shown - self.acted
        return None


class MotionToPhotonProbe:
    """Follows the pointer and the screen of one viewer. width: of the frames in pixels."""

    def __init__(self, width: int) -> None:
        self.step = max(1, round(width / WIDTH))
        self.drags: list[Drag] = []
        self._held: dict[str, Drag] = {}

    def pointer(self, event: Event, wall: float, shown: npt.NDArray[np.uint8] | None) -> None:
        """The pointer did this at `wall` seconds, while the frame `shown` (H, W, 3) was on display."""
        if isinstance(event, GridDown):
            pressed = event.x / self.step, event.y / self.step
            still = self._near(shown, pressed) if shown is not None and self._inside(shown, pressed) else None
            self._held[event.gesture] = Drag(pressed, still)
            self.drags.append(self._held[event.gesture])
        elif isinstance(event, Move) and event.gesture in self._held:
            self._moved(self._held[event.gesture], event, wall)

    def shown(self, frame: npt.NDArray[np.uint8], wall: float) -> None:
        """This frame, (H, W, 3), is on display from `wall` on."""
        for drag in self.drags:
            if drag.wants(wall):
                drag.later.append((wall, self._near(frame, drag.pressed)))

    def reactions(self) -> list[float | None]:
        """Of every drag that can be measured: seconds until it was seen, None where the picture did not follow."""
        return [drag.reaction() for drag in self.drags if drag.visible]

    def _moved(self, drag: Drag, event: Move, wall: float) -> None:
        dx, dy = event.x / self.step - drag.pressed[0], event.y / self.step - drag.pressed[1]
        gone = math.hypot(dx, dy)
        if drag.acted is None and gone >= MOVED:
            drag.acted, drag.direction = wall, (dx / gone, dy / gone)

    def _inside(self, frame: npt.NDArray[np.uint8], place: tuple[float, float]) -> bool:
        """Whether the patch round a place lies within the frame."""
        sides = frame.shape[1] / self.step, frame.shape[0] / self.step
        return all(PATCH < where < side - PATCH - 1 for where, side in zip(place, sides, strict=True))

    def _near(self, frame: npt.NDArray[np.uint8], place: tuple[float, float]) -> Grey:
        sampled = frame[:: self.step, :: self.step]
        rows, columns = (
            np.clip(math.floor(middle) + np.arange(-CENTRE, CENTRE + 1), 0, side - 1)
            for middle, side in zip(place[::-1], sampled.shape[:2], strict=True)
        )
        grey: Grey = sampled[rows[:, None], columns].mean(-1).astype(np.uint8)
        return grey


def displacement(before: Grey, after: Grey) -> tuple[int, int]:
    """(dx, dy) in whole pixels by which the patch in the middle moved; 0 unless it clearly fits better elsewhere."""
    patch = _patch(before).astype(np.float32)
    places = np.lib.stride_tricks.sliding_window_view(after.astype(np.float32), patch.shape)
    squares = np.einsum("rcij,rcij->rc", places, places) + (patch**2).sum()
    errors = squares - 2 * np.einsum("rcij,ij->rc", places, patch)
    row, column = divmod(int(errors.argmin()), errors.shape[1])
    if not errors[row, column] < BETTER * errors[REACH, REACH]:
        return 0, 0
    return column - REACH, row - REACH


def _patch(picture: Grey) -> Grey:
    return picture[REACH : REACH + 2 * PATCH + 1, REACH : REACH + 2 * PATCH + 1]
