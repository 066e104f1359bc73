"""Pictures and videos survive files; damaged and wrong ones are named."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from motionstream.stream.video import read_image, read_video, write_frames, write_mp4, write_sheet


def moving_square(frames: int = 13, size: tuple[int, int] = (64, 48)) -> npt.NDArray[np.uint8]:
    """A saturated orange square that moves right over a smooth blue ground."""
    width, height = size
    video = np.zeros((frames, height, width, 3), np.uint8)
    video[..., 2] = np.linspace(60, 200, width).astype(np.uint8)
    for index in range(frames):
        video[index, 10:30, 4 + index : 24 + index] = (230, 120, 20)
    return video


def test_an_mp4_keeps_frames_rate_and_colours(tmp_path: Path) -> None:
    video = moving_square()
    assert write_mp4(tmp_path / "a.mp4", iter(video), fps=24) == 13
    again, fps = read_video(tmp_path / "a.mp4")
    assert again.shape == video.shape
    assert fps == pytest.approx(24)
    inside = again[:, 14:26, 18:22].astype(int).mean((0, 1, 2))
    assert np.abs(inside - (230, 120, 20)).max() <= 6, inside
    assert [path.name for path in tmp_path.iterdir()] == ["a.mp4"]


def test_the_mp4_says_how_its_colours_are_meant(tmp_path: Path) -> None:
    import av

    write_mp4(tmp_path / "a.mp4", moving_square(), fps=24)
    with av.open(str(tmp_path / "a.mp4")) as container:
        context = container.streams.video[0].codec_context
        assert (context.name, context.pix_fmt) == ("h264", "yuv420p")
        assert (context.colorspace, context.color_range) == (1, 1)


def test_reading_can_stop_early(tmp_path: Path) -> None:
    write_mp4(tmp_path / "a.mp4", moving_square(), fps=12.5)
    frames, fps = read_video(tmp_path / "a.mp4", limit=5)
    assert (len(frames), fps) == (5, pytest.approx(12.5))


@pytest.mark.parametrize(
    ("frames", "complaint"),
    [
        (np.zeros((0, 48, 64, 3), np.uint8), "at least one"),
        (np.zeros((2, 47, 64, 3), np.uint8), "even sizes"),
        (np.zeros((2, 48, 64, 3), np.float32), "uint8"),
        (np.zeros((2, 48, 64), np.uint8), "send"),
        ([np.zeros((48, 64, 3), np.uint8), np.zeros((48, 32, 3), np.uint8)], "must not change"),
    ],
)
def test_a_video_that_cannot_be_written_leaves_no_file(
    tmp_path: Path, frames: npt.NDArray[np.uint8], complaint: str
) -> None:
    with pytest.raises(ValueError, match=complaint):
        write_mp4(tmp_path / "a.mp4", frames, fps=24)
    assert list(tmp_path.iterdir()) == []


def test_a_failure_midway_keeps_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    write_mp4(path, moving_square(5), fps=24)
    old = path.read_bytes()

    def failing():  # type: ignore[no-untyped-def]
        yield from moving_square(3)
        raise RuntimeError("stopped")

    with pytest.raises(RuntimeError, match="stopped"):
        write_mp4(path, failing(), fps=24)
    assert path.read_bytes() == old
    assert list(tmp_path.iterdir()) == [path]


def test_the_ending_chooses_the_form(tmp_path: Path) -> None:
    video = moving_square(30)
    assert [write_frames(tmp_path / f"a{ending}", video, 24) for ending in (".mp4", ".png", ".npz")] == [30] * 3
    assert read_image(tmp_path / "a.png").shape == (3 * 48, 4 * 64, 3)
    with np.load(tmp_path / "a.npz", allow_pickle=False) as arrays:
        np.testing.assert_array_equal(arrays["frames"], video)
        assert arrays["fps"] == 24
    with pytest.raises(ValueError, match=r"a\.gif: write to a name that ends in"):
        write_frames(tmp_path / "a.gif", video, 24)


def test_a_sheet_shows_first_and_last_frame(tmp_path: Path) -> None:
    video = moving_square(7)
    write_sheet(tmp_path / "sheet.png", video, pictures=4, columns=2)
    sheet = read_image(tmp_path / "sheet.png")
    np.testing.assert_array_equal(sheet[:48, :64], video[0])
    np.testing.assert_array_equal(sheet[48:, 64:], video[-1])


def test_pictures_come_upright_and_without_transparency(tmp_path: Path) -> None:
    pixels = np.zeros((20, 30, 3), np.uint8)
    pixels[:, :15] = 255
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was turned: the left of the file is the top of the picture
    Image.fromarray(pixels).save(tmp_path / "turned.png", exif=exif)
    turned = read_image(tmp_path / "turned.png")
    assert turned.shape == (30, 20, 3)
    assert turned[:15].min() == 255
    assert turned[15:].max() == 0
    Image.fromarray(np.full((4, 4, 4), (200, 100, 50, 0), np.uint8)).save(tmp_path / "clear.png")
    assert read_image(tmp_path / "clear.png").max() == 0


def test_what_is_no_picture_is_named(tmp_path: Path) -> None:
    text, cut = tmp_path / "words.png", tmp_path / "cut.jpg"
    text.write_text("not a picture")
    with pytest.raises(ValueError, match=r"words\.png: not a picture"):
        read_image(text)
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (90, 90, 3), np.uint8)).save(tmp_path / "whole.jpg")
    cut.write_bytes((tmp_path / "whole.jpg").read_bytes()[:900])
    with pytest.raises(ValueError, match=r"cut\.jpg: the picture is damaged"):
        read_image(cut)
    with pytest.raises(FileNotFoundError):
        read_image(tmp_path / "none.png")


def test_a_picture_that_unpacks_too_far_is_refused_before_it_does(tmp_path: Path) -> None:
    Image.new("1", (8000, 8000)).save(tmp_path / "bomb.png")
    with pytest.raises(ValueError, match="at most 50 megapixels"):
        read_image(tmp_path / "bomb.png")


@pytest.mark.parametrize("content", [b"not a video", b""])
def test_what_is_no_video_is_named(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "a.mp4"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"a\.mp4: "):
        read_video(path)
    with pytest.raises(FileNotFoundError):
        read_video(tmp_path / "none.mp4")
