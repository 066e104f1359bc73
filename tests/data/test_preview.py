from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from motionstream.data.assets import AssetLibrary
from motionstream.data.export import bench, write_clips
from motionstream.data.preview import PALETTE, clip_row, frame_with_tracks, preview
from motionstream.data.synthetic import Clip, SyntheticWorlds
from motionstream.tracks.tracks import Tracks


@pytest.fixture(scope="module")
def small(library: AssetLibrary) -> SyntheticWorlds:
    return SyntheticWorlds(library, size=(64, 48), frames=5, points=24)


def two_points() -> Clip:
    """A grey clip; point 0 is visible throughout, point 1 hides in the second frame."""
    xy = np.array([[[20, 20], [44, 20]]] * 2, np.float32)
    visible = np.array([[True, True], [True, False]])
    video = np.full((2, 48, 64, 3), 90, np.uint8)
    return Clip(video, Tracks(xy, visible), np.array([0, 0]), "a grey wall", "none")


def test_visible_points_are_filled_and_hidden_ones_hollow() -> None:
    colour = tuple(int(PALETTE[0][i : i + 2], 16) for i in (1, 3, 5))
    image = np.asarray(frame_with_tracks(two_points(), 1))
    count = [(image[16:25, x - 4 : x + 5] == colour).all(-1).sum() for x in (20, 44)]
    assert count[0] > count[1] > 3


def test_a_row_has_its_frames_and_a_caption() -> None:
    row = clip_row(two_points())
    assert row.width == 2 * (64 + 4)
    assert np.asarray(row)[49:].max() > 150


def test_a_sheet_of_worlds(small: SyntheticWorlds, tmp_path: Path) -> None:
    path = preview(small, tmp_path / "new" / "sheet.png", clips=2)
    with Image.open(path) as sheet:
        assert sheet.size == (5 * 68, 2 * 68)
    with pytest.raises(ValueError, match="at least 1"):
        preview(small, path, clips=0)


def test_clips_are_written_with_their_exact_tracks(small: SyntheticWorlds, tmp_path: Path) -> None:
    write_clips(small, tmp_path, clips=2, first=7)
    lines = [json.loads(line) for line in (tmp_path / "clips.jsonl").read_text().splitlines()]
    assert [line["clip"] for line in lines] == ["000007", "000008"]
    clip = small.sample(8)
    with np.load(tmp_path / "000008.npz") as saved:
        np.testing.assert_array_equal(saved["xy"], clip.tracks.xy)
        np.testing.assert_array_equal(saved["visible"], clip.tracks.visible)
        assert tuple(saved["size"]) == (64, 48)
        assert str(saved["caption"]) == clip.caption == lines[1]["caption"]
    assert (tmp_path / "000008.mp4").stat().st_size > 500


def test_the_bench_counts_what_it_made(small: SyntheticWorlds) -> None:
    figures = bench(small, seconds=0.2)
    assert isinstance(figures["clips"], int)
    assert figures["clips"] >= 1
    assert figures["size"] == "64×48"
    assert isinstance(figures["clips_per_second"], float)
    assert figures["clips_per_second"] <= figures["clips"] / 0.2
