"""Where points of frame 0 went in a video that was made, and where the tracker that says so can be trusted."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from benchmarks.counterfactual.task import APART, Places
from motionstream.evaluate.metrics import Mask, Video, after_birth, distance
from motionstream.trackers.lucas_kanade import track
from motionstream.tracks import Tracks

WITHIN = 1.5  # pixels that the tracker may be off on the warped first frame


def followable(first: Video, places: Places) -> Mask:
    """(M,) where the tracker is within 1.5 px as the whole picture slides by; not so where it shows too little."""
    frames, step = 5, 2
    height, width = first.shape[:2]
    wide = np.pad(first, ((0, 0), (step * frames, 0), (0, 0)), "edge")
    sliding = np.stack([wide[:, step * (frames - n) :][:, :width] for n in range(frames)])
    assert sliding.shape[1:3] == (height, width)
    slide = np.arange(frames)[:, None, None] * np.array([step, 0])
    miss = np.linalg.norm(track(sliding, places).xy - places - slide, axis=-1)
    return np.asarray(miss.max(0) <= WITHIN)


def same_place(one: Video, other: Video, places: Places) -> Mask:
    """(N,) whether two frames (H, W, 3) show the same thing at a place, to 4 px. What jumps cannot be followed."""
    if len(places) == 0:
        return np.zeros(0, bool)
    found = track(np.stack([one, other]), places)
    return np.asarray(found.visible[1] & (np.linalg.norm(found.xy[1] - places, axis=-1) <= APART))


def found_in(videos: dict[str, Video], queries: Places) -> dict[str, Tracks]:
    """Points (K, 2) of frame 0, found in the videos of every generator."""
    rest = np.repeat(queries[None], len(videos["still"]), 0)
    return {
        "model": track(videos["model"], queries),
        "warp": track(videos["warp"], queries),
        "still": Tracks(rest, np.ones(rest.shape[:2], bool)),  # there is nothing to find
    }


@dataclass(frozen=True)
class Whole:
    """Every generator's video of one variant; the points given and then the steady places, found in it; and trusted
    (F, N): where they count."""

    videos: dict[str, Video]
    found: dict[str, Tracks]
    trusted: Mask

    @classmethod
    def of(cls, videos: dict[str, Video], given: Tracks, steady: Places) -> Whole:
        found = found_in(videos, np.concatenate([given.xy[0], steady]))
        on_warp = found["warp"].select(np.arange(given.points))
        return cls(videos, found, after_birth(given) & (distance(given, on_warp) <= WITHIN))
