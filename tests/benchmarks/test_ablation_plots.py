"""Plots of marks show what they are given, and say what they cannot show."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.evaluate.pictures.plotted import drawn, has

from benchmarks.ablation.plots import scatter
from motionstream.evaluate.pictures.plots import COLOURS

pytest.importorskip("matplotlib", reason="plots need Matplotlib (extra: evaluate)")


def test_marks_are_joined_and_labelled(tmp_path: Path) -> None:
    series = {"w_t 0": [(0.1, 5.0, "0"), (0.2, 3.0, "1.5")], "w_t 3": [(0.3, 4.0, "0")]}
    scatter(tmp_path / "one.png", series, x="LPIPS", y="EPE, pixels", title="guidance")
    scatter(tmp_path / "other.png", {"w_t 0": series["w_t 0"]}, x="LPIPS", y="EPE, pixels")
    one, other = drawn(tmp_path / "one.png"), drawn(tmp_path / "other.png")
    assert has(one, COLOURS[1])
    assert not has(other, COLOURS[1])


def test_no_marks_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no marks"):
        scatter(tmp_path / "a.png", {"p": []}, x="x", y="y")
