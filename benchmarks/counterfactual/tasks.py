"""What is controlled in a clip, and the tracks given for it.

Given are the true tracks, those that did not happen, and the true ones with points hidden, released or pinned.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from motionstream.data.synthetic import Clip
from motionstream.evaluate.controls import on_object
from motionstream.evaluate.metrics import Floats, Mask, Video, turned
from motionstream.tracks import Tracks

CONTROLS = ("dense", "object", "hand")
RESTS = 1.0  # pixels that a point of the true clip moves at most, to be one that should stay
HAND_SPACING = 8.0
TRUE, DELAYED, SWAPPED, STOPPED = "true", "delayed", "swapped", "still"
AS_FAST = ("mirrored", "turned")
"""Variants over which the headline ratio is taken: they move every point as far as the true tracks do, so a picture
that stands still is exactly as far from given as from not given. Delayed and swapped tracks have no such balance."""
VARIANTS = (TRUE, "mirrored", "turned", DELAYED, SWAPPED, STOPPED)
PINNED = 12.0, 48.0  # pixels from the points given within which points are pinned
MOST_PINNED = 25

Places = npt.NDArray[np.float32]
ClipAt = Callable[[int], Clip]


@dataclass(frozen=True)
class Task:
    """What is controlled in one clip.

    first: (H, W, 3). true: tracks of N points, all visible in frame 0. resting: (M, 2) places in frame 0 of points
    that are not controlled and rest in the true clip.
    """

    first: Video
    caption: str
    true: Tracks
    resting: Places

    @property
    def size(self) -> tuple[int, int]:
        """(W, H) in pixels."""
        return self.first.shape[1], self.first.shape[0]


def checked_control(control: str) -> str:
    """A control that there is. Raises ValueError that names them otherwise."""
    if control not in CONTROLS:
        raise ValueError(f"control {control!r}: use {', '.join(CONTROLS)}")
    return control


def task_at(clip_at: ClipAt, number: int, control: str, seed: int) -> Task | None:
    """What is controlled in a clip, or None where it has no object that moves and the control needs one."""
    return controlled(clip_at(number), control, np.random.default_rng([seed, number]))


def controlled(clip: Clip, control: str, rng: np.random.Generator) -> Task | None:
    """As `task_at`, of a clip. rng: of the choice of points."""
    tracks, first = clip.tracks, clip.video[0]
    at_start = np.flatnonzero(tracks.visible[0])
    if control == "dense":
        return Task(first, clip.caption, tracks.select(at_start), np.zeros((0, 2), np.float32))
    chosen = on_object(tracks, clip.object_of, rng)
    if len(chosen) == 0:
        return None
    own = clip.object_of == clip.object_of[chosen[0]]
    travelled = np.linalg.norm(tracks.xy - tracks.xy[:1], axis=-1).max(0)
    rests = at_start[(travelled[at_start] <= RESTS) & ~own[at_start]]
    size = (first.shape[1], first.shape[0])
    true = tracks.select(chosen) if control == "object" else _hand(tracks, at_start[own[at_start]], size)
    return Task(first, clip.caption, true, tracks.xy[0, rests])


def _hand(tracks: Tracks, own: npt.NDArray[np.int64], size: tuple[int, int]) -> Tracks:
    """A rigid 3×3 grid around the object's middle point, moved as that point moves."""
    home = tracks.xy[0, own]
    lead = own[np.linalg.norm(home - np.median(home, 0), axis=-1).argmin()]
    steps = (np.arange(3) - 1) * HAND_SPACING
    offsets = np.stack(np.meshgrid(steps, steps), -1).reshape(-1, 2).astype(np.float32)
    xy = tracks.xy[:, lead, None] + offsets
    inside = in_frame(xy, size)
    return Tracks(xy, tracks.visible[:, lead, None] & inside).select(inside[0])


def in_frame(xy: npt.NDArray[np.floating], size: tuple[int, int]) -> Mask:
    """(…) whether places (…, 2) are in a frame of (W, H) pixels."""
    return np.asarray(((xy >= 0) & (xy < np.array(size))).all(-1))


def variants(task: Task, donor: Tracks | None) -> dict[str, Tracks]:
    """The tracks given, by name: the true ones and those that did not happen. Without a donor, none are swapped.

    Points keep their visibility, and are invisible outside the frame.
    """
    true = task.true
    away = true.xy - true.xy[:1]
    late = np.maximum(np.arange(true.frames) - true.frames // 4, 0)

    def displaced(by: npt.NDArray[np.floating]) -> Tracks:
        xy = (true.xy[:1] + by).astype(np.float32)
        return Tracks(xy, true.visible & in_frame(xy, task.size), true.ids)

    given = {
        TRUE: true,
        "mirrored": displaced(away * np.array([-1, 1])),
        "turned": displaced(turned(true).xy - true.xy[:1]),
        DELAYED: displaced(away[late]),
        STOPPED: Tracks(np.repeat(true.xy[:1], true.frames, 0), np.ones_like(true.visible), true.ids),
    }
    return given if donor is None else {**given, SWAPPED: displaced(borrowed(true, donor))}


def borrowed(true: Tracks, donor: Tracks) -> npt.NDArray[np.float32]:
    """(F, N, 2) displacement of each point as of the nearest of the donor's, both sets laid centre on centre."""
    home, other = (one.xy[0] - one.xy[0].mean(0) for one in (true, donor))
    closest = np.linalg.norm(home[:, None] - other[None], axis=-1).argmin(1)
    return (donor.xy - donor.xy[:1])[:, closest]


def donor_of(clip_at: ClipAt, number: int, count: int, control: str, seed: int) -> Tracks | None:
    """The true tracks of the next clip that can be used and is as long."""
    frames = clip_at(number).tracks.frames
    for other in (n % count for n in range(number + 1, number + count)):
        task = task_at(clip_at, other, control, seed)
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
    """All points released in the middle, and the last frame in which they are held."""
    last = true.frames // 2 - 1
    visible = true.visible.copy()
    visible[last + 1 :] = False
    return replace(true, visible=visible), last


def pinned(true: Tracks, resting: Places) -> Tracks | None:
    """The true tracks, then pins on up to 25 resting points beside them; None where nothing rests there."""
    apart = nearest(resting, true)
    beside = resting[(apart >= PINNED[0]) & (apart <= PINNED[1])]
    pins = beside[np.linspace(0, len(beside) - 1, min(MOST_PINNED, len(beside))).round().astype(int)]
    if len(pins) == 0:
        return None
    held = np.repeat(pins[None], true.frames, 0)
    return Tracks(np.concatenate([true.xy, held], 1), np.concatenate([true.visible, np.ones(held.shape[:2], bool)], 1))


def nearest(places: Places, tracks: Tracks) -> Floats:
    """(M,) how near, in pixels, any visible point ever comes to each of the places (M, 2)."""
    points = tracks.xy[tracks.visible].astype(np.float64)
    if len(points) == 0:
        return np.full(len(places), np.inf)
    return np.array([np.linalg.norm(points - place, axis=-1).min() for place in places.astype(np.float64)])
