"""Plots as PNG: curves over time. Every axis names its unit.

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

PANEL = (4.2, 2.6)  # inches
DOTS = 110  # an inch
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000", "#999999")
"""Okabe and Ito's, told apart by colour-blind readers too."""
DASHES = ("-", "--", ":")
"""For names beyond the colours: the same colour again, in another dash."""
GRID, BAND = "#dddddd", "#009e7322"


@dataclass(frozen=True)
class Panel:
    """One diagram. x, y: what the axes show, with units. series: curves by name; none: the place stays empty.

    wanted: (lowest, highest) y that is as it should be, drawn as a band.
    """

    x: str
    y: str
    series: Mapping[str, Curve]
    wanted: tuple[float, float] | None = None


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
    styles = {name: style_of(number) for number, name in enumerate(names)}
    columns = min(columns, len(panels))
    rows = -(-len(panels) // columns)
    figure = canvas(columns, rows)
    for number, (title, panel) in enumerate(panels.items(), 1):
        axes = figure.add_subplot(rows, columns, number)
        _draw_panel(axes, title, panel, styles)
    write(figure, path)


def style_of(number: int) -> tuple[str, str]:
    """Colour and dash of the curve with this number."""
    return COLOURS[number % len(COLOURS)], DASHES[number // len(COLOURS) % len(DASHES)]


def _draw_panel(axes: Axes, title: str, panel: Panel, styles: Mapping[str, tuple[str, str]]) -> None:
    if not panel.series:
        axes.set_axis_off()
        return
    if panel.wanted is not None:
        axes.axhspan(*panel.wanted, color=BAND, linewidth=0)
    for name, (xs, ys) in panel.series.items():
        colour, dash = styles[name]
        axes.plot(xs, ys, "." if len(xs) == 1 else dash, color=colour, label=name, linewidth=1.4)
    dress(axes, title, panel.x, panel.y, named=len(styles) > 1)


def dress(axes: Axes, title: str, x: str, y: str, named: bool) -> None:
    axes.set_title(title, fontsize=9, loc="left")
    axes.set_xlabel(x, fontsize=8)
    axes.set_ylabel(y, fontsize=8)
    axes.tick_params(labelsize=7)
    axes.grid(color=GRID, linewidth=0.6)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    if named:
        axes.legend(fontsize=7, frameon=False)


def canvas(columns: int, rows: int, scale: float = 1.0) -> Figure:
    """An empty one, bound to no window and to no global state."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(columns * PANEL[0] * scale, rows * PANEL[1] * scale), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def write(figure: Figure, path: str | os.PathLike[str]) -> None:
    check_target(path)
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=DOTS, format="png", facecolor="white")
