"""Point trackers by name behind one interface: our own, and external ones that the user has (docs/trackers.md).

`open_tracker("lucas-kanade")` always works. The others are imported only when they are opened; none is a dependency.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import numpy.typing as npt

from motionstream.trackers import lucas_kanade
from motionstream.trackers.following import Mask, Over, Points, Video, every, follow
from motionstream.tracks.tracks import Tracks

DEFAULT = "lucas-kanade"


class PointTracker(Protocol):
    """Anything that tracks points through a video.

    licence: of its code and weights, "" where it is part of this project. live: whether `track_frames` works.
    hash: twelve hex digits; the same tracker with the same hash finds the same tracks.
    """

    name: str
    licence: str
    live: bool

    @property
    def hash(self) -> str: ...

    def track(
        self, video: Video, queries: npt.ArrayLike, births: npt.ArrayLike | None = None, over: Over = every
    ) -> Tracks:
        """Track points through a whole video.

        video: (F, H, W, 3) uint8. queries: (N, 2) pixels, centres at +0.5. births: (N,) frame in which each query is,
        all 0 by default. over: iterates over the frames (a progress bar). A point is not visible before its birth,
        outside the frame, or where it is occluded; `xy` then holds an estimate. Raises ValueError on wrong shapes.
        """

    def track_frames(self, frames: Iterable[Video], queries: npt.ArrayLike) -> Iterator[tuple[Points, Mask]]:
        """Track (N, 2) points of the first (H, W, 3) uint8 frame; yields positions (N, 2) and visible (N,) a frame.

        Some trackers are a few frames late. Raises ValueError where the tracker needs the whole video.
        """


@dataclass
class LucasKanadeTracker:
    """Our own tracker (lucas_kanade.py)."""

    settings: lucas_kanade.Settings = field(default_factory=lucas_kanade.Settings)
    name: str = DEFAULT
    licence: str = ""
    live: bool = True

    @property
    def hash(self) -> str:
        """Of its settings: it has no weights."""
        return hashlib.sha256(repr(self.settings).encode()).hexdigest()[:12]

    def track(
        self, video: Video, queries: npt.ArrayLike, births: npt.ArrayLike | None = None, over: Over = every
    ) -> Tracks:
        """As `PointTracker.track`."""
        return follow(lucas_kanade.LucasKanade(self.settings), video, queries, births, over)

    def track_frames(self, frames: Iterable[Video], queries: npt.ArrayLike) -> Iterator[tuple[Points, Mask]]:
        """As `PointTracker.track_frames`."""
        return lucas_kanade.track_frames(frames, queries, self.settings)


def _ours(path: Path | None, download: bool, device: str) -> PointTracker:
    if path is not None or download:
        raise ValueError(f"{DEFAULT} has no weights: leave out --tracker-path and --download")
    return LucasKanadeTracker()


def _cotracker(name: str) -> Callable[[Path | None, bool, str], PointTracker]:
    def opened(path: Path | None, download: bool, device: str) -> PointTracker:
        from motionstream.trackers.cotracker import open_cotracker
        from motionstream.trackers.source import Source

        return open_cotracker(name, Source(path, download, device))

    return opened


def _tapnet(name: str) -> Callable[[Path | None, bool, str], PointTracker]:
    def opened(path: Path | None, download: bool, device: str) -> PointTracker:
        from motionstream.trackers.source import Source
        from motionstream.trackers.tapnet import open_tapnet

        return open_tapnet(name, Source(path, download, device))

    return opened


TRACKERS: Mapping[str, Callable[[Path | None, bool, str], PointTracker]] = {
    DEFAULT: _ours,
    "cotracker3": _cotracker("cotracker3"),
    "cotracker3-online": _cotracker("cotracker3-online"),
    "tapir": _tapnet("tapir"),
    "tapnext": _tapnet("tapnext"),
}


def open_tracker(
    name: str = DEFAULT, path: Path | None = None, download: bool = False, device: str = "auto"
) -> PointTracker:
    """A tracker by name, ready to track.

    path: a checkout or a file of weights, as docs/trackers.md says for each. download: what is missing may be fetched
    through torch.hub. Raises ValueError for an unknown name, and one that says what to install and under which licence
    when an external tracker is missing; FileNotFoundError when `path` is.
    """
    if name not in TRACKERS:
        raise ValueError(f"tracker {name!r} is unknown: use one of {', '.join(TRACKERS)}")
    if path is not None:
        path.stat()  # raises for a missing file before anything is imported
    return TRACKERS[name](path, download, device)
