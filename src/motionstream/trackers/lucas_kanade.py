"""A point tracker without weights: pyramidal Lucas–Kanade with a forward–backward check, through OpenCV.

B. D. Lucas and T. Kanade, IJCAI 1981, in Bouguet's pyramidal form; Z. Kalal et al., "Forward-Backward Error",
ICPR 2010. Used to take the motion of a video and to measure the motion of a generated one. Each point is tracked from
frame to frame and then refined against the patch in which it was born, which prevents drift; where that patch no
longer matches, the frame-to-frame estimate is kept.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from motionstream.trackers.following import CausalTracker, Mask, Points, Video, check_frame, checked_points, inside

NAME = "lucas-kanade"
Grey = npt.NDArray[np.uint8]

NEIGHBOURHOOD = 8.0  # pixels, standard deviation of the local mean and contrast
FLAT = 2.0  # grey levels added to the contrast, so that flat areas are not amplified


@dataclass(frozen=True)
class Settings:
    """window: side of the patch in pixels. levels: halvings of the pyramid.

    tolerance: largest forward-backward error in pixels; beyond it a point is lost.
    settle: pixels by which the patch of birth may correct the frame-to-frame estimate; 0 switches that off.
    """

    window: int = 21
    levels: int = 3
    tolerance: float = 1.0
    settle: float = 2.0


class LucasKanade:
    """A `Follower`. A lost point is tracked on from its last estimate."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.xy = np.zeros((0, 2), np.float32)
        self.kept = np.zeros(0, bool)
        self._birth_xy = np.zeros((0, 2), np.float32)
        self._birth_frame = np.zeros(0, np.int64)
        self._births: dict[int, Grey] = {}  # frames in which points were born
        self._last: Grey | None = None
        self._frame = -1

    def add(self, queries: npt.ArrayLike) -> None:
        """Track these (N, 2) points of the last frame too."""
        if self._last is None:
            raise ValueError("no frame yet: give the tracker the frame in which the points are")
        new = checked_points(queries)
        self.xy = np.concatenate([self.xy, new])
        self.kept = np.concatenate([self.kept, np.ones(len(new), bool)])
        self._birth_xy = np.concatenate([self._birth_xy, new])
        self._birth_frame = np.concatenate([self._birth_frame, np.full(len(new), self._frame)])
        self._births[self._frame] = self._last

    def step(self, frame: Video) -> None:
        """Track all points to the (H, W, 3) uint8 frame; a point is kept until it is lost."""
        import cv2

        check_frame(frame)
        grey = normalised(np.asarray(cv2.cvtColor(np.ascontiguousarray(frame), cv2.COLOR_RGB2GRAY), np.uint8))
        if self._last is not None and len(self.xy):
            moved, found = self._forward_backward(self._last, grey, self.xy, self.xy)
            moved = np.where(np.isfinite(moved), moved, self.xy)
            self.xy = self._refined(grey, moved)
            self.kept = self.kept & found & inside(self.xy, frame)
        self._last = grey
        self._frame += 1

    def _forward_backward(self, old: Grey, new: Grey, start: Points, guess: Points) -> tuple[Points, Mask]:
        """Points at `start` in `old` → positions in `new`, and whether tracking back ends at the start."""
        forward = self._flow(old, new, start, guess)
        backward = self._flow(new, old, forward[0], start)
        error = np.linalg.norm(backward[0] - start, axis=-1)
        return forward[0], forward[1] & backward[1] & (error <= self.settings.tolerance)

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

    def _refined(self, grey: Grey, moved: Points) -> Points:
        """`moved`, corrected by the patch in which each point was born where that is found nearby."""
        if self.settings.settle == 0:
            return moved
        refined = moved.copy()
        for birth, first in self._births.items():
            mine = np.flatnonzero(self._birth_frame == birth)
            exact, found = self._forward_backward(first, grey, self._birth_xy[mine], moved[mine])
            near = found & (np.linalg.norm(exact - moved[mine], axis=-1) <= self.settings.settle)
            refined[mine[near]] = exact[near]
        return refined


def normalised(grey: Grey) -> Grey:
    """Grey levels minus their local mean, divided by their local contrast, so that a change of light is no motion."""
    import cv2

    level = grey.astype(np.float32)
    detail = level - cv2.GaussianBlur(level, (0, 0), NEIGHBOURHOOD)
    contrast = np.sqrt(cv2.GaussianBlur(detail * detail, (0, 0), NEIGHBOURHOOD)) + FLAT
    return np.clip(128 + 40 * detail / contrast, 0, 255).astype(np.uint8)


def tracker(settings: Settings = Settings()) -> CausalTracker:
    """Our own tracker. Its hash is that of its settings: it has no weights."""
    digest = hashlib.sha256(repr(settings).encode()).hexdigest()[:12]
    return CausalTracker(NAME, "", digest, lambda: LucasKanade(settings))


track = tracker().track
"""Tracks points through a video with the usual settings, as `PointTracker.track`."""
