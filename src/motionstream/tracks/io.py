"""Tracks in files: our npz, Wan-Move's npy pair, and the JSON of ComfyUI's track nodes.

No code in a file is run: numpy reads without pickle. A file with wrong content raises ValueError with its name; a
missing file FileNotFoundError.
"""

from __future__ import annotations

import json
import os
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from motionstream.geometry import Fit
from motionstream.tracks.tracks import Tracks, inside

LARGEST = 1 << 30  # bytes that the arrays of one file may unpack to
LARGEST_TEXT = 256 << 20
MISMATCH = ("fit", "refuse")

AnyPath = str | os.PathLike[str]
Size = tuple[int, int]


def save(path: AnyPath, tracks: Tracks, size: Size) -> None:
    """Write npz with xy (T, N, 2) float32, visible (T, N) bool, ids (N,) int64 and size = (W, H) of the frame."""
    with open(path, "wb") as file:
        np.savez_compressed(file, xy=tracks.xy, visible=tracks.visible, ids=tracks.ids, size=np.array(size, np.int64))


def load(path: AnyPath, size: Size | None = None, mismatch: str = "fit") -> Tracks:
    """Read tracks for a frame of `size` (W, H); without it, as they are in the file.

    mismatch: what to do when the file is for a frame of another size: "fit" maps the points as a picture of that size
    would be fitted (resized and centre-cropped), "refuse" raises ValueError.
    A file without ids gets 0 … N−1.
    """
    tracks, stored = load_sized(path)
    return tracks if size is None else on_frame(tracks, stored, size, mismatch, str(path))


def load_sized(path: AnyPath) -> tuple[Tracks, Size]:
    """Read an npz: tracks and the (W, H) of the frame they are for."""
    with _reading(path):
        arrays = read_npz(path, required=("xy", "visible", "size"), optional=("ids",))
        return Tracks(arrays["xy"], _mask(arrays["visible"]), arrays.get("ids")), _size(arrays["size"])  # type: ignore[arg-type]


def on_frame(tracks: Tracks, stored: Size, size: Size, mismatch: str = "fit", name: str = "tracks") -> Tracks:
    """Tracks of a frame `stored` on a frame `size`; points that fall outside become invisible."""
    if mismatch not in MISMATCH:
        raise ValueError(f"mismatch {mismatch!r}: use one of {', '.join(MISMATCH)}")
    if stored == size:
        return tracks
    if mismatch == "refuse":
        raise ValueError(
            f"{name}: for a frame of {stored[0]}×{stored[1]}, but this one is {size[0]}×{size[1]}; "
            "send tracks of this size, or let them be fitted"
        )
    xy = Fit.of(stored, size).to_frame(tracks.xy).astype(np.float32)
    return Tracks(xy, tracks.visible & inside(xy, size), tracks.ids)


def load_wan_move(path: AnyPath, visibility: AnyPath | None = None) -> Tracks:
    """Wan-Move's npy: positions (F, N, 2) or (1, F, N, 2) in pixels, visibility (F, N) or (1, F, N).

    Without a visibility file every finite position counts as visible.
    """
    with _reading(path):
        xy = _without_batch(read_npy(path), 3, "(F, N, 2)")
    if visibility is None:
        seen = np.isfinite(xy).all(-1)
    else:
        with _reading(visibility):
            seen = _mask(_without_batch(read_npy(visibility), 2, "(F, N)"))
    with _reading(path):
        return Tracks(xy, seen)


def save_wan_move(path: AnyPath, visibility: AnyPath, tracks: Tracks) -> None:
    """Write positions (F, N, 2) float32 and visibility (F, N) bool as Wan-Move reads them. Ids are not kept."""
    for where, array in ((path, tracks.xy), (visibility, tracks.visible)):
        with open(where, "wb") as file:
            np.save(file, array, allow_pickle=False)


def load_comfy(path: AnyPath) -> Tracks:
    """ComfyUI track coordinates: a list of points, each a list of {"x": …, "y": …} a frame, in pixels.

    A single list of {"x", "y"} is one point. Points may end early: they are invisible after their last frame.
    """
    with _reading(path):
        if Path(path).stat().st_size > LARGEST_TEXT:
            raise ValueError(f"over {LARGEST_TEXT >> 20} MiB")
        lists = _point_lists(json.loads(Path(path).read_text(encoding="utf-8")))
        frames = max(len(points) for points in lists)
        xy = np.zeros((frames, len(lists), 2), np.float32)
        visible = np.zeros((frames, len(lists)), bool)
        for n, points in enumerate(lists):
            xy[: len(points), n] = points
            xy[len(points) :, n] = points[-1]
            visible[: len(points), n] = True
        return Tracks(xy, visible)


