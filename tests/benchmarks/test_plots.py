"""Plots of marks and bars show what they are given, and say what they cannot show."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from benchmarks.plots import Bars, bars, scatter
from motionstream.evaluate.pictures.plots import COLOURS

pytest.importorskip("matplotlib", reason="plots need Matplotlib (extra: evaluate)")


def drawn(path: Path) -> np.ndarray:
    with Image.open(path) as picture:
        assert picture.format == "PNG"
        return np.asarray(picture.convert("RGB")).astype(int)


def has(picture: np.ndarray, colour: str) -> bool:
    wanted = np.array([int(colour[i : i + 2], 16) for i in (1, 3, 5)])
    return bool((np.abs(picture - wanted).max(-1) < 30).any())


def test_marks_are_joined_and_labelled(tmp_path: Path) -> None:
    series = {"w_t 0": [(0.1, 5.0, "0"), (0.2, 3.0, "1.5")], "w_t 3": [(0.3, 4.0, "0")]}
    scatter(tmp_path / "one.png", series, x="LPIPS", y="EPE, pixels", title="guidance")
    scatter(tmp_path / "other.png", {"w_t 0": series["w_t 0"]}, x="LPIPS", y="EPE, pixels")
    one, other = drawn(tmp_path / "one.png"), drawn(tmp_path / "other.png")
    assert has(one, COLOURS[1])
    assert not has(other, COLOURS[1])


def test_bars_are_as_long_as_their_values_and_coloured_by_group(tmp_path: Path) -> None:
    first = Bars("dB", {"a": {"one": 30.0, "two": 15.0}, "b": {"three": 30.0}})
    bars(tmp_path / "deep" / "bars.png", {"first": first, "second": Bars("dB", {"": {"other": 5.0}})})
    with Image.open(tmp_path / "deep" / "bars.png") as picture:
        pixels = np.asarray(picture.convert("RGB")).astype(int)
    left = pixels[:, : pixels.shape[1] // 2]

    def lengths(colour: str) -> list[int]:
        """Pixels of this colour in each row that has some, from the top."""
        wanted = [int(colour[i : i + 2], 16) for i in (1, 3, 5)]
        return [int(row) for row in (np.abs(left - wanted).max(-1) < 20).sum(1) if row > 2]

    blue, orange = lengths(COLOURS[0]), lengths(COLOURS[1])
    assert blue[0] == pytest.approx(2 * blue[-1], abs=4)
    assert orange[0] == pytest.approx(blue[0], abs=4)
    with pytest.raises(ValueError, match="no bars"):
        bars(tmp_path / "none.png", {"first": Bars("dB", {})})
    with pytest.raises(ValueError, match="no marks"):
        scatter(tmp_path / "a.png", {"p": []}, x="x", y="y")
