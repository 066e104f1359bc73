"""PSNR and SSIM of videos, and the end-point error of tracks (paper, protocol of the motion-transfer tables).

Videos are (F, H, W, 3) uint8. The first frame is given to every model, so it is left out of the picture metrics.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from motionstream.trackers.lucas_kanade import track
from motionstream.tracks import Tracks

Video = npt.NDArray[np.uint8]
Mask = npt.NDArray[np.bool_]
Floats = npt.NDArray[np.float64]
Follow = Callable[[Video, npt.ArrayLike, npt.ArrayLike | None], Tracks]
"""A tracker: (video (F, H, W, 3), queries (N, 2), first frame (N,) or None) → tracks with an estimate everywhere."""

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


def squares(made: Video, true: Video, where: Mask | None = None) -> list[float]:
    """[total, count] of squared differences of levels (0…255) in the frames after the first.

    Of the pixels in the (F, H, W) mask, or all. Sums of whole numbers: the pooled result does not depend on the order.
    """
    if made.shape != true.shape or (where is not None and where.shape != true.shape[:3]):
        raise ValueError(f"videos of shape {made.shape} and {true.shape}: send two alike, and a mask of their frames")
    apart = made[1:].astype(np.int32) - true[1:]
    squared = np.square(apart) if where is None else np.square(apart[where[1:]])
    return [float(squared.sum(dtype=np.int64)), squared.size]


def psnr_of(mean_square: float | None) -> float | None:
    """dB of a mean squared error of levels (0…255). Over several clips: still frames lift it less than a mean of dB."""
    if mean_square is None:
        return None
    return BEST_PSNR if mean_square == 0 else min(BEST_PSNR, 10 * float(np.log10(PEAK**2 / mean_square)))


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
    """(T, N) pixels between the given tracks and those found."""
    if given.xy.shape != found.xy.shape:
        raise ValueError(f"tracks of shape {given.xy.shape} and {found.xy.shape}: send two alike")
    apart: Floats = np.linalg.norm(given.xy.astype(np.float64) - found.xy, axis=-1)
    return apart


def births(tracks: Tracks) -> npt.NDArray[np.int64]:
    """(N,) first frame in which each point is visible; 0 for one that never is."""
    first: npt.NDArray[np.int64] = tracks.visible.argmax(0)
    return first


def after_birth(tracks: Tracks) -> Mask:
    """(T, N) visible, and later than the point's first visible frame, where the error is 0 by definition."""
    later: Mask = np.arange(tracks.frames)[:, None] > births(tracks)
    return later & tracks.visible


def measurable(given: Tracks, found_in_true: Tracks, within: float = 1.0) -> Mask:
    """(T, N) where the tracker can be trusted: on the true clip it is within so many pixels of the true track."""
    return after_birth(given) & (distance(given, found_in_true) <= within)


def moving(given: Tracks, least: float = 4.0) -> Mask:
    """(T, N) where a point is at least so many pixels from its first place: a still picture is wrong there."""
    home = given.xy[births(given), np.arange(given.points)]
    away: Mask = np.linalg.norm(given.xy - home, axis=-1) >= least
    return away


def retrack(video: Video, given: Tracks, follow: Follow = track) -> Tracks:
    """Track the points of `given` through a video, each from where and when it is first visible."""
    born = births(given)
    return follow(video, given.xy[born, np.arange(given.points)], born)


def turned(given: Tracks) -> Tracks:
    """False tracks: every displacement from the first place turned by a right angle, so as fast as the true ones."""
    home = given.xy[births(given), np.arange(given.points)]
    dx, dy = np.moveaxis(given.xy - home, -1, 0)
    return Tracks(home + np.stack([-dy, dx], -1), given.visible, given.ids)
