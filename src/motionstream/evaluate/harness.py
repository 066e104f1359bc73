"""One way to run every evaluation: items are measured into rows, rows make a table, the table makes the figures.

An item is a clip, a scene or a stream, and its row holds JSON values. Rows are written to a results file one by one,
so that an interrupted evaluation continues where it stopped. A figure in a row is a number, or a pair [total, count]
of values that are averaged over all items together, such as the errors of all points of a clip (`Sums`).

Intervals are 95 % percentile bootstrap intervals over items (Efron, "Bootstrap Methods", 1979). Items differ far more
than models do, and one clip on which the tracker fails may move a mean by a tenth; a figure without its interval does
not say which of the two it shows.
"""

from __future__ import annotations

import json
import os
import warnings
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from motionstream.evaluate import machine

if TYPE_CHECKING:
    import pandas as pd

SETTINGS = "settings"
RESAMPLES = 2000
FEWEST = 4
"""Items below which no interval is given."""

Row = Any
"""What was measured on one item: JSON values, None where there is nothing to measure."""
Floats = npt.NDArray[np.float64]
Interval = tuple[float, float]


class Unusable(ValueError):
    """This item cannot be measured; the others can."""


# --- items → rows -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Item:
    """One thing to measure. measure returns its row, or raises Unusable with the reason."""

    name: str
    measure: Callable[[], Row]


class Results:
    """Rows by item name, kept in a resumable results file. file: None keeps them in memory only.

    The file has one JSON object a line: first the settings, then a row a line. settings: everything that the rows
    depend on beside the item (model hash, frames, seed, …). A last line that was cut while it was written is measured
    again. Raises ValueError when the file was written with other settings.
    """

    def __init__(self, file: Path | None = None, settings: Mapping[str, Any] | None = None) -> None:
        self.file = file
        self.settings = json.loads(json.dumps(settings or {}))
        self.rows: dict[str, Row] = {}
        if file is not None:
            lines = _whole_lines(file) or [{SETTINGS: self.settings}]
            self._check(lines[0])
            self.rows = {line["item"]: line["row"] for line in lines[1:]}
            _rewrite(file, lines)  # without a line that was cut

    def __contains__(self, item: str) -> bool:
        return item in self.rows

    def measured(self, item: str, measure: Callable[[], Row]) -> Row:
        """The item's row: that in the file, or else that of `measure`, which is then added to the file."""
        if item not in self.rows:
            self.rows[item] = json.loads(json.dumps(measure(), allow_nan=False))
            if self.file is not None:
                _append(self.file, {"item": item, "row": self.rows[item]})
        return self.rows[item]

    def _check(self, head: Mapping[str, Any]) -> None:
        other = head.get(SETTINGS)
        if other == self.settings:
            return
        if not isinstance(other, Mapping):
            raise ValueError(f"{self.file} is not a results file: name another file")
        names = sorted(n for n in {*self.settings, *other} if self.settings.get(n) != other.get(n))
        raise ValueError(
            f"{self.file} holds results of another evaluation (different: {', '.join(names)}): remove it, or name "
            "another file"
        )


@dataclass
class Measured:
    """rows: of the items that could be measured, in order. skipped: the others' names, with the reason."""

    rows: dict[str, Row] = field(default_factory=dict)
    skipped: dict[str, str] = field(default_factory=dict)


def measure(items: Iterable[Item], results: Results) -> Measured:
    """Measure all items that the results file lacks."""
    measured = Measured()
    for item in items:
        try:
            measured.rows[item.name] = results.measured(item.name, item.measure)
        except Unusable as error:
            measured.skipped[item.name] = str(error)
    return measured


class Sums(dict[str, list[float]]):
    """[total, count] of values by name, as a row holds them."""

    def add(self, name: str, values: npt.ArrayLike) -> None:
        """Add numbers of any shape."""
        array = np.asarray(values, np.float64)
        total, count = self.get(name, (0.0, 0))
        self[name] = [total + float(array.sum()), count + array.size]


# --- rows → table → figures -------------------------------------------------------------------------------------------


def table(rows: Mapping[Any, Mapping[str, Any]]) -> pd.DataFrame:
    """A line for each item, two columns for each figure: (figure, "total") and (figure, "count").

    rows: by item; keys that are tuples become the levels of the index. Names of nested figures are joined by dots.
    A number counts once, None not at all; texts are left out.
    """
    import pandas as pd

    lines = {item: dict(_cells(row)) for item, row in rows.items()}
    figures = dict.fromkeys(figure for line in lines.values() for figure in line)
    values = [[part for figure in figures for part in line.get(figure, (0.0, 0.0))] for line in lines.values()]
    columns = pd.MultiIndex.from_product([list(figures), ["total", "count"]], names=["figure", "part"])
    keys: list[Hashable] = list(lines)
    index = pd.MultiIndex.from_tuples(keys) if keys and isinstance(keys[0], tuple) else pd.Index(keys)
    return pd.DataFrame(np.array(values, np.float64).reshape(len(lines), 2 * len(figures)), index, columns)


