"""Plots beyond curves over time: one figure against another, and bars."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from motionstream.evaluate.pictures.plots import COLOURS, canvas, dress, style_of, write

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Mark = tuple[float, float, str]
"""x, y, and what is written beside it."""
BARS = 14  # in the height of a panel


@dataclass(frozen=True)
class Bars:
    """One diagram of bars from 0 to the right. x: what they show, with its unit. groups: bars by name, a colour each
    group."""

    x: str
    groups: Mapping[str, Mapping[str, float]]

    @property
    def count(self) -> int:
        return sum(map(len, self.groups.values()))


def scatter(
    path: str | os.PathLike[str], series: Mapping[str, Sequence[Mark]], *, x: str, y: str, title: str = ""
) -> None:
    """Write a PNG of labelled marks; those of one series are joined in their order. x, y: the axes, with units.

    Raises ValueError where there is no mark at all.
    """
    if not any(series.values()):
        raise ValueError("no marks: a plot needs at least one")
    figure = canvas(1, 1, scale=1.6)
    axes = figure.add_subplot()
    for number, (name, marks) in enumerate(series.items()):
        colour = COLOURS[number % len(COLOURS)]
        axes.plot([mark[0] for mark in marks], [mark[1] for mark in marks], "o-", color=colour, label=name, alpha=0.8)
        for place_x, place_y, words in marks:
            axes.annotate(
                words, (place_x, place_y), xytext=(5, 3), textcoords="offset points", fontsize=7, color=colour
            )
    dress(axes, title, x, y, named=True)
    write(figure, path)


def bars(path: str | os.PathLike[str], panels: Mapping[str, Bars]) -> None:
    """Write a PNG of panels by title side by side; bars stand from the top down, as thick in all, beside their value.

    Raises ValueError where there is no bar at all.
    """
    most = max((panel.count for panel in panels.values()), default=0)
    if not most:
        raise ValueError("no bars: a plot needs at least one")
    figure = canvas(len(panels), -(-most // BARS))
    for number, (title, panel) in enumerate(panels.items(), 1):
        axes = figure.add_subplot(1, len(panels), number)
        _draw_bars(axes, panel)
        axes.set_ylim(most - 0.5, -0.5)
        axes.margins(x=0.12)
        dress(axes, title, panel.x, "", named=False)
    write(figure, path)


def _draw_bars(axes: Axes, panel: Bars) -> None:
    top = 0
    for number, group in enumerate(panel.groups.values()):
        drawn = axes.barh(range(top, top + len(group)), list(group.values()), color=style_of(number)[0])
        axes.bar_label(drawn, fmt="%.1f", fontsize=7, padding=2)
        top += len(group)
    axes.set_yticks(range(top), [name for group in panel.groups.values() for name in group])
