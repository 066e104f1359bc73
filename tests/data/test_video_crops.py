"""Crops of videos: the right frames and pixels, by number, whatever the order; bad files are left out."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from motionstream.data.loader import Loader
from motionstream.data.video_crops import VideoCrops
from motionstream.stream.video import read_span, read_video, write_mp4

SIZE, FRAMES, SIDE = (64, 48), 5, 32


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two videos below it, one of another size, and a file that is none of our business."""
    folder = tmp_path_factory.mktemp("videos")
    random = np.random.default_rng(0)
    (folder / "more").mkdir()
    for name, (width, height), length in (("a.mp4", SIZE, 40), ("more/b.mp4", (128, 96), 9)):
        coarse = random.integers(0, 256, (length, height // 8, width // 8, 3), np.uint8)
        write_mp4(folder / name, coarse.repeat(8, 1).repeat(8, 2), fps=24)
    (folder / "notes.txt").write_text("no video")
    return folder


def made(folder: Path, seed: int = 0, side: int = SIDE) -> VideoCrops:
    return VideoCrops(folder, SIZE, FRAMES, side, seed)


@pytest.mark.parametrize(("place", "first"), [(0.0, 0), (0.5, 18), (0.999, 35)])
def test_a_span_is_what_the_whole_video_has_there(folder: Path, place: float, first: int) -> None:
    video, _ = read_video(folder / "a.mp4")
    assert np.array_equal(read_span(folder / "a.mp4", FRAMES, place), video[first : first + FRAMES])


def test_a_span_of_a_video_too_short_or_not_there_is_explained(folder: Path) -> None:
    with pytest.raises(ValueError, match=r"b\.mp4: too short, 10 frames"):
        read_span(folder / "more" / "b.mp4", 10, 0.3)
    with pytest.raises(FileNotFoundError):
        read_span(folder / "c.mp4", 1, 0.0)
    with pytest.raises(ValueError, match="not a video"):
        read_span(folder / "notes.txt", 1, 0.0)


def test_a_crop_is_a_square_of_the_video(folder: Path) -> None:
    video = torch.from_numpy(read_video(folder / "a.mp4")[0]).permute(0, 3, 1, 2)
    places = {
        (first, top, left)
        for first in range(len(video) - FRAMES + 1)
        for top in range(SIZE[1] - SIDE + 1)
        for left in range(SIZE[0] - SIDE + 1)
    }
    crops = made(folder)
    crops.paths = crops.paths[:1]
    found = []
    for index in range(4):
        crop = crops.crop_of(index)
        assert (crop.shape, crop.dtype) == ((FRAMES, 3, SIDE, SIDE), torch.uint8)
        cut = video.unfold(2, SIDE, 1).unfold(3, SIDE, 1)[:, 0]  # (F, tops, lefts, SIDE, SIDE) of the red channel
        same = (cut == crop[0, 0]).flatten(-2).all(-1).nonzero()
        assert len(same) == 1
        first, top, left = same[0].tolist()
        assert (first, top, left) in places
        assert torch.equal(crop, video[first : first + FRAMES, :, top : top + SIDE, left : left + SIDE])
        found.append((first, top, left))
    assert len(set(found)) == 4


def test_a_larger_video_is_scaled_to_cover_the_size(folder: Path) -> None:
    """Twice as large, so a crop is 64 pixels of it: blocks of 8 become blocks of 4."""
    crops = made(folder)
    crops.paths = crops.paths[1:]
    video = read_video(folder / "more" / "b.mp4")[0].astype(float)
    crop = crops.crop_of(0).float()
    assert crop.shape == (FRAMES, 3, SIDE, SIDE)
    assert abs(crop.mean().item() - video.mean()) < 15
    along = crop.diff(dim=-1).abs().mean((0, 1, 2))
    assert along.reshape(-1)[:28].unfold(0, 4, 4).max(1).values.min() > 10, "an edge in every four pixels"


def test_the_same_number_is_the_same_crop_and_the_loader_serves_them(folder: Path) -> None:
    crops = made(folder)
    data = Loader(crops, 2, workers=0)
    batches = [next(data) for _ in range(2)]
    assert batches[0]["video"].shape == (2, FRAMES, 3, SIDE, SIDE)
    assert (batches[0]["xy"].shape, batches[0]["captions"]) == ((2, FRAMES, 0, 2), ["", ""])
    again = Loader(made(folder), 2, workers=0)
    again.load_state_dict({"next_batch": 1})
    assert torch.equal(next(again)["video"], batches[1]["video"])
    assert not torch.equal(batches[0]["video"], batches[1]["video"])
    assert not torch.equal(made(folder, seed=1).crop_of(0), crops.crop_of(0))


def test_damaged_videos_are_left_out_unless_there_is_nothing_else(
    folder: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "bad.mp4").write_bytes(b"no video")
    with pytest.raises(ValueError, match=r"8 videos of .* in a row cannot be used, as .*bad\.mp4"):
        made(tmp_path).crop_of(0)
    (tmp_path / "good.mp4").symlink_to(folder / "a.mp4")
    caplog.clear()
    crops = made(tmp_path)
    assert all(crops.crop_of(index).shape == (FRAMES, 3, SIDE, SIDE) for index in range(12))
    assert "left out" in caplog.text


def test_folders_without_videos_and_crops_too_large_are_explained(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no videos below"):
        made(tmp_path)
    with pytest.raises(ValueError, match="crops of 64 pixels from videos scaled to 64×48"):
        made(folder, side=64)
