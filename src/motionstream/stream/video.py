"""Pictures and videos in files: the one place where PyAV and Pillow meet our arrays.

Everything here is uint8 RGB: a picture (H, W, 3), a video (F, H, W, 3).
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps, UnidentifiedImageError

Picture = npt.NDArray[np.uint8]

MAX_PIXELS = 50_000_000  # a picture that unpacks to more than 150 MB is refused before it is decoded
PICTURES = ("PNG", "JPEG", "WEBP", "BMP", "TIFF")
BT709 = 1  # FFmpeg's number of that matrix, transfer and set of primaries
LIMITED = 1  # … and of the 16–235 range


def read_image(path: str | os.PathLike[str]) -> Picture:
    """The picture in a file → (H, W, 3) uint8, upright, transparent parts over black.

    Raises FileNotFoundError, or ValueError when the file is no picture, damaged or too large.
    """
    try:
        with Image.open(path, formats=PICTURES) as picture:
            if picture.width * picture.height > MAX_PIXELS:
                raise ValueError(f"{path}: {picture.width}×{picture.height} is too large; send at most 50 megapixels")
            return upright_rgb(picture)
    except UnidentifiedImageError:
        raise ValueError(f"{path}: not a picture; send a PNG, JPEG or WebP file") from None
    except (SyntaxError, EOFError, Image.DecompressionBombError) as error:
        raise ValueError(f"{path}: the picture is damaged ({error})") from None
    except OSError as error:
        if error.errno is not None:
            raise
        raise ValueError(f"{path}: the picture is damaged ({error})") from None


def upright_rgb(picture: Image.Image) -> Picture:
    """(H, W, 3) uint8 of any picture, turned as its EXIF says, transparent parts over black."""
    picture = ImageOps.exif_transpose(picture)
    if picture.mode.startswith("I;16"):  # Pillow would clip its 16 bits, not scale them
        picture = Image.fromarray((np.asarray(picture) >> 8).astype(np.uint8))
    if picture.has_transparency_data:
        over = picture.convert("RGBA")
        picture = Image.alpha_composite(Image.new("RGBA", over.size, (0, 0, 0, 255)), over)
    return np.asarray(picture.convert("RGB"))


def read_video(path: str | os.PathLike[str], limit: int | None = None) -> tuple[npt.NDArray[np.uint8], float]:
    """The video in a file → (F, H, W, 3) uint8 and its frames a second; at most `limit` frames.

    Raises FileNotFoundError, or ValueError when the file holds no video that can be decoded.
    """
    frames: list[Picture] = []
    with _opened(path) as container:
        rate = container.streams.video[0].average_rate
        for frame in container.decode(video=0):
            if limit is not None and len(frames) >= limit:
                break
            frames.append(_rgb(frame))
    if not frames:
        raise ValueError(f"{path}: no frame could be read from this video")
    return np.stack(frames), float(rate or 24)


def read_span(path: str | os.PathLike[str], frames: int, place: float) -> npt.NDArray[np.uint8]:
    """`frames` frames in a row out of a video → (F, H, W, 3) uint8; what lies before them is skipped.

    place: where they start, in [0, 1): 0 at the first frame, nearly 1 at the last start there is.
    Raises FileNotFoundError, or ValueError when the video cannot be decoded or is too short.
    """
    with _opened(path) as container:
        stream = container.streams.video[0]
        rate, tick = stream.average_rate or Fraction(24), stream.time_base
        length = stream.frames or int((stream.duration or 0) * tick * rate)
        first = int(place * max(1, length - frames + 1))
        begin = (stream.start_time or 0) + first / (rate * tick)
        if first:
            container.seek(int(begin), stream=stream)
        half = 1 / (2 * rate * tick)
        later = (frame for frame in container.decode(video=0) if not first or (frame.pts or 0) > begin - half)
        span = [_rgb(frame) for frame in itertools.islice(later, frames)]
    if len(span) < frames:
        raise ValueError(f"{path}: too short, {frames} frames in a row are needed")
    return np.stack(span)


@contextmanager
def _opened(path: str | os.PathLike[str]) -> Iterator[Any]:
    """A container with a video in it; what goes wrong with it inside the block becomes our errors."""
    import av

    try:
        with av.open(str(path)) as container:
            if not container.streams.video:
                raise ValueError(f"{path}: no video in this file")
            yield container
    except FileNotFoundError:
        raise FileNotFoundError(2, "No such file or directory", str(path)) from None
    except av.error.FFmpegError as error:
        raise ValueError(f"{path}: not a video that can be read ({error.strerror or 'invalid data'})") from None


def _rgb(frame: Any) -> Picture:
    return np.asarray(frame.to_ndarray(format="rgb24"), np.uint8)


def write_mp4(path: str | os.PathLike[str], frames: Iterable[Picture], fps: float, crf: int = 18) -> int:
    """Write (H, W, 3) uint8 frames as H.264 in an MP4 that every browser plays; returns their number.

    crf: x264's quality, 0 lossless … 51 worst. The file appears under its name only when it is complete.
    Raises ValueError for no frames, changing or odd sizes.
    """
    with replacing(Path(path)) as part, Mp4Writer(part, fps, crf) as writer:
        for frame in frames:
            writer.add(frame)
    return writer.count


class Mp4Writer:
    """An open MP4 (H.264, BT.709) that grows frame by frame; its size is that of the first one.

    As a context: leaving it well finishes the file, leaving it by an exception only closes it.
    crf: lower is better and larger. threads: of the encoder, 0 = as many as it likes. count: frames added so far.
    """

    def __init__(self, path: Path, fps: float, crf: int = 18, threads: int = 0) -> None:
        import av

        if not fps > 0:
            raise ValueError(f"{fps} frames a second: must be positive")
        self.count = 0
        self._av: Any = av
        self._container = av.open(str(path), "w", format="mp4", options={"movflags": "+faststart"})
        self._rate, self._crf, self._threads = Fraction(fps).limit_denominator(1001), crf, threads
        self._stream: Any = None

    def __enter__(self) -> Mp4Writer:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:
            self.finish()
        else:
            self.abandon()

    def finish(self) -> None:
        """Write what the encoder still holds and close. Raises ValueError without a frame."""
        try:
            if self._stream is None:
                raise ValueError("no frames: a video needs at least one")
            self._container.mux(self._stream.encode())
        finally:
            self._container.close()

    def abandon(self) -> None:
        """Close the file as it is."""
        self._container.close()

    def add(self, picture: Picture) -> None:
        """Append a (H, W, 3) uint8 frame. Raises ValueError when it is none, of odd or of another size."""
        if picture.ndim != 3 or picture.shape[2] != 3 or picture.dtype != np.uint8:
            raise ValueError(f"a frame of {picture.shape} {picture.dtype}: send (H, W, 3) uint8")
        height, width = picture.shape[:2]
        if self._stream is None:
            self._open(width, height)
        if (width, height) != (self._stream.width, self._stream.height):
            wanted = f"{self._stream.width}×{self._stream.height}"
            raise ValueError(f"frame {self.count} is {width}×{height}, the first was {wanted}: sizes must not change")
        frame = self._av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="rgb24")
        # Left alone, FFmpeg converts by BT.601 and says nothing, and players show HD in other colours.
        frame = frame.reformat(format="yuv420p", dst_colorspace="ITU709", dst_color_range="MPEG")
        frame.pts = self.count
        self._container.mux(self._stream.encode(frame))
        self.count += 1

    def _open(self, width: int, height: int) -> None:
        if width % 2 or height % 2:
            raise ValueError(f"frames of {width}×{height}: H.264 needs even sizes; crop or resize by one pixel")
        stream: Any = self._container.add_stream("libx264", rate=self._rate)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        stream.codec_context.time_base = 1 / self._rate
        stream.thread_count = self._threads
        stream.options = {"crf": str(self._crf), "preset": "veryfast"}
        context = stream.codec_context
        context.colorspace = context.color_primaries = context.color_trc = BT709
        context.color_range = LIMITED
        self._stream = stream


def write_sheet(
    path: str | os.PathLike[str], frames: npt.NDArray[np.uint8], pictures: int = 12, columns: int = 4
) -> None:
    """Write a PNG of up to `pictures` of the (F, H, W, 3) frames, evenly spread in time, row by row."""
    if len(frames) == 0:
        raise ValueError("no frames: a sheet needs at least one")
    chosen = frames[np.linspace(0, len(frames) - 1, min(pictures, len(frames))).round().astype(int)]
    columns = min(columns, len(chosen))
    rows = -(-len(chosen) // columns)
    height, width = frames.shape[1:3]
    sheet = np.zeros((rows * height, columns * width, 3), np.uint8)
    for index, frame in enumerate(chosen):
        top, left = index // columns * height, index % columns * width
        sheet[top : top + height, left : left + width] = frame
    with replacing(Path(path)) as part:
        Image.fromarray(sheet).save(part, format="PNG")


def write_frames(path: str | os.PathLike[str], frames: Iterable[Picture], fps: float) -> int:
    """Write (H, W, 3) uint8 frames by the name's ending and return their number.

    .mp4 is written as the frames come; .png is a sheet of twelve; .npz holds the arrays `frames` and `fps`.
    Raises ValueError for another ending.
    """
    path = Path(path)
    check_target(path)
    if path.suffix == ".mp4":
        return write_mp4(path, frames, fps)
    video = np.stack(list(frames))
    if path.suffix == ".png":
        write_sheet(path, video)
    else:
        with replacing(path) as part, part.open("wb") as file:
            np.savez_compressed(file, frames=video, fps=np.float64(fps))
    return len(video)


def check_target(path: str | os.PathLike[str]) -> None:
    """Raise ValueError unless `write_frames` can write to this name: to be called before long work."""
    if Path(path).suffix not in (".mp4", ".png", ".npz"):
        raise ValueError(f"{path}: write to a name that ends in .mp4, .png (a sheet) or .npz (arrays)")
    if not Path(path).parent.is_dir():
        raise ValueError(f"{path}: there is no folder {Path(path).parent}; make it first")


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A name beside `path` to write to; it becomes `path` if the block ends well, and goes if not."""
    part = path.with_name(f".{path.name}.part")
    try:
        yield part
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)
