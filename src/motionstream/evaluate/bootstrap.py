"""Where a figure would fall for other clips of the kind: the clips are drawn anew, with replacement, many times.

Clips differ far more than models do, and one on which the tracker is lost may move a mean by a tenth; a figure without
its interval does not say which of the two it shows (Efron, "Bootstrap Methods", 1979).
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

DRAWS = 2000
WITHIN = (2.5, 97.5)
"""Percentiles of the draws that an interval lies between."""
FEWEST = 4
"""Clips below which no interval is taken."""


def redrawn(clips: int, seed: int = 0) -> npt.NDArray[np.int64]:
    """(DRAWS, clips): numbers of as many clips as there are, drawn with replacement."""
    return np.random.default_rng(seed).integers(clips, size=(DRAWS, clips))


def interval(values: npt.NDArray[np.float64]) -> tuple[float, float]:
    """The lowest and the highest of a figure's values (DRAWS,), without the outermost of either side."""
    low, high = np.percentile(values, WITHIN).tolist()
    return low, high


def of_mean(values: npt.NDArray[np.float64], seed: int = 0) -> tuple[float, float]:
    """Of the mean of one value a clip."""
    return interval(values[redrawn(len(values), seed)].mean(1))


def of_ratio(
    above: npt.NDArray[np.float64], below: npt.NDArray[np.float64], seed: int = 0
) -> tuple[float, float] | None:
    """Of the quotient of two means, each (clips, 2) of totals and counts; None for fewer than FEWEST clips, or where
    some draw has nothing to divide by."""
    if len(above) != len(below):
        raise ValueError(f"{len(above)} and {len(below)} clips: a quotient is of the same clips")
    if len(above) < FEWEST:
        return None
    drawn = redrawn(len(above), seed)
    (total, count), (under, under_count) = (part[drawn].sum(1).T for part in (above, below))
    if not (count.all() and under.all() and under_count.all()):
        return None
    return interval(total / count / (under / under_count))
