"""Controls: which points of a clip are given to a model.

dense: every point. A number: so many points that are visible in the first frame and for at least half of the clip,
spread over the frame; up to 5 are all on what moves, of 20 half, of 100 anywhere. object: points of the one object that
moves most, where it is known which points are on which object.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import numpy.typing as npt

from motionstream.evaluate.clips import Clip
from motionstream.tracks import Tracks
from motionstream.tracks.tracks import IntArray

DENSE, OBJECT = "dense", "object"
POINTS = {"1": 1, "5": 5, "20": 20, "100": 100}
CONTROLS = (DENSE, *POINTS, OBJECT)
MOVED = 4.0  # pixels from home from which on a point counts as moving
LASTING = 0.5  # of the frames that a point must be visible in
ALL_MOVING, HALF_MOVING = 5, 20
ON_OBJECT, LEAST_ON_OBJECT = 25, 4
CLOSER = 0.7  # factor on the least distance of points after each round that found too few


def checked(controls: Iterable[str]) -> tuple[str, ...]:
    """The controls, each once. Raises ValueError on an unknown one, or none."""
    chosen = tuple(dict.fromkeys(controls))
    if not chosen or set(chosen) - set(CONTROLS):
        raise ValueError(f"controls {', '.join(chosen) or 'none'}: use {', '.join(CONTROLS)}")
    return chosen


def points_given(control: str, clip: Clip, rng: np.random.Generator) -> IntArray:
    """Indices of the points of one of `CONTROLS`; none where the clip has no such points."""
    if control == DENSE:
        return np.flatnonzero(clip.tracks.visible.any(0))
    if control == OBJECT:
        return on_object(clip.tracks, clip.object_of, rng)
    return spread(clip.tracks, POINTS[control], rng)


def spread(tracks: Tracks, count: int, rng: np.random.Generator) -> IntArray:
    """Up to `count` lasting points, spread over the frame."""
    stays = tracks.visible[0] & (tracks.visible.mean(0) >= LASTING)
    ready = np.flatnonzero(stays if stays.any() else tracks.visible[0])
    moves = ready[travelled(tracks)[ready] >= MOVED]
    wanted = count if count <= ALL_MOVING else count // 2 if count <= HALF_MOVING else 0
    begin = tracks.xy[0]
    first = moves[apart(begin[moves], wanted, rng)]
    left = np.setdiff1d(ready, first)
    rest = left[apart(begin[left], count - len(first), rng, begin[first])]
    return np.sort(np.concatenate([first, rest]))


def on_object(tracks: Tracks, object_of: IntArray, rng: np.random.Generator) -> IntArray:
    """Up to 25 points of the object that moves most, if one does. object_of: (N,) its number, 0 for the ground."""
    far = np.linalg.norm(tracks.xy - tracks.xy[:1], axis=-1).max(0)
    best, farthest = np.zeros(0, np.int64), MOVED
    for number in np.unique(object_of[object_of > 0]):
        points = np.flatnonzero((object_of == number) & tracks.visible[0])
        if len(points) >= LEAST_ON_OBJECT and np.median(far[points]) > farthest:
            best, farthest = points, float(np.median(far[points]))
    return np.sort(rng.permutation(best)[:ON_OBJECT])


def travelled(tracks: Tracks) -> npt.NDArray[np.float64]:
    """(N,) pixels that each point is from its place in frame 0 at most, while visible."""
    far = np.linalg.norm(tracks.xy.astype(np.float64) - tracks.xy[:1], axis=-1)
    most: npt.NDArray[np.float64] = np.where(tracks.visible, far, 0.0).max(0)
    return most


def apart(
    xy: npt.NDArray[np.float32], count: int, rng: np.random.Generator, beside: npt.NDArray[np.float32] | None = None
) -> IntArray:
    """Indices of up to `count` of (N, 2) places, in random order, none close to another one or to those in `beside`.

    The least distance follows from the extent of the places, and shrinks until enough are found.
    """
    taken: list[int] = []
    wanted = min(count, len(xy))
    free = np.full(len(xy), np.inf)
    for place in beside if beside is not None else ():
        free = np.minimum(free, np.linalg.norm(xy - place, axis=-1))
    least = float(np.linalg.norm(np.ptp(xy, axis=0))) / np.sqrt(count) if wanted else 0.0
    order = rng.permutation(len(xy))
    while len(taken) < wanted:
        for index in order:
            if free[index] >= least and len(taken) < wanted:
                taken.append(int(index))
                free = np.minimum(free, np.linalg.norm(xy - xy[index], axis=-1))
                free[index] = -1  # taken
        least = least * CLOSER if least > 1 else 0.0
    return np.array(taken, np.int64)
