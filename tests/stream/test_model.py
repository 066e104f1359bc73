"""Any picture opens a stream, undistorted; what is no picture is named."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from tests.stream.small_bundle import Video, photo

from motionstream.stream.model import Picture, StreamingModel, fitted
from motionstream.vae.pixels import to_frames

SIZE = (48, 32)


def opened(model: StreamingModel, picture: Picture) -> Video:
    """The picture as the stream sees it, (H, W, 3)."""
    return to_frames(model.open(picture).state.frame)[0]


def test_a_picture_of_the_models_size_is_taken_as_it_is(model: StreamingModel, tmp_path: Path) -> None:
    array = photo()
    picture = Image.fromarray(array)
    picture.save(tmp_path / "a.png")
    for form in (array, picture, tmp_path / "a.png", str(tmp_path / "a.png")):
        np.testing.assert_array_equal(opened(model, form), array)


@pytest.mark.parametrize("mode", ["L", "LA", "P", "1", "RGBA", "RGBa", "CMYK", "YCbCr", "HSV", "I;16"])
def test_every_kind_of_pillow_picture_opens(model: StreamingModel, mode: str) -> None:
    colour = Image.fromarray(photo())
    picture = Image.fromarray(grey16(colour)) if mode == "I;16" else converted(colour, mode)
    assert picture.mode == mode
    expected = np.asarray(colour.convert("L" if mode == "I;16" else mode).convert("RGB"))
    np.testing.assert_array_equal(opened(model, picture), expected)


def converted(picture: Image.Image, mode: str) -> Image.Image:
    return picture.convert("RGBA").convert(mode) if mode == "RGBa" else picture.convert(mode)


def grey16(picture: Image.Image) -> np.ndarray:
    return np.asarray(picture.convert("L")).astype(np.uint16) * 257


def test_transparent_parts_are_black_in_a_picture_and_in_its_file(model: StreamingModel, tmp_path: Path) -> None:
    alpha = np.zeros((32, 48, 1), np.uint8)
    alpha[:, :24] = 255
    picture = Image.fromarray(np.concatenate([photo(), alpha], 2))
    picture.save(tmp_path / "a.png")
    seen = opened(model, picture)
    np.testing.assert_array_equal(seen[:, :24], photo()[:, :24])
    assert (seen[:, 24:] == 0).all()
    np.testing.assert_array_equal(opened(model, tmp_path / "a.png"), seen)


def test_a_picture_stands_upright(model: StreamingModel) -> None:
    """A camera held on its side writes the turn into EXIF (6: a quarter to the right)."""
    picture = Image.fromarray(np.rot90(photo()).copy())
    picture.getexif()[0x0112] = 6
    np.testing.assert_array_equal(opened(model, picture), photo())


@pytest.mark.parametrize("size", [(1, 1), (47, 33), (1, 900), (900, 1), (197, 126), (49, 32), (3000, 2001)])
def test_odd_sizes_open_and_step(model: StreamingModel, size: tuple[int, int]) -> None:
    stream = model.open(photo(size=size))
    assert stream.step().shape[1:] == (32, 48, 3)
    assert stream.fit.source == size
    np.testing.assert_allclose(stream.fit.to_frame(np.array(size) / 2), (24, 16), atol=1e-9)


@given(width=st.integers(1, 700), height=st.integers(1, 700), frame=st.sampled_from([(256, 144), SIZE, (832, 480)]))
@settings(max_examples=60, deadline=None)
def test_every_size_fills_every_frame(width: int, height: int, frame: tuple[int, int]) -> None:
    filled, fit = fitted(np.full((height, width, 3), 200, np.uint8), frame)
    assert filled.shape == (frame[1], frame[0], 3)
    assert (filled == 200).all()
    assert fit.source == (width, height)


@pytest.mark.parametrize("size", [(480, 100), (100, 480), (481, 321)])
def test_things_are_where_the_fit_says_and_keep_their_shape(size: tuple[int, int]) -> None:
    """A white disc near the picture's middle: its centre and its two widths."""
    centre, radius = np.array(size) / 2 + (5, -7), 20
    ys, xs = np.mgrid[: size[1], : size[0]] + 0.5
    disc = np.hypot(xs - centre[0], ys - centre[1]) < radius
    filled, fit = fitted(np.repeat(disc[..., None] * np.uint8(255), 3, 2), (256, 144))
    ys, xs = np.mgrid[:144, :256] + 0.5
    weight = filled[..., 0] / 255
    found = np.array([(weight * xs).sum(), (weight * ys).sum()]) / weight.sum()
    np.testing.assert_allclose(found, fit.to_frame(centre), atol=0.3)
    spread = [
        (weight * (axis - middle) ** 2).sum() / weight.sum() for axis, middle in zip((xs, ys), found, strict=True)
    ]
    np.testing.assert_allclose(np.sqrt(spread), radius * fit.scale / 2, rtol=0.03)


@pytest.mark.parametrize(
    "wrong",
    [
        np.zeros((32, 48), np.uint8),
        np.zeros((32, 48, 4), np.uint8),
        np.zeros((3, 32, 48), np.uint8),
        np.zeros((32, 48, 3), np.float32),
        np.zeros((0, 48, 3), np.uint8),
        np.zeros((2, 32, 48, 3), np.uint8),
    ],
)
def test_arrays_that_are_no_pictures_are_refused(model: StreamingModel, wrong: np.ndarray) -> None:
    with pytest.raises(ValueError, match=r"send \(height, width, 3\) of uint8"):
        model.open(wrong)


def test_files_that_are_no_pictures_are_named(model: StreamingModel, tmp_path: Path) -> None:
    (tmp_path / "notes.png").write_text("not a picture")
    with pytest.raises(ValueError, match=r"notes\.png: not a picture; send a PNG, JPEG or WebP"):
        model.open(tmp_path / "notes.png")
    Image.fromarray(photo(size=(200, 200))).save(tmp_path / "cut.png")
    (tmp_path / "cut.png").write_bytes((tmp_path / "cut.png").read_bytes()[:5000])
    with pytest.raises(ValueError, match=r"cut\.png: the picture is damaged"):
        model.open(tmp_path / "cut.png")
    with pytest.raises(FileNotFoundError, match=r"none\.png"):
        model.open(str(tmp_path / "none.png"))
    with pytest.raises(OSError, match="directory"):
        model.open(tmp_path)
