"""Plots of the ablations: LPIPS and EPE over time, and EPE against LPIPS over guidance (paper, figures)."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks.ablation.settings import GUIDANCE, RECIPES
from benchmarks.plots import Mark, scatter
from motionstream.evaluate.pictures import plots


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
