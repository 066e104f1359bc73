"""A point tracker that needs no weights: pyramidal Lucas–Kanade with a forward–backward check, through OpenCV.

B. D. Lucas and T. Kanade, IJCAI 1981, in Bouguet's pyramidal form; Z. Kalal et al., "Forward-Backward Error",
ICPR 2010. Used to take motion from a video and to measure what a generated video did. Each point is carried
from frame to frame and then settled on the patch it was born with, which keeps it from drifting; where the patch
no longer matches, the frame-to-frame estimate stands.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from motionstream.trackers.following import (
    Mask,
    Points,
    Video,
    check_frame,
    checked_points,
    follow,
    follow_frames,
    inside,
)
from motionstream.tracks.tracks import Tracks

Grey = npt.NDArray[np.uint8]

NEIGHBOURHOOD = 8.0  # pixels, standard deviation: over which light is evened
FLAT = 2.0  # grey levels of contrast below which a place counts as flat


@dataclass(frozen=True)
class Settings:
    """window: side of the patch in pixels. levels: halvings of the pyramid.

    tolerance: pixels that a point may miss its start by when tracked there and back, before it counts as lost.
    settle: pixels that the patch of birth may correct the frame-to-frame estimate by; 0 switches that off.
    """

    window: int = 21
    levels: int = 3
    tolerance: float = 1.0
    settle: float = 2.0


class LucasKanade:
    """A tracker that is given one frame at a time. A lost point keeps its last estimate and goes on from there."""

    def __init__(self, settings: Settings = Settings()) -> None:
        self.settings = settings
        self.xy = np.zeros((0, 2), np.float32)
        self.kept = np.zeros(0, bool)
        self._birth_xy = np.zeros((0, 2), np.float32)
        self._birth_frame = np.zeros(0, np.int64)
        self._births: dict[int, Grey] = {}  # frames in which points were born
        self._last: Grey | None = None
        self._frame = -1

    def add(self, queries: npt.ArrayLike) -> None:
        """Follow these (N, 2) points too, at home in the frame given last."""
        if self._last is None:
            raise ValueError("no frame yet: give the tracker the frame in which the points are")
        new = checked_points(queries)
        self.xy = np.concatenate([self.xy, new])
        self.kept = np.concatenate([self.kept, np.ones(len(new), bool)])
        self._birth_xy = np.concatenate([self._birth_xy, new])
        self._birth_frame = np.concatenate([self._birth_frame, np.full(len(new), self._frame)])
        self._births[self._frame] = self._last

    def step(self, frame: Video) -> tuple[Points, Mask]:
        """Move all points to the (H, W, 3) uint8 frame: positions (N, 2), and whether each is still followed."""
        import cv2

        check_frame(frame)
        grey = evened(np.asarray(cv2.cvtColor(np.ascontiguousarray(frame), cv2.COLOR_RGB2GRAY), np.uint8))
        if self._last is not None and len(self.xy):
            moved, found = self._there_and_back(self._last, grey, self.xy, self.xy)
            moved = np.where(np.isfinite(moved), moved, self.xy)
            self.xy = self._settled(grey, moved)
            self.kept = self.kept & found & inside(self.xy, frame)
        self._last = grey
        self._frame += 1
        return self.xy.copy(), self.kept.copy()

    def _there_and_back(self, old: Grey, new: Grey, start: Points, guess: Points) -> tuple[Points, Mask]:
        """Points at `start` in `old` → their places in `new`, and whether the way back leads home."""
        forward = self._flow(old, new, start, guess)
        backward = self._flow(new, old, forward[0], start)
        miss = np.linalg.norm(backward[0] - start, axis=-1)
        return forward[0], forward[1] & backward[1] & (miss <= self.settings.tolerance)

    def _flow(self, old: Grey, new: Grey, start: Points, guess: Points) -> tuple[Points, Mask]:
        import cv2

        side = self.settings.window
        # OpenCV counts pixel centres at 0, we at 0.5
        moved, found, _ = cv2.calcOpticalFlowPyrLK(
            old,
            new,
            (start - 0.5)[:, None].astype(np.float32),
            (guess - 0.5)[:, None].astype(np.float32),
            winSize=(side, side),
            maxLevel=self.settings.levels,
            criteria=(cv2.TERM_CRITERIA_EPS | cv2.TERM_CRITERIA_COUNT, 30, 0.01),
            flags=cv2.OPTFLOW_USE_INITIAL_FLOW,
        )
        return moved[:, 0] + np.float32(0.5), found[:, 0].astype(bool)

    def _settled(self, grey: Grey, moved: Points) -> Points:
        """`moved`, corrected towards the patch each point was born with where that patch is found nearby."""
        if self.settings.settle == 0:
            return moved
        settled = moved.copy()
        for birth, home in self._births.items():
            mine = np.flatnonzero(self._birth_frame == birth)
            exact, found = self._there_and_back(home, grey, self._birth_xy[mine], moved[mine])
            near = found & (np.linalg.norm(exact - moved[mine], axis=-1) <= self.settings.settle)
            settled[mine[near]] = exact[near]
        return settled


def evened(grey: Grey) -> Grey:
    """Grey levels less their local mean, over their local contrast: dusk or fog then does not look like motion."""
    import cv2

    level = grey.astype(np.float32)
    detail = level - cv2.GaussianBlur(level, (0, 0), NEIGHBOURHOOD)
    contrast = np.sqrt(cv2.GaussianBlur(detail * detail, (0, 0), NEIGHBOURHOOD)) + FLAT
    return np.clip(128 + 40 * detail / contrast, 0, 255).astype(np.uint8)


def track_frames(
    frames: Iterable[Video], queries: npt.ArrayLike, settings: Settings | None = None
) -> Iterator[tuple[Points, Mask]]:
    """Follow (N, 2) points of the first frame; yields positions (N, 2) and kept (N,) a frame, as frames come."""
    return follow_frames(LucasKanade(settings or Settings()), frames, queries)


def track(
    video: Video,
    queries: npt.ArrayLike,
    births: npt.ArrayLike | None = None,
    settings: Settings | None = None,
) -> Tracks:
    """Follow points through a video.

    video: (F, H, W, 3) uint8. queries: (N, 2) pixels of the frame. births: (N,) frame in which each query is,
    all 0 by default. A point is visible from its birth until it is lost or leaves the frame; lost points keep
    an estimate in `xy`. Raises ValueError on wrong shapes.
    """
    return follow(LucasKanade(settings or Settings()), video, queries, births)
