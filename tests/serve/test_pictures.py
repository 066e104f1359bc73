"""Uploads: only real PNG, JPEG and WebP files of sensible size, upright, and nothing decoded before the checks."""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from motionstream import serve
from motionstream.serve.errors import ErrorCode, ViewerError
from motionstream.serve.limits import Limits
from motionstream.serve.pictures import KEPT_SIDE, PictureStore, decode_picture

LIMITS = Limits()
GALLERY = Path(serve.__file__).parent / "web" / "gallery"


def encoded(image: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def picture(width: int = 40, height: int = 30) -> Image.Image:
    """Red at the top, blue below."""
    pixels = np.zeros((height, width, 3), np.uint8)
    pixels[: height // 2, :, 0] = 255
    pixels[height // 2 :, :, 2] = 255
    return Image.fromarray(pixels)


def png_header(width: int, height: int) -> bytes:
    """A PNG that announces a size and holds no pixels."""
    body = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunk = struct.pack(">I", len(body)) + b"IHDR" + body + struct.pack(">I", zlib.crc32(b"IHDR" + body))
    return b"\x89PNG\r\n\x1a\n" + chunk + struct.pack(">I", 0) + b"IDAT" + struct.pack(">I", zlib.crc32(b"IDAT"))


def code_of(data: bytes, limits: Limits = LIMITS) -> ErrorCode:
    with pytest.raises(ViewerError) as caught:
        decode_picture(data, limits)
    return caught.value.code


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
def test_each_format_comes_out_as_rgb(kind: str) -> None:
    pixels = decode_picture(encoded(picture(), kind), LIMITS)
    assert pixels.shape == (30, 40, 3)
    assert pixels.dtype == np.uint8
    assert pixels[5, 20, 0] > 200 > 60 > pixels[5, 20, 2]


@pytest.mark.parametrize("mode", ["L", "RGBA", "P", "1", "I;16", "LA"])
def test_other_pixel_layouts_become_rgb(mode: str) -> None:
    image = Image.new(mode, (20, 20)) if mode == "I;16" else picture(20, 20).convert(mode)
    assert decode_picture(encoded(image), LIMITS).shape == (20, 20, 3)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_the_camera_orientation_is_applied(orientation: int) -> None:
    upright = picture(40, 30)
    undo = {2: 0, 3: 3, 4: 1, 5: 5, 6: 2, 7: 6, 8: 4}  # Pillow's transpositions that the tag will undo
    stored = upright if orientation == 1 else upright.transpose(Image.Transpose(undo[orientation]))
    exif = Image.Exif()
    exif[0x0112] = orientation
    pixels = decode_picture(encoded(stored, "JPEG", exif=exif, quality=95, subsampling=0), LIMITS)
    assert pixels.shape == (30, 40, 3)
    assert pixels[4, 20, 0] > 200
    assert pixels[26, 20, 2] > 200


@pytest.mark.parametrize("kind", ["GIF", "TIFF", "BMP", "PPM"])
def test_other_formats_are_refused(kind: str) -> None:
    assert code_of(encoded(picture(), kind)) is ErrorCode.IMAGE_UNSUPPORTED


@pytest.mark.parametrize(
    "data", [b"", b"<svg/>", b"%!PS-Adobe", b"RIFF1234WAVE", b"\x89PNG", b"http://127.0.0.1/a.png"]
)
def test_what_is_no_picture_is_refused(data: bytes) -> None:
    assert code_of(data) is ErrorCode.IMAGE_UNSUPPORTED


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
def test_a_broken_file_is_told_apart(kind: str) -> None:
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8))
    whole = encoded(noise, kind)
    assert code_of(whole[: len(whole) // 2]) is ErrorCode.IMAGE_CORRUPT


@pytest.mark.parametrize("side", [15, 16, 17])
def test_the_smallest_side(side: int) -> None:
    data = encoded(picture(side, 40))
    if side < LIMITS.picture_min_side:
        assert code_of(data) is ErrorCode.IMAGE_TOO_SMALL
    else:
        assert decode_picture(data, LIMITS).shape == (40, side, 3)


@pytest.mark.parametrize("side", [4095, 4096, 4097])
def test_the_largest_side(side: int) -> None:
    data = encoded(picture(side, 40))
    if side > LIMITS.picture_max_side:
        assert code_of(data) is ErrorCode.IMAGE_TOO_LARGE
    else:
        assert max(decode_picture(data, LIMITS).shape) <= KEPT_SIDE


@pytest.mark.parametrize("excess", [-1, 0, 1])
def test_pixels_in_all(excess: int) -> None:
    limits = Limits(picture_max_pixels=1200 - excess)
    data = encoded(picture(40, 30))
    if excess > 0:
        assert code_of(data, limits) is ErrorCode.IMAGE_TOO_LARGE
    else:
        assert decode_picture(data, limits).shape == (30, 40, 3)


@pytest.mark.parametrize("excess", [-1, 0, 1])
def test_bytes_in_all(excess: int) -> None:
    data = encoded(picture())
    limits = Limits(upload_bytes=len(data) - excess)
    if excess > 0:
        assert code_of(data, limits) is ErrorCode.IMAGE_TOO_LARGE
    else:
        assert decode_picture(data, limits).shape == (30, 40, 3)


@pytest.mark.parametrize("size", [(13_000, 13_000), (65_535, 1), (4_097, 4_097), (2**31 - 1, 2**31 - 1)])
def test_a_pixel_bomb_is_refused_by_its_header(size: tuple[int, int]) -> None:
    assert code_of(png_header(*size)) in (ErrorCode.IMAGE_TOO_LARGE, ErrorCode.IMAGE_TOO_SMALL, ErrorCode.IMAGE_CORRUPT)


def test_the_gallery_is_whole_and_small() -> None:
    store = PictureStore(LIMITS)
    assert len(store.gallery) >= 10
    for entry in store.gallery:
        assert entry["author"]
        assert entry["licence"].startswith(("CC0", "CC-BY", "public-domain"))
        assert store.get("gallery", entry["id"]).shape == (entry["height"], entry["width"], 3)
        assert entry["width"] <= 640
        assert (GALLERY / f"{entry['id']}.jpg").stat().st_size <= 60_000
    assert {path.stem for path in GALLERY.glob("*.jpg")} == {entry["id"] for entry in store.gallery}


def test_the_oldest_upload_goes_first() -> None:
    store = PictureStore(Limits(pictures_kept=2))
    names = [store.add(encoded(picture()))[0] for _ in range(3)]
    assert store.get("upload", names[1]).shape == (30, 40, 3)
    for source, name in (
        ("upload", names[0]),
        ("gallery", names[1]),
        ("gallery", "../../etc/passwd"),
        ("file", "crab"),
    ):
        with pytest.raises(ViewerError) as caught:
            store.get(source, name)
        assert caught.value.code is ErrorCode.PICTURE_UNKNOWN
