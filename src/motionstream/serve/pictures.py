"""First frames: the gallery in the package, and uploads, checked before they are decoded."""

from __future__ import annotations

import io
import json
from importlib import resources
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps

from motionstream.serve.artifacts import Recent
from motionstream.serve.errors import ErrorCode, ViewerError
from motionstream.serve.limits import Limits

Picture = npt.NDArray[np.uint8]

KEPT_SIDE = 1_536  # pixels; larger than any model's frame
UNKNOWN = "no such picture: choose one of the gallery or upload it again"


def _format_of(data: bytes) -> str:
    """Format by magic bytes, whatever name or content type were given."""
    if data.startswith(b"\x89PNG\r\n\x1a\n"):
        return "PNG"
    if data.startswith(b"\xff\xd8\xff"):
        return "JPEG"
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "WEBP"
    raise ViewerError(ErrorCode.IMAGE_UNSUPPORTED, "not a PNG, JPEG or WebP picture: send one of these")


def _check_size(size: tuple[int, int], limits: Limits) -> None:
    """Refuse by the sizes in the header, before any pixel is decoded."""
    if min(size) < limits.picture_min_side:
        raise ViewerError(
            ErrorCode.IMAGE_TOO_SMALL,
            f"picture of {size[0]}×{size[1]}: send at least {limits.picture_min_side} pixels a side",
        )
    if max(size) > limits.picture_max_side or size[0] * size[1] > limits.picture_max_pixels:
        raise ViewerError(
            ErrorCode.IMAGE_TOO_LARGE,
            f"picture of {size[0]}×{size[1]}: send at most {limits.picture_max_side} pixels a side "
            f"and {limits.picture_max_pixels} in all",
        )


def decode_picture(data: bytes, limits: Limits) -> Picture:
    """File bytes → (H, W, 3) uint8, upright, first frame only, at most `KEPT_SIDE` a side. Raises ViewerError."""
    if len(data) > limits.upload_bytes:
        raise ViewerError(
            ErrorCode.IMAGE_TOO_LARGE, f"file of {len(data)} bytes: send at most {limits.upload_bytes} bytes"
        )
    kind = _format_of(data)
    try:
        with Image.open(io.BytesIO(data), formats=[kind]) as image:
            _check_size(image.size, limits)
            upright = ImageOps.exif_transpose(image).convert("RGB")
    except ViewerError:
        raise
    except Exception as error:  # Pillow's decoders raise many kinds; all of them mean the same to the viewer
        raise ViewerError(ErrorCode.IMAGE_CORRUPT, f"this {kind} file cannot be decoded: save it again") from error
    upright.thumbnail((KEPT_SIDE, KEPT_SIDE), Image.Resampling.LANCZOS)
    return np.asarray(upright, np.uint8)


class PictureStore:
    """The gallery, and the newest uploads since the server started (in memory)."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._uploads = Recent[Picture](limits.pictures_kept, (ErrorCode.PICTURE_UNKNOWN, UNKNOWN))
        self._folder = resources.files("motionstream.serve") / "web" / "gallery"
        self.gallery: list[dict[str, Any]] = json.loads((self._folder / "manifest.json").read_text("utf-8"))["pictures"]
        self._names = {entry["id"] for entry in self.gallery}

    def add(self, data: bytes) -> tuple[str, tuple[int, int]]:
        """Keep an uploaded file; returns its id and the (W, H) kept. Raises ViewerError."""
        picture = decode_picture(data, self._limits)
        return self._uploads.put(picture), (picture.shape[1], picture.shape[0])

    def get(self, source: str, name: str) -> Picture:
        """The picture as (H, W, 3) uint8. source: "gallery" or "upload". Raises ViewerError if there is none."""
        if source == "upload":
            return self._uploads.get(name)
        if source == "gallery" and name in self._names:
            return decode_picture((self._folder / f"{name}.jpg").read_bytes(), self._limits)
        raise ViewerError(ErrorCode.PICTURE_UNKNOWN, UNKNOWN)
