"""Plots as PNG: curves over time, one figure against another, and bars. Every axis says its unit.

Matplotlib (extra: evaluate) is loaded when something is drawn, and draws into files only.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Curve = tuple[Sequence[float], Sequence[float]]
"""x values and y values."""
Mark = tuple[float, float, str]
"""x, y, and what is written beside it."""

PANEL = (4.2, 2.6)  # inches
DOTS = 110  # an inch
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000", "#999999")
"""Okabe and Ito's, told apart by colour-blind readers too."""
DASHES = ("-", "--", ":")
"""For names beyond the colours: the same colour again, in another dash."""
GRID, BAND = "#dddddd", "#009e7322"
BARS = 14  # in the height of a panel


@dataclass(frozen=True)
class Panel:
    """One diagram. x, y: what the axes show, with units. series: curves by name; none: the place stays empty.

    wanted: (lowest, highest) y that is as it should be, drawn as a band.
    """

    x: str
    y: str
    series: Mapping[str, Curve]
    wanted: tuple[float, float] | None = None


@dataclass(frozen=True)
class Bars:
    """One diagram of bars from 0 to the right. x: what they show, with its unit. groups: bars by name, a colour each
    group."""

    x: str
    groups: Mapping[str, Mapping[str, float]]

    @property
    def count(self) -> int:
        return sum(map(len, self.groups.values()))


def check_target(path: str | os.PathLike[str]) -> None:
    """Raise what drawing would raise about this file, or about a missing package: to be asked before the work."""
    import matplotlib.figure  # noqa: F401

    if Path(path).suffix != ".png":
        raise ValueError(f"{path}: a plot is written to a name that ends in .png")


def lines(path: str | os.PathLike[str], panels: Mapping[str, Panel], columns: int = 3) -> None:
    """Write a PNG of panels by title, `columns` side by side; a name has one colour and dash in all of them.

    Raises ValueError where there is no curve at all.
    """
    names = list(dict.fromkeys(name for panel in panels.values() for name in panel.series))
    if not names:
        raise ValueError("no curves: a plot needs at least one")
    looks = {name: _look(number) for number, name in enumerate(names)}
    columns = min(columns, len(panels))
    rows = -(-len(panels) // columns)
    figure = _figure(columns, rows)
    for number, (title, panel) in enumerate(panels.items(), 1):
        axes = figure.add_subplot(rows, columns, number)
        _draw_panel(axes, title, panel, looks)
    _write(figure, path)


def scatter(
    path: str | os.PathLike[str], series: Mapping[str, Sequence[Mark]], *, x: str, y: str, title: str = ""
) -> None:
    """Write a PNG of labelled marks; those of one series are joined in their order. x, y: the axes, with units.

    Raises ValueError where there is no mark at all.
    """
    if not any(series.values()):
        raise ValueError("no marks: a plot needs at least one")
    figure = _figure(1, 1, scale=1.6)
    axes = figure.add_subplot()
    for number, (name, marks) in enumerate(series.items()):
        colour = COLOURS[number % len(COLOURS)]
        axes.plot([mark[0] for mark in marks], [mark[1] for mark in marks], "o-", color=colour, label=name, alpha=0.8)
        for place_x, place_y, words in marks:
            axes.annotate(
                words, (place_x, place_y), xytext=(5, 3), textcoords="offset points", fontsize=7, color=colour
            )
    _dress(axes, title, x, y, named=True)
    _write(figure, path)


def bars(path: str | os.PathLike[str], panels: Mapping[str, Bars]) -> None:
    """Write a PNG of panels by title side by side; bars stand from the top down, as thick in all, beside their value.

    Raises ValueError where there is no bar at all.
    """
    most = max((panel.count for panel in panels.values()), default=0)
    if not most:
        raise ValueError("no bars: a plot needs at least one")
    figure = _figure(len(panels), -(-most // BARS))
    for number, (title, panel) in enumerate(panels.items(), 1):
        axes = figure.add_subplot(1, len(panels), number)
        _draw_bars(axes, panel)
        axes.set_ylim(most - 0.5, -0.5)
        axes.margins(x=0.12)
        _dress(axes, title, panel.x, "", named=False)
    _write(figure, path)


def _draw_bars(axes: Axes, panel: Bars) -> None:
    top = 0
    for number, group in enumerate(panel.groups.values()):
        drawn = axes.barh(range(top, top + len(group)), list(group.values()), color=_look(number)[0])
        axes.bar_label(drawn, fmt="%.1f", fontsize=7, padding=2)
        top += len(group)
    axes.set_yticks(range(top), [name for group in panel.groups.values() for name in group])


def _look(number: int) -> tuple[str, str]:
    """Colour and dash of the curve with this number."""
    return COLOURS[number % len(COLOURS)], DASHES[number // len(COLOURS) % len(DASHES)]


def _draw_panel(axes: Axes, title: str, panel: Panel, looks: Mapping[str, tuple[str, str]]) -> None:
    if not panel.series:
        axes.set_axis_off()
        return
    if panel.wanted is not None:
        axes.axhspan(*panel.wanted, color=BAND, linewidth=0)
    for name, (xs, ys) in panel.series.items():
        colour, dash = looks[name]
        axes.plot(xs, ys, "." if len(xs) == 1 else dash, color=colour, label=name, linewidth=1.4)
    _dress(axes, title, panel.x, panel.y, named=len(looks) > 1)


def _dress(axes: Axes, title: str, x: str, y: str, named: bool) -> None:
    axes.set_title(title, fontsize=9, loc="left")
    axes.set_xlabel(x, fontsize=8)
    axes.set_ylabel(y, fontsize=8)
    axes.tick_params(labelsize=7)
    axes.grid(color=GRID, linewidth=0.6)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    if named:
        axes.legend(fontsize=7, frameon=False)


def _figure(columns: int, rows: int, scale: float = 1.0) -> Figure:
    """An empty one, bound to no window and to no global state."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(columns * PANEL[0] * scale, rows * PANEL[1] * scale), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def _write(figure: Figure, path: str | os.PathLike[str]) -> None:
    check_target(path)
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=DOTS, format="png", facecolor="white")
