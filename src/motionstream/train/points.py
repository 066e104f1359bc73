"""Which of a clip's exact tracks the model is given, so that training covers control by few points and by many.

Three kinds of control are drawn: dense (points everywhere, as a tracker gives), by hand (a handful on each thing that
moves), and few points anywhere. In the first two nothing moves that is not tracked, so the model learns that what
has no track stays where it is; the third keeps it able to guess.

Legend: F frames, N points of the clip.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from motionstream.tracks import Tracks

KINDS = {"dense": 0.45, "hand": 0.45, "few": 0.1}
"""Kind of control → share of clips."""
MOVES = 1.0
"""Pixels from which on a thing counts as moving."""
MASK_FRAMES = 12


@dataclass(frozen=True)
class Choice:
    """fewest, most: points of a dense choice. mask_probability: of a chunk of `MASK_FRAMES` middle frames losing all
    points (paper Section 3.1, p_mask)."""

    fewest: int
    most: int
    mask_probability: float = 0.0


def choose(tracks: Tracks, object_of: npt.NDArray[np.int64], choice: Choice, random: np.random.Generator) -> Tracks:
    """The points shown of one clip. object_of: (N,), 0 = ground."""
    kind = random.choice(list(KINDS), p=list(KINDS.values()))
    shown = tracks.visible[0]
    if kind == "dense":
        many = int(np.exp(random.uniform(np.log(choice.fewest), np.log(choice.most + 1))))
        chosen = random.permutation(tracks.points)[:many]
    elif kind == "hand":
        chosen = _by_hand(tracks, object_of, random)
    else:
        chosen = random.permutation(np.flatnonzero(shown))[: random.integers(1, 21)]
    return mask_middle(tracks.select(np.sort(chosen)), choice, random)


def _by_hand(tracks: Tracks, object_of: npt.NDArray[np.int64], random: np.random.Generator) -> npt.NDArray[np.int64]:
    """A few points on each thing that moves, more on a moving ground; sometimes pins on what stands still."""
    chosen = []
    for thing in np.unique(object_of):
        own = np.flatnonzero((object_of == thing) & tracks.visible[0])
        if len(own) == 0:
            continue
        moving = _travel(tracks, own) > MOVES
        pinned = random.random() < 0.2
        if moving or pinned:
            many = random.integers(12, 80) if thing == 0 else random.integers(3, 25)
            chosen.append(random.permutation(own)[:many])
    return np.concatenate(chosen) if chosen else np.zeros(0, np.int64)


def _travel(tracks: Tracks, points: npt.NDArray[np.int64]) -> float:
    """Farthest that the points are, on average, from where they began."""
    away = np.linalg.norm(tracks.xy[:, points] - tracks.xy[:1, points], axis=-1)
    return float(away.mean(1).max())


def mask_middle(tracks: Tracks, choice: Choice, random: np.random.Generator) -> Tracks:
    """Stochastic mid-frame masking: chunks of frames, never the first or the last, lose all points."""
    visible = tracks.visible.copy()
    for begin in range(1, tracks.frames - MASK_FRAMES, MASK_FRAMES):
        if random.random() < choice.mask_probability:
            visible[begin : begin + MASK_FRAMES] = False
    return Tracks(tracks.xy, visible, tracks.ids)
