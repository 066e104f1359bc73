"""Synthetic worlds as clips, what they uncover, and clips in another frame."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from motionstream.data.assets import AssetLibrary
from motionstream.evaluate.clips import Clip, worlds
from motionstream.tracks import Tracks

pytest.importorskip("cv2", reason="the tracker needs OpenCV (extra: evaluate)")

ASSETS = Path(__file__).parents[1] / "data" / "assets"


def test_what_a_world_uncovers_is_what_moves_in_or_was_behind() -> None:
    sources = worlds(AssetLibrary(ASSETS, split=None), (64, 48), 9, seed=0, count=6)
    assert [source.name for source in sources][:2] == ["world-000", "world-001"]
    shares = []
    for source in sources:
        clip = source.load()
        assert clip.exact
        assert clip.uncovered is not None
        assert clip.uncovered.shape == clip.video.shape[:3]
        assert not clip.uncovered[0].any()
        shares.append(float(clip.uncovered.mean()))
        # Points of the world agree: one that frame 0 shows is, where it is visible later, on nothing new.
        for frame in range(1, 9):
            known = clip.tracks.visible[0] & clip.tracks.visible[frame]
            x, y = (clip.tracks.xy[frame, known] // 4 * 4).astype(int).T
            assert not len(x) or clip.uncovered[frame, y, x].mean() < 0.2
    assert max(shares) > 0.02
    assert max(shares) < 0.6


def test_a_clip_in_another_frame_keeps_its_points_on_its_pixels() -> None:
    video = np.random.default_rng(0).integers(0, 255, (5, 48, 96, 3)).astype(np.uint8)
    tracks = Tracks(np.tile(np.array([[[48.0, 24.0], [2.0, 24.0]]]), (5, 1, 1)), np.ones((5, 2), bool))
    clip = Clip(video, tracks, "", np.zeros(2, np.int64), np.ones((5, 48, 96), bool))
    smaller = clip.at((32, 32))
    assert smaller.video.shape == (5, 32, 32, 3)
    assert smaller.uncovered is not None
    assert smaller.uncovered.shape == (5, 32, 32)
    np.testing.assert_allclose(smaller.tracks.xy[0, 0], (16, 16))
    assert smaller.tracks.visible[0].tolist() == [True, False]
    assert clip.at((96, 48)) is clip
