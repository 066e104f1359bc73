"""Is one model better than another? Both are measured on the same clips, and differences are taken clip by clip.

Clips differ far more than models do, so a difference of two means says little; the mean of the paired differences with
its bootstrap interval over clips says whether there is one. A model is better in a measure when that interval excludes
0 on the right side; it is to be preferred when it is better in something and worse in nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from motionstream.evaluate.harness import FEWEST, Interval, interval_of_mean, table

MEASURES = {"epe_px": False, "psnr_db": True}
"""Of each clip in the figures of `evaluate motion` → whether more is better."""
BETTER, WORSE, SAME = "better", "worse", "no difference"
SAME_IN_BOTH = ("size", "frames", "seed", "data", "split")
"""Settings that must agree for the clips to be the same."""


@dataclass(frozen=True)
class Difference:
    """One measure over the clips that both were measured on. first, second: means; change: second − first."""

    measure: str
    clips: int
    first: float
    second: float
    change: float
    interval: Interval
    more_is_better: bool

    @property
    def result(self) -> str:
        """Of the second model: better, worse, or no difference."""
        low, high = self.interval
        if low <= 0 <= high:
            return SAME
        return BETTER if (self.change > 0) == self.more_is_better else WORSE


def difference(
    measure: str, first: Sequence[float], second: Sequence[float], more_is_better: bool, seed: int = 0
) -> Difference:
    """The mean difference of paired figures with its interval. Raises ValueError on too few, or unequal numbers."""
    a, b = (np.asarray(values, dtype=np.float64) for values in (first, second))
    if a.shape != b.shape or len(a) < FEWEST:
        raise ValueError(f"{measure}: {len(a)} and {len(b)} clips, send as many of both, {FEWEST} or more")
    interval = interval_of_mean(b - a, seed)
    return Difference(
        measure, len(a), float(a.mean()), float(b.mean()), float((b - a).mean()), interval, more_is_better
    )


def differences(first: Mapping[str, Any], second: Mapping[str, Any], seed: int = 0) -> list[Difference]:
    """Of two results of `evaluate motion`: one for each control and measure that both have on enough clips.

    Raises ValueError where they were measured on other clips, or on fewer than `FEWEST` in common.
    """
    for setting in SAME_IN_BOTH:
        if first.get(setting) != second.get(setting):
            raise ValueError(
                f"not the same clips: {setting} is {first.get(setting)} and {second.get(setting)}; measure both alike"
            )
    tables = [
        table({(row["control"], row["name"]): row["model"] for row in one["per_clip"]}) for one in (first, second)
    ]
    found = []
    for control in dict.fromkeys(row["control"] for row in first["per_clip"]):
        for measure, more_is_better in MEASURES.items():
            own = [one[measure].query("count > 0")["total"] for one in tables]
            a, b = own[0].align(own[1], join="inner")
            here = a.index.get_level_values(0) == control
            if here.sum() >= FEWEST:
                found.append(difference(f"{control}, {measure}", a[here], b[here], more_is_better, seed))
    if not found:
        raise ValueError(f"fewer than {FEWEST} clips in common under every control: measure both on more")
    return found


def conclusion(found: Sequence[Difference]) -> str:
    """One line on the second model: prefer it, or not, and why."""
    better = [each.measure for each in found if each.result == BETTER]
    worse = [each.measure for each in found if each.result == WORSE]
    if worse and better:
        return f"neither: the second is better in {'; '.join(better)}, worse in {'; '.join(worse)}"
    if worse:
        return f"keep the first: the second is worse in {'; '.join(worse)}"
    if better:
        return f"prefer the second: better in {'; '.join(better)}, worse in nothing measured"
    return "no difference that so many clips could show: keep the first, or measure more clips"


def report(found: Sequence[Difference]) -> dict[str, Any]:
    """JSON-ready."""
    return {
        "differences": [
            {**{name: value for name, value in asdict(each).items() if name != "more_is_better"}, "result": each.result}
            for each in found
        ],
        "conclusion": conclusion(found),
    }


def rows(found: Sequence[Difference]) -> list[list[str]]:
    """A table for people; the first row is its heads."""
    heads = ["control, measure", "clips", "first", "second", "change", "95 % interval", "second is"]
    return [heads] + [
        [
            each.measure,
            str(each.clips),
            f"{each.first:.3f}",
            f"{each.second:.3f}",
            f"{each.change:+.3f}",
            "{:+.3f} … {:+.3f}".format(*each.interval),
            each.result,
        ]
        for each in found
    ]
