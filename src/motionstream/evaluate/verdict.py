"""Is one model better than another? Both are measured on the same clips, and differences are taken clip by clip.

Clips differ far more than models do, so a difference of two means says little; the mean of the differences, with the
interval in which it would fall for other clips of the kind (a bootstrap over clips), says whether it is one. A model is
better in a measure when that interval leaves 0 out on the right side; it is to be preferred when it is better in
something and worse in nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from motionstream.evaluate.bootstrap import FEWEST, of_mean

MEASURES = {"epe_px": False, "psnr_db": True}
"""Of each clip in the figures of `evaluate motion` → whether more is better."""
BETTER, WORSE, SAME = "better", "worse", "no difference"


@dataclass(frozen=True)
class Difference:
    """Of one measure over the clips that both were measured on. first, second: means; change: second − first."""

    name: str
    clips: int
    first: float
    second: float
    change: float
    low: float
    high: float
    more_is_better: bool

    @property
    def verdict(self) -> str:
        """Of the second model: better, worse, or no difference."""
        if self.low <= 0 <= self.high:
            return SAME
        return BETTER if (self.change > 0) == self.more_is_better else WORSE


def difference(
    name: str, first: Sequence[float], second: Sequence[float], more_is_better: bool, seed: int = 0
) -> Difference:
    """The mean difference of paired figures with its interval. Raises ValueError on too few, or unequal numbers."""
    a, b = (np.asarray(values, dtype=np.float64) for values in (first, second))
    if a.shape != b.shape or len(a) < FEWEST:
        raise ValueError(f"{name}: {len(a)} and {len(b)} clips, send as many of both, {FEWEST} or more")
    change = b - a
    low, high = of_mean(change, seed)
    return Difference(name, len(a), float(a.mean()), float(b.mean()), float(change.mean()), low, high, more_is_better)


def differences(first: Mapping[str, Any], second: Mapping[str, Any], seed: int = 0) -> list[Difference]:
    """Of two results of `evaluate motion`: one for each control and measure that both have on enough clips.

    Raises ValueError where they were measured on other clips, or hardly on any.
    """
    for setting in ("size", "frames", "seed", "data", "split"):
        if first.get(setting) != second.get(setting):
            raise ValueError(
                f"not the same clips: {setting} is {first.get(setting)} and {second.get(setting)}; measure both alike"
            )
    rows = [_by_clip(figures) for figures in (first, second)]
    controls = dict.fromkeys(control for control, _ in rows[0])
    found = []
    for control in controls:
        shared = [key for key in rows[0] if key[0] == control and key in rows[1]]
        for measure, more_is_better in MEASURES.items():
            pairs = [(rows[0][key][measure], rows[1][key][measure]) for key in shared]
            known = [(a, b) for a, b in pairs if a is not None and b is not None]
            if len(known) >= FEWEST:
                a, b = zip(*known, strict=True)
                found.append(difference(f"{control}, {measure}", a, b, more_is_better, seed))
    if not found:
        raise ValueError(f"fewer than {FEWEST} clips in common under every control: measure both on more")
    return found


def _by_clip(figures: Mapping[str, Any]) -> dict[tuple[str, str], Mapping[str, float | None]]:
    """(control, clip) → the model's figures."""
    return {(row["control"], row["name"]): row["model"] for row in figures["per_clip"]}


def preferred(found: Sequence[Difference]) -> str:
    """One line on the second model: prefer it, or not, and why."""
    better = [each.name for each in found if each.verdict == BETTER]
    worse = [each.name for each in found if each.verdict == WORSE]
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
            {
                "measure": each.name,
                "clips": each.clips,
                "first": each.first,
                "second": each.second,
                "change": each.change,
                "interval": [each.low, each.high],
                "verdict": each.verdict,
            }
            for each in found
        ],
        "verdict": preferred(found),
    }


def rows(found: Sequence[Difference]) -> list[list[str]]:
    """A table for people; the first row is its heads."""
    heads = ["control, measure", "clips", "first", "second", "change", "95 % interval", "second is"]
    return [heads] + [
        [
            each.name,
            str(each.clips),
            f"{each.first:.3f}",
            f"{each.second:.3f}",
            f"{each.change:+.3f}",
            f"{each.low:+.3f} … {each.high:+.3f}",
            each.verdict,
        ]
        for each in found
    ]
