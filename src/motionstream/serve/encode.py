"""Frames → bytes: JPEG for the live view, H.264 in MP4 for a recording. Runs in the model thread."""

from __future__ import annotations

import io
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from motionstream.stream.video import Mp4Writer

Frames = npt.NDArray[np.uint8]


def jpeg_frames(frames: Frames, quality: int) -> Iterator[bytes]:
    """Each of (F, H, W, 3) uint8 as one JPEG file with full-resolution colour."""
    for frame in frames:
        buffer = io.BytesIO()
        Image.fromarray(frame).save(buffer, "JPEG", quality=quality, subsampling=0)
        yield buffer.getvalue()


class Mp4Recorder:
    """Writes frames to an MP4 file in a folder, as they come.

    size: (W, H) in pixels; an odd last row or column is left out. fps: frames a second of the file. limit_frames: most
    frames that are written.
    """

    def __init__(self, folder: Path, size: tuple[int, int], fps: float, limit_frames: int) -> None:
        handle, name = tempfile.mkstemp(suffix=".mp4", dir=folder)
        os.close(handle)
        self.path = Path(name)
        self._limit = limit_frames
        self._width, self._height = size[0] - size[0] % 2, size[1] - size[1] % 2
        self._writer = Mp4Writer(self.path, fps, crf=16, threads=1)  # the other cores are the model's

    @property
    def frames(self) -> int:
        """Frames written so far."""
        return self._writer.count

    def write(self, frames: Frames) -> None:
        """Append (F, H, W, 3) uint8, up to the limit."""
        for frame in frames[: max(0, self._limit - self.frames)]:
            self._writer.add(frame[: self._height, : self._width])

    def close(self) -> Path:
        """Finish the file. Raises ValueError without a frame."""
        self._writer.finish()
        return self.path

    def discard(self) -> None:
        """Close and delete the file."""
        self._writer.abandon()
        self.path.unlink(missing_ok=True)
