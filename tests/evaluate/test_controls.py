"""Which points each control gives, the same however often they are asked for."""

from __future__ import annotations

import numpy as np
import pytest
from tests.evaluate.discs import CLIPS, SOURCES

from motionstream.evaluate.baselines import still
from motionstream.evaluate.controls import apart, spread
from motionstream.evaluate.metrics import Video
from motionstream.evaluate.motion import evaluate_motion
from motionstream.tracks import Tracks

pytest.importorskip("cv2", reason="the tracker needs OpenCV (extra: evaluate)")

pytest.importorskip("torchmetrics", reason="PSNR and SSIM need torchmetrics (extra: evaluate)")


def test_each_control_gives_the_tracks_it_says() -> None:
    given: dict[str, Tracks] = {}

    def watch(first: Video, tracks: Tracks, caption: str, seed: int) -> Video:
        given[str(len(given))] = tracks
        return still(first, tracks)

    names = ("dense", "1", "5", "20", "object")
    figures = evaluate_motion(watch, SOURCES[:1], controls=names)
    by_name = dict(zip(names, given.values(), strict=True))
    whole, on = CLIPS[0].tracks, CLIPS[0].object_of == 1
    assert by_name["dense"].ids.tolist() == whole.ids[whole.visible.any(0)].tolist()
    assert [by_name[name].points for name in ("1", "5", "20")] == [1, 5, 20]
    assert [figures[name]["points"] for name in ("1", "5", "20")] == [1, 5, 20]
    moving = set(whole.ids[on].tolist())
    assert set(by_name["1"].ids.tolist()) | set(by_name["5"].ids.tolist()) <= moving, "up to five are all on what moves"
    assert len(set(by_name["20"].ids.tolist()) & moving) >= 10
    assert set(by_name["20"].ids.tolist()) - moving, "and some that rest"
    assert 4 <= by_name["object"].points <= 25
    assert set(by_name["object"].ids.tolist()) <= moving
    assert all(tracks.visible[0].all() for name, tracks in by_name.items() if name != "dense")
    first = list(given.values())
    given.clear()
    evaluate_motion(watch, SOURCES[:1], controls=reversed(names))
    assert all((a.ids == b.ids).all() for a, b in zip(first, reversed(given.values()), strict=True))


def test_points_given_are_lasting_and_spread() -> None:
    grid = np.stack(np.meshgrid(np.arange(20.0), np.arange(20.0)), -1).reshape(1, -1, 2) * 10
    visible = np.ones((8, 400), bool)
    visible[2:, ::2] = False
    xy = np.repeat(grid, 8, 0)
    chosen = spread(Tracks(xy, visible), 16, np.random.default_rng(0))
    assert (chosen % 2 == 1).all()
    places = grid[0, chosen]
    between = np.linalg.norm(places[:, None] - places[None], axis=-1) + 1e9 * np.eye(16)
    assert between.min() > 25, "16 in a square of 190: by chance alone two would be within 10"
    assert len(spread(Tracks(xy[:, :3], visible[:, :3]), 16, np.random.default_rng(0))) == 1
    assert len(spread(Tracks.empty(8), 5, np.random.default_rng(0))) == 0
    alike = apart(np.zeros((4, 2), np.float32), 3, np.random.default_rng(0))
    assert len(set(alike.tolist())) == 3
