"""What is controlled in a clip: all points of frame 0, a grid on the object that moves most, or a hand on it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from motionstream.evaluate.metrics import Mask, Video
from motionstream.evaluate.motion import EvaluationClip
from motionstream.tracks import Tracks

CONTROLS = ("dense", "object", "hand")
APART = 4.0  # pixels that a point moves, and that given and not given differ by, where it counts
RESTS = 1.0  # pixels that a point of the true clip moves at most, to be one that should stay
ON_OBJECT, LEAST_ON_OBJECT = 25, 4
HAND_SPACING = 8.0

Places = npt.NDArray[np.float32]
ClipAt = Callable[[int], EvaluationClip]


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


def controlled(clip: EvaluationClip, control: str, rng: np.random.Generator) -> Task | None:
    """What is controlled in a clip, or None where it has no object that moves and the control needs one."""
    tracks = clip.tracks
    at_start = np.flatnonzero(tracks.visible[0])
    first = clip.video[0]
    if control == "dense":
        return Task(first, clip.caption, tracks.select(at_start), np.zeros((0, 2), np.float32))
    travelled = np.linalg.norm(tracks.xy - tracks.xy[:1], axis=-1).max(0)
    own = _moved_object(clip, travelled)
    if own is None:
        return None
    rests = at_start[(travelled[at_start] <= RESTS) & (clip.object_of[at_start] != clip.object_of[own[0]])]
    if control == "hand":
        true = _hand(tracks, own, (first.shape[1], first.shape[0]))
    else:
        true = tracks.select(np.sort(rng.permutation(own)[:ON_OBJECT]))
    return Task(first, clip.caption, true, tracks.xy[0, rests])


def _moved_object(clip: EvaluationClip, travelled: npt.NDArray[np.floating]) -> npt.NDArray[np.int64] | None:
    """Points in frame 0 of the object that moves most, if one does."""
    best, farthest = None, APART
    for number in np.unique(clip.object_of[clip.object_of > 0]):
        own = np.flatnonzero((clip.object_of == number) & clip.tracks.visible[0])
        if len(own) >= LEAST_ON_OBJECT and np.median(travelled[own]) > farthest:
            best, farthest = own, float(np.median(travelled[own]))
    return best


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
