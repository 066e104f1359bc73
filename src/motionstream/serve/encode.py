"""Frames → bytes: JPEG for the live view, H.264 in MP4 for a recording. Runs in the worker, never on the loop."""

from __future__ import annotations

import io
import os
import tempfile
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import numpy.typing as npt
from PIL import Image

Frames = npt.NDArray[np.uint8]


def jpeg_frames(frames: Frames, quality: int) -> Iterator[bytes]:
    """Each of (F, H, W, 3) uint8 as one JPEG file with full-resolution colour."""
    for frame in frames:
        buffer = io.BytesIO()
        Image.fromarray(frame).save(buffer, "JPEG", quality=quality, subsampling=0)
        yield buffer.getvalue()


class Mp4Recorder:
    """Writes frames to an MP4 file in a folder, as they come.

    size: (W, H) in pixels. fps: frames a second of the file. limit_frames: later frames are not written.
    """

    def __init__(self, folder: Path, size: tuple[int, int], fps: float, limit_frames: int) -> None:
        handle, name = tempfile.mkstemp(suffix=".mp4", dir=folder)
        os.close(handle)
        self.path = Path(name)
        self.frames = 0
        self._limit = limit_frames
        self._container = av.open(name, "w", options={"movflags": "+faststart"})
        rate = Fraction(fps).limit_denominator(1001)
        self._stream = self._container.add_stream("libx264", rate=rate, options={"crf": "16", "preset": "veryfast"})
        self._stream.width, self._stream.height = size[0] - size[0] % 2, size[1] - size[1] % 2
        self._stream.pix_fmt = "yuv420p"
        self._stream.thread_count = 1

    @property
    def full(self) -> bool:
        return self.frames >= self._limit

    def write(self, frames: Frames) -> None:
        """Append (F, H, W, 3) uint8, up to the limit."""
        for frame in frames[: max(0, self._limit - self.frames)]:
            even = np.ascontiguousarray(frame[: self._stream.height, : self._stream.width])
            picture = av.VideoFrame.from_ndarray(even, format="rgb24")
            picture.pts = self.frames
            self._container.mux(self._stream.encode(picture))
            self.frames += 1

    def close(self) -> Path:
        """Finish the file; it is whole from here on."""
        self._container.mux(self._stream.encode(None))
        self._container.close()
        return self.path

    def discard(self) -> None:
        """Close and delete the file."""
        self._container.close()
        self.path.unlink(missing_ok=True)
