"""The tracks given: the true ones, those that did not happen, and true ones with points hidden, let go or pinned."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt

from benchmarks.counterfactual.task import ClipAt, Places, Task, controlled, in_frame
from motionstream.evaluate.metrics import Floats, turned
from motionstream.tracks import Tracks

TRUE, DELAYED, SWAPPED, STOPPED = "true", "delayed", "swapped", "still"
AS_FAST = ("mirrored", "turned")
"""Variants over which the headline ratio is taken: they move every point as far as the true tracks do, so a picture
that stands still is exactly as far from given as from not given. Delayed and swapped tracks have no such balance."""
VARIANTS = (TRUE, "mirrored", "turned", DELAYED, SWAPPED, STOPPED)
PINNED = 12.0, 48.0  # pixels from the points given within which points are pinned
MOST_PINNED = 25


def variants(task: Task, donor: Tracks | None) -> dict[str, Tracks]:
    """The tracks given, by name: the true ones and those that did not happen. Without a donor, none are swapped.

    Points keep their visibility, and are invisible outside the frame.
    """
    true, size = task.true, task.size
    away = true.xy - true.xy[:1]
    late = np.maximum(np.arange(true.frames) - true.frames // 4, 0)
    given = {
        TRUE: true,
        "mirrored": _displaced(true, away * np.array([-1, 1]), size),
        "turned": _displaced(true, turned(true).xy - true.xy[:1], size),
        DELAYED: _displaced(true, away[late], size),
        STOPPED: Tracks(np.repeat(true.xy[:1], true.frames, 0), np.ones_like(true.visible), true.ids),
    }
    if donor is not None:
        given[SWAPPED] = _displaced(true, borrowed(true, donor), size)
    return given


def borrowed(true: Tracks, donor: Tracks) -> npt.NDArray[np.float32]:
    """(F, N, 2) displacement of each point as of the nearest of the donor's, both sets laid centre on centre."""
    home, other = (one.xy[0] - one.xy[0].mean(0) for one in (true, donor))
    nearest = np.linalg.norm(home[:, None] - other[None], axis=-1).argmin(1)
    return (donor.xy - donor.xy[:1])[:, nearest]


def _displaced(true: Tracks, away: npt.NDArray[np.floating], size: tuple[int, int]) -> Tracks:
    xy = (true.xy[:1] + away).astype(np.float32)
    return Tracks(xy, true.visible & in_frame(xy, size), true.ids)


def donor_of(clip_at: ClipAt, number: int, count: int, control: str, seed: int) -> Tracks | None:
    """The true tracks of the next clip that can be used and is as long."""
    frames = clip_at(number).tracks.frames
    for other in (n % count for n in range(number + 1, number + count)):
        task = controlled(clip_at(other), control, np.random.default_rng([seed, other]))
        if task is not None and task.true.frames == frames:
            return task.true
    return None


def occluded(true: Tracks) -> tuple[Tracks, slice]:
    """All points hidden in the middle third, and those frames."""
    gap = slice(true.frames // 3, 2 * true.frames // 3)
    visible = true.visible.copy()
    visible[gap] = False
    return replace(true, visible=visible), gap


def released(true: Tracks) -> tuple[Tracks, int]:
    """All points let go in the middle, and the last frame in which they are held."""
    last = true.frames // 2 - 1
    visible = true.visible.copy()
    visible[last + 1 :] = False
    return replace(true, visible=visible), last


def pinned(task: Task) -> Tracks | None:
    """The true tracks, then pins on up to 25 resting points beside them; None where nothing rests there."""
    apart = nearest(task.resting, task.true)
    beside = task.resting[(apart >= PINNED[0]) & (apart <= PINNED[1])]
    pins = beside[np.linspace(0, len(beside) - 1, min(MOST_PINNED, len(beside))).round().astype(int)]
    if len(pins) == 0:
        return None
    held = np.repeat(pins[None], task.true.frames, 0)
    xy = np.concatenate([task.true.xy, held], 1)
    return Tracks(xy, np.concatenate([task.true.visible, np.ones(held.shape[:2], bool)], 1))


def nearest(places: Places, tracks: Tracks) -> Floats:
    """(M,) how near, in pixels, any visible point ever comes to each of the places (M, 2)."""
    points = tracks.xy[tracks.visible].astype(np.float64)
    if len(points) == 0:
        return np.full(len(places), np.inf)
    return np.array([np.linalg.norm(points - place, axis=-1).min() for place in places.astype(np.float64)])
