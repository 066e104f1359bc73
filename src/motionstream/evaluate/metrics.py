"""PSNR and SSIM of videos, and the end-point error of tracks (paper, protocol of the motion-transfer tables).

Videos are (F, H, W, 3) uint8. The first frame is given to every model, so it is left out of the picture metrics.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from motionstream.tracks import Tracks

Video = npt.NDArray[np.uint8]
Mask = npt.NDArray[np.bool_]
Floats = npt.NDArray[np.float64]

BEST_PSNR = 100.0
"""dB that an identical frame counts as, so that a mean stays finite."""
PEAK = 255.0
"""The brightest level of a channel."""


def unit_frames(video: Video) -> Tensor:
    """(F, H, W, 3) uint8 → (F, 3, H, W) float32 in [0, 1]."""
    if video.ndim != 4 or video.shape[-1] != 3 or video.dtype != np.uint8:
        raise ValueError(f"video of shape {video.shape}, {video.dtype}: send (F, H, W, 3) uint8")
    return torch.from_numpy(np.ascontiguousarray(video)).permute(0, 3, 1, 2).float() / 255


def _pair(made: Video, true: Video) -> tuple[Tensor, Tensor]:
    if made.shape != true.shape or len(made) < 2:
        raise ValueError(f"videos of shape {made.shape} and {true.shape}: send two alike, of at least 2 frames")
    return unit_frames(made[1:]), unit_frames(true[1:])


def psnr(made: Video, true: Video) -> float:
    """Mean over frames of the peak signal-to-noise ratio, dB, higher is better."""
    from torchmetrics.functional.image import peak_signal_noise_ratio

    frames = peak_signal_noise_ratio(*_pair(made, true), data_range=1.0, reduction="none", dim=(1, 2, 3))
    return float(frames.clamp(max=BEST_PSNR).mean())


def ssim(made: Video, true: Video) -> float:
    """Mean structural similarity (11×11 Gaussian window), at most 1, higher is better."""
    from torchmetrics.functional.image import structural_similarity_index_measure

    value = structural_similarity_index_measure(*_pair(made, true), data_range=1.0)
    assert isinstance(value, Tensor)
    return float(value)


def squares(made: Video, true: Video, where: Mask | None = None) -> Mean:
    """Squared differences of levels (0…255) in the frames after the first: of the pixels in the (F, H, W) mask, or all.

    Sums of whole numbers, so that clips measured apart add up to exactly what they are together.
    """
    if made.shape != true.shape or (where is not None and where.shape != true.shape[:3]):
        raise ValueError(f"videos of shape {made.shape} and {true.shape}: send two alike, and a mask of their frames")
    apart = made[1:].astype(np.int32) - true[1:]
    squared = np.square(apart) if where is None else np.square(apart[where[1:]])
    return Mean(float(squared.sum(dtype=np.int64)), squared.size)


def pooled_psnr(squared: Mean) -> float | None:
    """dB of a mean of `squares`, over however many clips: still frames do not lift it as they lift a mean of dB."""
    if squared.value is None:
        return None
    return BEST_PSNR if squared.value == 0 else min(BEST_PSNR, 10 * float(np.log10(PEAK**2 / squared.value)))


def near(xy: Floats | npt.NDArray[np.float32], shown: Mask, size: tuple[int, int], within: float) -> Mask:
    """(F, H, W) pixels whose middle is at most so many pixels from one with a shown point in it.

    xy (F, N, 2), shown (F, N), size (W, H).
    """
    import cv2

    width, height = size
    close = np.zeros((len(xy), height, width), bool)
    for frame, (places, seen) in enumerate(zip(xy, shown, strict=True)):
        columns, rows = np.floor(places[seen]).astype(int).T
        inside = (columns >= 0) & (columns < width) & (rows >= 0) & (rows < height)
        if not inside.any():
            continue
        empty = np.ones((height, width), np.uint8)
        empty[rows[inside], columns[inside]] = 0
        close[frame] = cv2.distanceTransform(empty, cv2.DIST_L2, cv2.DIST_MASK_PRECISE) <= within
    return close


def distance(given: Tracks, found: Tracks) -> Floats:
    """(T, N) pixels between where points were told to be and where they were found."""
    if given.xy.shape != found.xy.shape:
        raise ValueError(f"tracks of shape {given.xy.shape} and {found.xy.shape}: send two alike")
    apart: Floats = np.linalg.norm(given.xy.astype(np.float64) - found.xy, axis=-1)
    return apart


def births(tracks: Tracks) -> npt.NDArray[np.int64]:
    """(N,) first frame in which each point is visible; 0 for one that never is."""
    first: npt.NDArray[np.int64] = tracks.visible.argmax(0)
    return first


def after_birth(tracks: Tracks) -> Mask:
    """(T, N) visible, and later than the point's first visible frame, where the error is nought by definition."""
    later: Mask = np.arange(tracks.frames)[:, None] > births(tracks)
    return later & tracks.visible


def measurable(given: Tracks, found_in_true: Tracks, within: float = 1.0) -> Mask:
    """(T, N) where the tracker can be trusted: on the true clip it is within so many pixels of the true track."""
    return after_birth(given) & (distance(given, found_in_true) <= within)


def moving(given: Tracks, least: float = 4.0) -> Mask:
    """(T, N) where a point is at least so many pixels from its place of birth: standing still must fail there."""
    home = given.xy[births(given), np.arange(given.points)]
    away: Mask = np.linalg.norm(given.xy - home, axis=-1) >= least
    return away


def turned(given: Tracks) -> Tracks:
    """A false track: every movement since birth turned by a right angle. As fast as the true one, and wrong."""
    home = given.xy[births(given), np.arange(given.points)]
    dx, dy = np.moveaxis(given.xy - home, -1, 0)
    return Tracks(home + np.stack([-dy, dx], -1), given.visible, given.ids)


@dataclass
class Mean:
    """A mean that grows; None while nothing was added."""

    total: float = 0.0
    count: int = 0

    def add(self, values: npt.ArrayLike) -> None:
        """Take in numbers of any shape."""
        array = np.asarray(values, np.float64)
        self.total += float(array.sum())
        self.count += array.size

    def join(self, total: float, count: int) -> None:
        """Take in what another mean has summed up."""
        self.total += total
        self.count += count

    @property
    def value(self) -> float | None:
        return self.total / self.count if self.count else None