def total(table: pd.DataFrame, *figures: str) -> tuple[float, int]:
    """Total and count of these figures together, over all lines; (0, 0) for figures that the table lacks."""
    known = [figure for figure in figures if figure in table.columns.get_level_values(0)]
    both = [table[figure].sum() for figure in known]
    return float(sum(one["total"] for one in both)), int(sum(one["count"] for one in both))


def mean(table: pd.DataFrame, *figures: str) -> float | None:
    """The mean of these figures together, over all lines; None where nothing was measured."""
    return ratio(*total(table, *figures))


def mean_of(values: npt.ArrayLike) -> float | None:
    """The mean of numbers of any shape; None where there are none."""
    array = np.asarray(values, np.float64)
    return float(array.mean()) if array.size else None


def means(table: pd.DataFrame) -> dict[str, Any]:
    """The mean of every figure, nested as in the rows."""
    nested: dict[str, Any] = {}
    for figure in table.columns.get_level_values(0).unique():
        *path, name = figure.split(".")
        inner = nested
        for part in path:
            inner = inner.setdefault(part, {})
        inner[name] = mean(table, figure)
    return nested


def ratio(above: float | None, below: float | None) -> float | None:
    """above / below, or None where there is nothing to compare."""
    return None if above is None or not below else above / below


def interval_of_mean(values: npt.ArrayLike, seed: int = 0) -> Interval:
    """Interval of the mean of one value an item. Of two systems on the same items, give the paired differences."""
    return _interval([np.asarray(values, np.float64)], lambda drawn, axis: drawn.mean(axis), seed)


def interval_of_ratio(table: pd.DataFrame, above: str, below: str, seed: int = 0) -> Interval | None:
    """Interval of the quotient of two means, paired over the table's lines.

    None for fewer than FEWEST lines, for figures that the table lacks, or where a resample has nothing to divide by.
    """
    if len(table) < FEWEST or not {above, below} <= set(table.columns.get_level_values(0)):
        return None
    columns = [table[figure][part].to_numpy() for figure in (above, below) for part in ("total", "count")]

    def quotient(*drawn: Floats, axis: int) -> Floats:
        over, over_count, under, under_count = (part.sum(axis) for part in drawn)
        with np.errstate(divide="ignore", invalid="ignore"):
            value = over / over_count / (under / under_count)
        return np.where(np.isfinite(value), value, np.nan)

    low, high = _interval(columns, quotient, seed)
    return (low, high) if np.isfinite(low) and np.isfinite(high) else None


def stamp() -> dict[str, Any]:
    """machine and date, as every file of figures has them."""
    return {"machine": machine.describe(), "date": machine.today()}


def _cells(row: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Sequence[float]]]:
    """Figure → (total, count)."""
    for name, value in row.items():
        if isinstance(value, Mapping):
            yield from _cells(value, f"{prefix}{name}.")
        elif isinstance(value, (list, tuple)):
            yield f"{prefix}{name}", (value[0], value[1])
        elif isinstance(value, (int, float)):
            yield f"{prefix}{name}", (value, 1)
        elif value is None:
            yield f"{prefix}{name}", (0, 0)


def _interval(data: Sequence[Floats], statistic: Callable[..., Floats], seed: int) -> Interval:
    from scipy.stats import DegenerateDataWarning, bootstrap

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DegenerateDataWarning)  # no interval: it is NaN then
        found = bootstrap(
            data,
            statistic,
            n_resamples=RESAMPLES,
            paired=True,
            vectorized=True,
            method="percentile",
            rng=np.random.default_rng(seed),
        ).confidence_interval
    return float(found.low), float(found.high)


def _whole_lines(file: Path) -> list[dict[str, Any]]:
    """All lines up to the first that is damaged. A file whose first line is whole and no settings has one, {}."""
    text = file.read_text(encoding="utf-8", errors="replace") if file.is_file() else ""
    lines: list[dict[str, Any]] = []
    for one in text.splitlines(keepends=True):
        try:
            line = json.loads(one)
        except ValueError:
            line = None
        if not isinstance(line, dict) or not line.keys() >= ({"item", "row"} if lines else {SETTINGS}):
            return lines if lines or not one.endswith("\n") else [{}]
        lines.append(line)
    return lines


def _rewrite(file: Path, lines: Iterable[Mapping[str, Any]]) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    draft = file.with_name(f".{file.name}.draft")
    draft.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    draft.replace(file)


def _append(file: Path, line: Mapping[str, Any]) -> None:
    with file.open("a", encoding="utf-8") as writing:
        writing.write(json.dumps(line, allow_nan=False) + "\n")
        writing.flush()
        os.fsync(writing.fileno())
