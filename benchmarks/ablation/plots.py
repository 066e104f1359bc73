"""Plots of the ablations: LPIPS and EPE over time, and EPE against LPIPS over guidance (paper, figures)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.ablation.settings import GUIDANCE, RECIPES
from motionstream.evaluate.pictures import plots
from motionstream.evaluate.pictures.plots import COLOURS, canvas, dress, write

Mark = tuple[float, float, str]
"""x, y, and what is written beside it."""


def draw(figures: Mapping[str, Any], folder: Path) -> list[Path]:
    """Write what there is to draw: time.png of the student's tables, guidance.png where LPIPS was measured."""
    written = []
    if figures["curves"]:
        written.append(folder / "time.png")
        draw_time(figures, written[-1])
    if GUIDANCE in figures and "lpips" not in figures["missing"]:
        written.append(folder / "guidance.png")
        draw_guidance(figures[GUIDANCE], written[-1])
    return written


def draw_guidance(rows: Mapping[str, Mapping[str, float]], path: Path) -> None:
    """Write a PNG of EPE against LPIPS, a line for each w_t along w_m."""
    series: dict[str, list[Mark]] = {}
    for row in rows.values():
        mark = (row["lpips"], row["epe_px"], f"w_m {row['w_m']:g}")
        series.setdefault(f"w_t {row['w_t']:g}", []).append(mark)
    scatter(path, series, x="LPIPS, lower is better", y="EPE, pixels", title="Guidance: likeness against control")


def draw_time(figures: Mapping[str, Any], path: Path) -> None:
    """Write a PNG of LPIPS and EPE over time: a column a table, a line a setting."""
    tables = [name for name in RECIPES["all"] if name in figures and name != GUIDANCE]
    axes = {"lpips": ("LPIPS", "LPIPS"), "epe_px": ("EPE", "EPE, pixels")}
    panels = {
        f"{table}: {title} over time": plots.Panel("frame", unit, _curves(figures, table, key))
        for key, (title, unit) in axes.items()
        if any(_curves(figures, table, key) for table in tables)
        for table in tables
    }
    plots.lines(path, panels, columns=len(tables))


def _curves(figures: Mapping[str, Any], table: str, key: str) -> dict[str, plots.Curve]:
    """Of each setting of a table, where the figure was measured."""
    found: dict[str, plots.Curve] = {}
    for setting in figures[table]:
        curve = figures["curves"][setting]
        points = [(frame, value) for frame, value in zip(curve["frame"], curve[key], strict=True) if value is not None]
        if points:
            found[setting] = ([frame for frame, _ in points], [value for _, value in points])
    return found


def scatter(path: Path, series: Mapping[str, Sequence[Mark]], *, x: str, y: str, title: str = "") -> None:
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
