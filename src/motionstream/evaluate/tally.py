"""Means that are made up clip by clip, written down in a journal in between, and put together at the end."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence

import numpy.typing as npt

from motionstream.evaluate.metrics import Mean


class Tally:
    """Means by name. A mean that nothing was added to is None."""

    def __init__(self) -> None:
        self.means: defaultdict[str, Mean] = defaultdict(Mean)

    @classmethod
    def of(cls, *written: Mapping[str, Sequence[float]]) -> Tally:
        """One of all that was written."""
        tally = cls()
        for each in written:
            tally.take(each)
        return tally

    def add(self, name: str, values: npt.ArrayLike) -> None:
        """Take in numbers of any shape."""
        self.means[name].add(values)

    def take(self, written: Mapping[str, Sequence[float]]) -> None:
        """Take in what another tally has `written`."""
        for name, (total, count) in written.items():
            self.means[name].total += total
            self.means[name].count += int(count)

    def written(self) -> dict[str, list[float]]:
        """All of it as JSON: name → [total, count]."""
        return {name: [mean.total, mean.count] for name, mean in self.means.items()}

    def pooled(self, *names: str) -> Mean:
        """One mean of everything that was added under these names."""
        held = [self.means[name] for name in names if name in self.means]
        return Mean(sum(mean.total for mean in held), sum(mean.count for mean in held))

    def value(self, name: str) -> float | None:
        """The mean under this name."""
        return self.pooled(name).value
