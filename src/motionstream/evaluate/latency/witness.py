"""What the pixels say: when the picture under a hand had gone as far as the hand.

A protocol can claim that a frame knows of a gesture; only the picture shows that it moved. For every drag: when was the
hand `MOVED` pixels from where it took hold, and which shown frame was the first in which what lay there has gone
that way too? Found by comparing the patch under the hand, as it was shown when the hand took hold, with later frames.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from motionstream.tracks.events import Event, GridDown, Move

WIDTH = 256  # frames wider than this are thinned to about it before they are compared; the figures below are for it
MOVED = 4.0  # pixels from where the hand took hold
QUANTUM = 1.0  # pixels by which a place found in whole pixels, after a lossy picture, may fall short
PATCH = 8  # pixels from the hand to the border of the patch that is compared
REACH = 28  # pixels around it that are searched
PATIENCE = 3.0  # seconds after which a drag that shows nothing is given up
LIKE = 0.5  # the patch must fit its new place with so much less error than its old one
LEAST_TEXTURE = 3.0  # grey levels; in a flatter patch movement cannot be seen

CENTRE = PATCH + REACH  # row and column of the hand in its neighbourhood

Grey = npt.NDArray[np.uint8]
"""The square neighbourhood of a place, grey, 2 · CENTRE + 1 pixels a side; beyond the frame its border goes on."""


@dataclass
class Drag:
    """One drag under watch. Places are pixels of the thinned frame, times wall seconds.

    still: the neighbourhood of `hold` when the hand took hold; None before a frame was on display, and where the patch
    is not all within the frame. acted, way: when
    the hand had gone `MOVED` and the unit direction it went in. later: (when shown, neighbourhood) of frames since.
    """

    hold: tuple[float, float]
    still: Grey | None
    acted: float | None = None
    way: tuple[float, float] = (0.0, 0.0)
    later: list[tuple[float, Grey]] = field(default_factory=list)

    def wants(self, now: float) -> bool:
        """Whether frames shown at this moment may be those that show it."""
        return self.still is not None and self.acted is not None and now - self.acted <= PATIENCE

    @property
    def visible(self) -> bool:
        """Whether the hand went far enough, from a place where movement can be seen."""
        return self.still is not None and self.acted is not None and float(_patch(self.still).std()) >= LEAST_TEXTURE

    def reaction(self) -> float | None:
        """Seconds from the hand's having gone `MOVED` to the first frame that had, None if none did."""
        assert self.still is not None
        assert self.acted is not None
        for shown, picture in self.later:
            dx, dy = displacement(self.still, picture)
            if dx * self.way[0] + dy * self.way[1] >= MOVED - QUANTUM:
                return shown - self.acted
        return None


class Witness:
    """Watches the hand and the screen of one viewer. width: of the frames in pixels."""

    def __init__(self, width: int) -> None:
        self.thin = max(1, round(width / WIDTH))
        self.drags: list[Drag] = []
        self._held: dict[str, Drag] = {}

    def hand(self, event: Event, wall: float, shown: npt.NDArray[np.uint8] | None) -> None:
        """The hand did this at `wall`, looking at the frame `shown`, (H, W, 3)."""
        if isinstance(event, GridDown):
            hold = event.x / self.thin, event.y / self.thin
            still = self._near(shown, hold) if shown is not None and self._inside(shown, hold) else None
            self._held[event.gesture] = Drag(hold, still)
            self.drags.append(self._held[event.gesture])
        elif isinstance(event, Move) and event.gesture in self._held:
            self._moved(self._held[event.gesture], event, wall)

    def screen(self, frame: npt.NDArray[np.uint8], wall: float) -> None:
        """This frame, (H, W, 3), is on display from `wall` on."""
        for drag in self.drags:
            if drag.wants(wall):
                drag.later.append((wall, self._near(frame, drag.hold)))

    def verdicts(self) -> list[float | None]:
        """Of every drag that can be seen: seconds until it was, None where the picture did not follow."""
        return [drag.reaction() for drag in self.drags if drag.visible]

    def _moved(self, drag: Drag, event: Move, wall: float) -> None:
        dx, dy = event.x / self.thin - drag.hold[0], event.y / self.thin - drag.hold[1]
        gone = math.hypot(dx, dy)
        if drag.acted is None and gone >= MOVED:
            drag.acted, drag.way = wall, (dx / gone, dy / gone)

    def _inside(self, frame: npt.NDArray[np.uint8], place: tuple[float, float]) -> bool:
        """Whether the patch round a place lies within the frame."""
        sides = frame.shape[1] / self.thin, frame.shape[0] / self.thin
        return all(PATCH < where < side - PATCH - 1 for where, side in zip(place, sides, strict=True))

    def _near(self, frame: npt.NDArray[np.uint8], place: tuple[float, float]) -> Grey:
        thinned = frame[:: self.thin, :: self.thin]
        rows, columns = (
            np.clip(math.floor(middle) + np.arange(-CENTRE, CENTRE + 1), 0, side - 1)
            for middle, side in zip(place[::-1], thinned.shape[:2], strict=True)
        )
        grey: Grey = thinned[rows[:, None], columns].mean(-1).astype(np.uint8)
        return grey


def displacement(before: Grey, after: Grey) -> tuple[int, int]:
    """(dx, dy) in whole pixels by which the patch under the hand went; 0 unless it clearly fits better elsewhere."""
    patch = _patch(before).astype(np.float32)
    places = np.lib.stride_tricks.sliding_window_view(after.astype(np.float32), patch.shape)
    squares = np.einsum("rcij,rcij->rc", places, places) + (patch**2).sum()
    errors = squares - 2 * np.einsum("rcij,ij->rc", places, patch)
    row, column = divmod(int(errors.argmin()), errors.shape[1])
    if not errors[row, column] < LIKE * errors[REACH, REACH]:
        return 0, 0
    return column - REACH, row - REACH


def _patch(picture: Grey) -> Grey:
    return picture[REACH : REACH + 2 * PATCH + 1, REACH : REACH + 2 * PATCH + 1]
