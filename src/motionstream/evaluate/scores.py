"""How close a generated clip is to the true one: its pictures, and where the given points are found in it.

The video is compared with the true one (PSNR, SSIM, LPIPS) and tracked again: the end-point error (EPE) is the mean
distance in pixels between the visible given tracks and those found. On clips with exact tracks only those places count
where the tracker is within a pixel of the truth on the true clip; on real clips the given tracks are the tracker's own,
as in the paper. Points that the tracker loses in a generated video keep their last estimate and count, so that a
dissolving video does not score well.

Legend: F frames, N points, H W pixels.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import asdict
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from motionstream.evaluate.baselines import still
from motionstream.evaluate.clips import Clip, Source, resized
from motionstream.evaluate.controls import MOVED, points_given
from motionstream.evaluate.harness import Sums, mean, ratio
from motionstream.evaluate.metrics import (
    Follow,
    Mask,
    Video,
    after_birth,
    distance,
    measurable,
    moving,
    near,
    psnr,
    psnr_of,
    retrack,
    squares,
    ssim,
    turned,
)
from motionstream.lpips import LpipsNetwork
from motionstream.trackers.lucas_kanade import track
from motionstream.tracks import Tracks
from motionstream.tracks.tracks import IntArray

if TYPE_CHECKING:
    import pandas as pd

WITHIN = 1.0  # pixels that the tracker may be off on the true clip
NEAR = 12.0  # pixels from a moving point within which a pixel counts as moving
MEASURED_AT = (832, 480)
"""Frame (W, H) in which models of that size or more are measured, as in the paper."""
IF_MEASURED = ("lpips", "uncovered_psnr_db")
"""Figures that are left out where they were not measured, instead of None."""


class Reference:
    """A true clip, loaded when it is first needed, and what every generated video is compared with."""

    def __init__(self, source: Source, follow: Follow = track, lpips: LpipsNetwork | None = None) -> None:
        self.source, self.follow, self.lpips = source, follow, lpips

    @cached_property
    def clip(self) -> Clip:
        """At the model's size."""
        return self.source.load()

    @cached_property
    def true(self) -> Clip:
        """At the size in which it is measured."""
        return self.clip.at(measured_at(self.clip.size))

    @cached_property
    def found(self) -> Tracks:
        """The tracker's own tracks on the true clip."""
        return retrack(self.true.video, self.true.tracks, self.follow)

    @cached_property
    def trusted(self) -> Mask:
        """(F, N) where a distance counts."""
        tracks = self.true.tracks
        return measurable(tracks, self.found, WITHIN) if self.true.exact else after_birth(tracks)

    @cached_property
    def moving_pixels(self) -> Mask:
        """(F, H, W) near a point that has moved."""
        tracks = self.true.tracks
        return near(tracks.xy, tracks.visible & moving(tracks, MOVED), self.true.size, NEAR)

    @cached_property
    def of_still(self) -> Sums:
        """Picture figures of the repeated first frame, which are the same for all tracks."""
        return self.pictures(resized(still(self.clip.video[0], self.clip.tracks), self.true.size))

    def points(self, control: str, seed: int) -> IntArray:
        """Indices of the points given; they depend on the clip's name, the control and the seed only."""
        rng = np.random.default_rng([seed, zlib.crc32(f"{self.source.name} {control}".encode())])
        return points_given(control, self.clip, rng)

    def about(self) -> dict[str, Any]:
        """The clip's frames, size and skipped frames; `tracker`: where its tracks are exact, the tracker's error."""
        clip, tracks = self.clip, self.true.tracks
        figures = {"frames": len(clip.video), "size": list(clip.size), "skipped": [asdict(one) for one in clip.skipped]}
        if not clip.exact:
            return figures
        off, sums = distance(tracks, self.found)[measurable(tracks, self.found, within=np.inf)], Sums()
        sums.add("epe_px", off)
        sums.add("within_1px", off <= WITHIN)
        return {**figures, "tracker": sums}

    def score(self, made: Video, points: IntArray, is_still: bool = False) -> Sums:
        """All sums of a video at the clip's size that was generated from these points."""
        seen = resized(made, self.true.size)
        sums = Sums(self.of_still if is_still else self.pictures(seen))
        given, trusted = self.true.tracks.select(points), self.trusted[:, points]
        found = retrack(seen, given, self.follow)
        off, away = distance(given, found), trusted & moving(given, MOVED)
        sums.add("epe_px", off[trusted])
        sums.add("epe_moving_px", off[away])
        sums.add("epe_false_moving_px", distance(turned(given), found)[away])
        sums.add("tracker_kept", found.visible[trusted])
        return sums

    def pictures(self, video: Video) -> Sums:
        """Sums of a video at the size in which it is measured, compared with the true one. squares: of 0…255 levels."""
        sums, true = Sums(), self.true
        sums.add("psnr_db", psnr(video, true.video))
        sums.add("ssim", ssim(video, true.video))
        if self.lpips is not None:
            sums.add("lpips", self.lpips.video(video, true.video))
        sums["squares"] = squares(video, true.video)
        sums["moving_squares"] = squares(video, true.video, self.moving_pixels)
        if true.uncovered is not None:
            sums["uncovered_squares"] = squares(video, true.video, true.uncovered)
        return sums


def measured_at(size: Sequence[int]) -> tuple[int, int]:
    """The frame (W, H) in which a model of this size is measured: 832 × 480 for those as large, else its own."""
    width, height = size
    large = width >= MEASURED_AT[0] and height >= MEASURED_AT[1]
    return MEASURED_AT if large else (width, height)


def figures_of(table: pd.DataFrame, generator: str) -> dict[str, float | None]:
    """Figures of one generator over the lines of a table of scores.

    Means over clips (pictures), over pixels (squared errors) and over points and frames (distances). psnr_db is the
    mean over clips and frames, psnr_pooled_db that of the mean squared error over all clips. moving_psnr_db: near
    points that move; uncovered_psnr_db: where the first frame showed something else. false_ratio: the error to a false
    track, the true one turned by a right angle, over the error, on moving points; it must be far above 1.
    """

    def value(name: str) -> float | None:
        return mean(table, f"{generator}.{name}")

    figures = {
        "psnr_db": value("psnr_db"),
        "psnr_pooled_db": psnr_of(value("squares")),
        "moving_psnr_db": psnr_of(value("moving_squares")),
        "uncovered_psnr_db": psnr_of(value("uncovered_squares")),
        "ssim": value("ssim"),
        "lpips": value("lpips"),
        "epe_px": value("epe_px"),
        "epe_moving_px": value("epe_moving_px"),
        "epe_false_moving_px": value("epe_false_moving_px"),
        "false_ratio": ratio(value("epe_false_moving_px"), value("epe_moving_px")),
        "tracker_kept": value("tracker_kept"),
    }
    return {name: value for name, value in figures.items() if name not in IF_MEASURED or value is not None}
