"""Folders of clips as people have them: found, fitted, cut, and what cannot be used named."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from motionstream.evaluate.clip_folders import Reading, find, names_in
from motionstream.evaluate.clips import Clip, evenly
from motionstream.evaluate.harness import Unusable
from motionstream.geometry import Geometry
from motionstream.stream.video import write_mp4

pytest.importorskip("cv2", reason="the tracker needs OpenCV (extra: evaluate)")


GEOMETRY = Geometry(64, 48)


READING = Reading(GEOMETRY, grid=(8, 6))


def frames(count: int, size: tuple[int, int] = (80, 60)) -> npt.NDArray[np.uint8]:
    """A smooth texture that moves two pixels to the right a frame; frame n has red level 10 n in its corner."""
    y, x = np.mgrid[: size[1], : size[0]]
    made = []
    for number in range(count):
        u = x - 2 * number
        grey = 128 + 60 * np.sin(u / 5) * np.cos(y / 4) + 40 * np.sin(u / 9 + y / 7)
        made.append(np.repeat(grey.clip(0, 255).astype(np.uint8)[..., None], 3, -1))
        made[-1][:12, :12] = (10 * number, 0, 0)
    return np.stack(made)


def save(folder: Path, video: npt.NDArray[np.uint8], first: int = 0) -> Path:
    folder.mkdir(parents=True)
    for number, frame in enumerate(video, first):
        Image.fromarray(frame).save(folder / f"{number:05d}.png")
    return folder


def numbers(clip: Clip) -> list[int]:
    """Which frames a clip holds, by the level in their corner."""
    return [round(float(level) / 10) for level in clip.video[:, :4, :4, 0].mean((1, 2))]


def test_frames_become_the_model_s_with_tracks_of_the_tracker(tmp_path: Path) -> None:
    save(tmp_path / "kite", frames(12))
    (tmp_path / "manifest.csv").write_text("name,content\nkite,a red kite\n")
    (tmp_path / "README.md").write_text("not a clip")
    sources, skipped = find(tmp_path, READING)
    assert ([source.name for source in sources], skipped) == (["kite"], [])
    clip = sources[0].load()
    assert (clip.video.shape, clip.size, clip.caption) == ((9, 48, 64, 3), (64, 48), "a red kite")
    assert numbers(clip) == list(range(9))
    assert clip.tracks.xy.shape == (9, 48, 2)
    np.testing.assert_allclose(clip.tracks.xy[0, 0], (4, 4))
    assert not clip.exact
    middle = clip.tracks.visible.all(0) & (clip.tracks.xy[0, :, 0] > 20) & (clip.tracks.xy[0, :, 1] > 20)
    moved = (clip.tracks.xy[-1] - clip.tracks.xy[0])[middle]
    assert len(moved) > 5
    np.testing.assert_allclose(np.median(moved, 0), (8 * 2 * 0.8, 0), atol=0.3)


def test_only_the_clips_that_are_listed_are_read_and_spread_over_their_length(tmp_path: Path) -> None:
    save(tmp_path / "480p" / "bear", frames(23))
    save(tmp_path / "480p" / "boat", frames(6))
    save(tmp_path / "480p" / "training", frames(9))
    (tmp_path / "val.txt").write_text("bear\nboat\n\nmissing\nbear\n")
    names = names_in(tmp_path / "val.txt")
    assert names == ["bear", "boat", "missing"]
    sources, skipped = find(tmp_path / "480p", Reading(GEOMETRY, 9, spread=True, grid=(4, 3)), names)
    assert [source.name for source in sources] == ["bear", "boat"]
    assert [(each.name, each.reason) for each in skipped] == [("missing", "listed, but there is no such clip")]
    assert numbers(sources[0].load()) == evenly(23, 9).tolist()
    assert (evenly(23, 9)[[0, -1]] == (0, 22)).all()
    assert numbers(sources[1].load()) == list(range(5))
    first = find(tmp_path / "480p", Reading(GEOMETRY, 5, grid=(4, 3)), names)[0][0]
    assert numbers(first.load())[-1] == 4


def test_videos_are_played_at_the_rate_asked_for(tmp_path: Path) -> None:
    write_mp4(tmp_path / "a.mp4", frames(24), 32, crf=4)
    (tmp_path / "a.txt").write_text("a stripe\nthat moves\n")
    (tmp_path / "b.mov").write_bytes(b"not a video")
    sources, _ = find(tmp_path, Reading(GEOMETRY, fps=16, grid=(8, 6)))
    assert [source.name for source in sources] == ["a.mp4", "b.mov"]
    clip = sources[0].load()
    assert clip.caption == "a stripe that moves"
    np.testing.assert_allclose(numbers(clip), [0, 2, 4, 6, 8, 10, 12, 14, 16], atol=1)
    np.testing.assert_allclose(numbers(find(tmp_path, READING)[0][0].load()), range(21), atol=1)
    spread = Reading(GEOMETRY, 5, spread=True, fps=16, grid=(4, 3))
    np.testing.assert_allclose(numbers(find(tmp_path, spread)[0][0].load()), [0, 6, 12, 16, 22], atol=1)
    with pytest.raises(Unusable, match="not a video"):
        sources[1].load()


def test_frames_that_cannot_be_read_are_named_and_left_out(tmp_path: Path) -> None:
    folder = save(tmp_path / "kite", frames(11))
    (folder / "00003.png").write_bytes(b"damaged")
    Image.fromarray(frames(1, (40, 30))[0]).save(folder / "00007.png")
    clip = find(tmp_path, READING)[0][0].load()
    assert numbers(clip) == [0, 1, 2, 4, 5, 6, 8, 9, 10]
    assert [each.name for each in clip.skipped] == ["kite/00003.png", "kite/00007.png"]
    assert "not a picture" in clip.skipped[0].reason
    assert clip.skipped[1].reason == "40x30, the frames before are 80x60"


def test_clips_shorter_than_a_chunk_cannot_be_used(tmp_path: Path) -> None:
    save(tmp_path / "blink", frames(8))
    (tmp_path / "notes").mkdir()
    sources, skipped = find(tmp_path, Reading(GEOMETRY, least=9, grid=(4, 3)))
    assert [each.name for each in skipped] == ["notes"]
    with pytest.raises(Unusable, match="8 frames: fewer than the 9"):
        sources[0].load()


def test_a_folder_without_clips_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no clips in it; put there folders of numbered frames"):
        find(tmp_path, READING)
    (tmp_path / "clip").mkdir()
    with pytest.raises(ValueError, match="clip: no numbered frames"):
        find(tmp_path, READING)
    with pytest.raises(ValueError, match="other: listed, but there is no such clip"):
        find(tmp_path, READING, ["other"])


def test_a_folder_of_frames_and_no_folder_are_told_apart(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="give the folder above it"):
        find(save(tmp_path / "kite", frames(5)), READING)
    with pytest.raises(ValueError, match="no such folder"):
        find(tmp_path / "nowhere", READING)
    with pytest.raises(ValueError, match="22 frames"):
        Reading(GEOMETRY, frames=22)
    with pytest.raises(ValueError, match="0x5 points"):
        Reading(GEOMETRY, grid=(0, 5))
