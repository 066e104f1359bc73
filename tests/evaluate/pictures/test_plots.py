"""Plots are files that show what they are given, and say what they cannot show."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.evaluate.pictures.plotted import drawn, has

from motionstream.evaluate.pictures import plots

pytest.importorskip("matplotlib", reason="plots need Matplotlib (extra: evaluate)")


def test_each_curve_has_its_colour_and_an_empty_panel_stays_empty(tmp_path: Path) -> None:
    two = {"a": ([0, 1, 2], [1.0, 3.0, 2.0]), "b": ([0, 1], [2.0, 2.5])}
    panels = {
        "first": plots.Panel("frame", "EPE, pixels", two),
        "second": plots.Panel("frame", "ms", {}),
        "third": plots.Panel("frame", "ratio", {"b": ([1], [1.0])}, wanted=(0.9, 1.1)),
    }
    plots.lines(tmp_path / "deep" / "lines.png", panels, columns=2)
    picture = drawn(tmp_path / "deep" / "lines.png")
    assert picture.shape[1] > picture.shape[0]
    assert all(has(picture, colour) for colour in plots.COLOURS[:2])
    assert not has(picture, plots.COLOURS[2])
    beside = picture[:, picture.shape[1] * 2 // 3 :]  # the second panel, and below it none
    assert (beside == 255).all()


def test_more_curves_than_colours_can_still_be_told_apart(tmp_path: Path) -> None:
    names = [str(number) for number in range(len(plots.COLOURS) + 1)]
    others = {name: ([0, 1], [0.0, 0.0]) for name in names}
    pictures = []
    for shown in (names[0], names[-1]):
        panels = {"all": plots.Panel("x", "y", others), "one": plots.Panel("x", "y", {shown: ([0, 1], [0.0, 1.0])})}
        plots.lines(tmp_path / f"{shown}.png", panels)
        pictures.append(drawn(tmp_path / f"{shown}.png"))
    right = pictures[0].shape[1] * 2 // 3
    inked = [(picture[:, right:] != 255).any(-1).sum() for picture in pictures]
    assert inked[1] < 0.98 * inked[0]  # the same colour, dashed


def test_the_same_figures_give_the_same_file(tmp_path: Path) -> None:
    for name in ("a.png", "b.png"):
        plots.lines(tmp_path / name, {"p": plots.Panel("x", "y", {"a": ([0, 1], [0, 1])})})
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()


def test_nothing_to_draw_and_wrong_names_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no curves"):
        plots.lines(tmp_path / "a.png", {"p": plots.Panel("x", "y", {})})
    with pytest.raises(ValueError, match=r"ends in \.png"):
        plots.check_target("a.pdf")
    assert list(tmp_path.iterdir()) == []
