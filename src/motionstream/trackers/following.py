"""Tracking points frame by frame: the common part of causal trackers, and the checks of all trackers.

Legend: F frames, N points, H W height and width. Positions are pixels, centres at +0.5 (docs/conventions.md).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from motionstream.tracks import tracks
from motionstream.tracks.tracks import Tracks

Video = npt.NDArray[np.uint8]
Points = npt.NDArray[np.float32]
Mask = npt.NDArray[np.bool_]
Births = npt.NDArray[np.int64]
Over = Callable[[Iterable[Video]], Iterable[Video]]
"""Passes frames on, one by one, and may count them: a progress bar."""


def every(frames: Iterable[Video]) -> Iterable[Video]:
    """An `Over` without a progress bar."""
    return frames


class Follower(Protocol):
    """A tracker during one video, given one frame at a time.

    xy: (N, 2) float32 pixels, kept: (N,) bool whether each is visible there, in the order in which they were added.
    """

    @property
    def xy(self) -> Points: ...
    @property
    def kept(self) -> Mask: ...

    def add(self, queries: npt.ArrayLike) -> None:
        """Track these (N, 2) points of the last frame too."""

    def step(self, frame: Video) -> None:
        """Track all points to the (H, W, 3) uint8 frame."""


@dataclass
class CausalTracker:
    """A `PointTracker` of a `Follower`. begin: makes the one of a new video."""

    name: str
    licence: str
    hash: str
    begin: Callable[[], Follower]
    live: bool = True

    def track(
        self, video: Video, queries: npt.ArrayLike, births: npt.ArrayLike | None = None, over: Over = every
    ) -> Tracks:
        """As `PointTracker.track`; lost points keep an estimate in `xy`."""
        points, born = checked(video, queries, births)
        follower = self.begin()
        xy = np.repeat(points[None], len(video), axis=0)
        visible = np.zeros((len(video), len(points)), bool)
        order = np.zeros(0, np.int64)  # of the queries, as the follower has them
        for number, frame in enumerate(over(video)):
            follower.step(frame)
            new = np.flatnonzero(born == number)
            if len(new):
                follower.add(points[new])
                order = np.concatenate([order, new])
            xy[number, order], visible[number, order] = follower.xy, follower.kept
        return Tracks(xy, visible)

    def track_frames(self, frames: Iterable[Video], queries: npt.ArrayLike) -> Iterator[tuple[Points, Mask]]:
        """As `PointTracker.track_frames`."""
        follower = self.begin()
        for number, frame in enumerate(frames):
            follower.step(frame)
            if number == 0:
                follower.add(queries)
            yield follower.xy.copy(), follower.kept.copy()


def checked(video: Video, queries: npt.ArrayLike, births: npt.ArrayLike | None) -> tuple[Points, Births]:
    """(N, 2) float32 points and the (N,) frames in which they are born, 0 by default, checked for this video.

    Raises ValueError when the video is not (F, H, W, 3) uint8, on queries or births of another shape or out of range.
    """
    if video.ndim != 4 or video.shape[-1] != 3 or video.dtype != np.uint8 or len(video) == 0:
        raise ValueError(f"video of shape {video.shape}, {video.dtype}: send (F, H, W, 3) uint8")
    points = checked_points(queries)
    born = np.zeros(len(points), np.int64) if births is None else np.asarray(births)
    if born.shape != (len(points),) or (born < 0).any() or (born >= len(video)).any():
        raise ValueError(f"births of shape {born.shape}: one frame number from 0 to {len(video) - 1} a query")
    return points, born.astype(np.int64)


def checked_points(queries: npt.ArrayLike) -> Points:
    """(N, 2) float32. Raises ValueError when they are not finite points."""
    points = np.asarray(queries, np.float32)
    if points.ndim != 2 or points.shape[1] != 2 or not np.isfinite(points).all():
        raise ValueError(f"queries of shape {points.shape}: send finite points of shape (N, 2)")
    return points


def check_frame(frame: Video) -> None:
    """Raise ValueError unless the frame is (H, W, 3) uint8."""
    if frame.ndim != 3 or frame.shape[-1] != 3 or frame.dtype != np.uint8:
        raise ValueError(f"frame of shape {frame.shape}, {frame.dtype}: send (H, W, 3) uint8")


def inside(xy: Points, frame: Video) -> Mask:
    """(…,) whether positions (…, 2) are finite and within the (H, W, 3) frame."""
    return tracks.inside(xy, (frame.shape[1], frame.shape[0]))


def tracks_of(xy: Points, visible: Mask, points: Points, born: Births, frame: Video) -> Tracks:
    """A network's positions (F, N, 2) and visibility (F, N) → `Tracks`.

    A point is not visible before its birth or outside the (H, W, 3) frame; at birth it is at its query.
    """
    number = np.arange(len(xy))[:, None]
    xy = np.where((number <= born)[..., None], points, xy).astype(np.float32)
    return Tracks(xy, ((number == born) | visible) & (number >= born) & inside(xy, frame))
