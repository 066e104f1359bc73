"""Point trackers by name behind one interface: our own, and external ones that the user has (docs/trackers.md).

`open_tracker("lucas-kanade")` always works. The packages of the others are imported only when they are
opened; none is a dependency.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Protocol

import numpy.typing as npt

from motionstream.trackers import cotracker, lucas_kanade, tapnet
from motionstream.trackers.following import Mask, Over, Points, Video, every
from motionstream.trackers.source import Source
from motionstream.tracks.tracks import Tracks

DEFAULT = lucas_kanade.NAME


class PointTracker(Protocol):
    """Anything that tracks points through a video.

    licence: of its code and weights, "" where it is part of this project. live: whether `track_frames` works.
    hash: twelve hex digits; the same tracker with the same hash finds the same tracks.
    """

    name: str
    licence: str
    live: bool
    hash: str

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


def _ours(_name: str, source: Source) -> PointTracker:
    if source.path is not None or source.download:
        raise ValueError(f"{DEFAULT} has no weights: leave out --tracker-path and --download")
    return lucas_kanade.tracker()


TRACKERS: Mapping[str, Callable[[str, Source], PointTracker]] = {
    DEFAULT: _ours,
    cotracker.OFFLINE: cotracker.open_cotracker,
    cotracker.ONLINE: cotracker.open_cotracker,
    tapnet.TAPIR: tapnet.open_tapnet,
    tapnet.TAPNEXT: tapnet.open_tapnet,
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
    return TRACKERS[name](name, Source(path, download, device))