def save_comfy(path: AnyPath, tracks: Tracks) -> None:
    """Write ComfyUI track coordinates.

    The format has no visibility: each point ends with its last visible frame, and where it is hidden before that, its
    last visible position is repeated. Points that are never visible are left out.
    """
    lists = [_coordinates(tracks, n) for n in range(tracks.points) if tracks.visible[:, n].any()]
    Path(path).write_text(json.dumps(lists, allow_nan=False), encoding="utf-8")


def _coordinates(tracks: Tracks, point: int) -> list[dict[str, float]]:
    seen = np.flatnonzero(tracks.visible[:, point])
    frames = np.arange(seen[-1] + 1)
    source = seen[np.maximum(np.searchsorted(seen, frames, side="right") - 1, 0)]
    return [{"x": float(x), "y": float(y)} for x, y in tracks.xy[source, point]]


@contextmanager
def _reading(path: AnyPath) -> Iterator[None]:
    """Turns what a broken file raises into a ValueError with its name."""
    try:
        yield
    except (
        ValueError,
        TypeError,
        EOFError,
        KeyError,
        zipfile.BadZipFile,
        RecursionError,
        NotImplementedError,
    ) as error:
        raise ValueError(f"{path}: no tracks can be read from it ({' '.join(str(error).split())})") from None
    except (MemoryError, OverflowError, zlib.error) as error:
        raise ValueError(f"{path}: damaged ({type(error).__name__})") from None


def read_npy(path: AnyPath) -> npt.NDArray[Any]:
    """The array of an npy file. Raises FileNotFoundError, or ValueError or EOFError when it holds none."""
    array = np.load(path, mmap_mode="r", allow_pickle=False)
    if not isinstance(array, np.ndarray):
        array.close()
        raise ValueError("an npz, not an npy file")
    if array.nbytes > LARGEST:
        raise ValueError(f"holds more than {LARGEST >> 20} MiB")
    return np.array(array)


def read_npz(path: AnyPath, required: tuple[str, ...], optional: tuple[str, ...] = ()) -> dict[str, npt.NDArray[Any]]:
    """Arrays of an npz file by name. Raises FileNotFoundError, or ValueError where one that is required is missing."""
    with open(path, "rb") as file:  # a missing file is not a bad one
        if not zipfile.is_zipfile(file):
            raise ValueError("not an npz file")
    with zipfile.ZipFile(path) as archive:
        if sum(entry.file_size for entry in archive.infolist()) > LARGEST:
            raise ValueError(f"unpacks to more than {LARGEST >> 20} MiB")
    with np.load(path, allow_pickle=False) as arrays:
        missing = [name for name in required if name not in arrays]
        if missing:
            raise ValueError(f"has no array named {missing[0]}, but {', '.join(arrays) or 'none'}")
        return {name: np.asarray(arrays[name]) for name in (*required, *optional) if name in arrays}


def _without_batch(array: npt.NDArray[Any], dimensions: int, shape: str) -> npt.NDArray[Any]:
    if array.ndim == dimensions + 1 and array.shape[0] == 1:
        array = array[0]
    if array.ndim != dimensions or array.dtype.kind not in "biuf":
        raise ValueError(f"has shape {array.shape} of {array.dtype}: send numbers of shape {shape}")
    return array


def _mask(array: npt.NDArray[Any]) -> npt.NDArray[np.bool_]:
    if array.dtype.kind not in "biuf":
        raise ValueError(f"visible is of {array.dtype}: send booleans")
    return array > 0.5 if array.dtype.kind == "f" else array.astype(bool)


def _size(array: npt.NDArray[Any]) -> Size:
    if array.shape != (2,) or array.dtype.kind not in "iu" or min(array) < 1:
        raise ValueError("size must be two positive whole numbers, width and height")
    return int(array[0]), int(array[1])


def _point_lists(content: Any) -> list[npt.NDArray[np.float64]]:
    if isinstance(content, list) and content and isinstance(content[0], dict):
        content = [content]
    if (
        not isinstance(content, list)
        or not content
        or not all(isinstance(points, list) and points for points in content)
    ):
        raise ValueError('send a list of points, each a list of {"x": …, "y": …}, one a frame')
    return [np.array([_place(place) for place in points]) for points in content]


def _place(place: Any) -> tuple[float, float]:
    if not isinstance(place, dict) or not {"x", "y"} <= place.keys():
        raise ValueError('every position is {"x": …, "y": …}')
    x, y = place["x"], place["y"]
    if any(isinstance(value, bool) or not isinstance(value, int | float) for value in (x, y)):
        raise ValueError(f"position {place!r}: x and y are numbers")
    if not (abs(x) < 1e6 and abs(y) < 1e6):
        raise ValueError(f"position {place!r}: x and y are finite, in pixels")
    return float(x), float(y)
