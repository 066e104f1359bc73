"""Figures of a long stream: one sample of its latest frames, samples over time, and the worst of a run."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from motionstream.evaluate import machine
from motionstream.evaluate.harness import ratio
from motionstream.evaluate.metrics import Video, distance, psnr
from motionstream.evaluate.pictures import plots
from motionstream.evaluate.track_patterns import TrackPattern
from motionstream.lpips import LpipsNetwork
from motionstream.trackers.lucas_kanade import track

HOLDS = 0.05
"""Share by which sharpness, colour and identity may differ from what they were at frame 100."""
COLOURS = ("red_levels", "green_levels", "blue_levels")
RATIOS = {
    "sharpness": "sharpness_levels",
    "contrast": "contrast_levels",
    "saturation": "saturation_levels",
    "identity": "identity_lpips",
    "memory": "memory_mib",
}
"""`…_vs_100` → the figure it is the ratio of."""
JUDGED = ("sharpness_vs_100", "colour_vs_100", "identity_vs_100")

Sample = dict[str, float | None]
"""Figures at one frame, JSON values; None where a pattern or a machine has no such figure."""


def sample(
    pattern: TrackPattern,
    picture: Video,
    moment: int,
    window: Video,
    step_ms: Sequence[float],
    lpips: LpipsNetwork | None = None,
) -> Sample:
    """Figures of the frames (F, H, W, 3) before frame number `moment`, compared with the given picture (H, W, 3).

    Levels are of 255. step_ms: time of each step since the last sample. memory_mib: of the process that runs now.
    """
    given = np.repeat(picture[None], len(window), 0)
    pixels = window.astype(np.float32)
    chroma = window.max(-1).astype(np.float32) - window.min(-1)
    epe, of_still = _end_point_errors(pattern, moment, window)
    return {
        "frame": moment,
        "sharpness_levels": sharpness(window),
        "contrast_levels": float(pixels.std((1, 2, 3)).mean()),
        "saturation_levels": float(chroma.mean()),
        **dict(zip(COLOURS, pixels.mean((0, 1, 2)).tolist(), strict=True)),
        "identity_lpips": lpips.video(window, given) if lpips else None,
        "psnr_to_first_db": psnr(window, given) if pattern.still else None,
        "epe_px": epe,
        "epe_of_standing_still_px": of_still,
        "memory_mib": machine.resident_mib(),
        "chunk_ms_p50": _percentile(step_ms, 50),
        "chunk_ms_p95": _percentile(step_ms, 95),
    }


def sharpness(frames: Video) -> float:
    """Mean absolute difference of neighbouring pixels, in levels of 255."""
    light = frames.astype(np.float32).mean(-1)
    return float(np.abs(np.diff(light, axis=-1)).mean() + np.abs(np.diff(light, axis=-2)).mean())


def against_reference(samples: Sequence[Sample]) -> list[Sample]:
    """The samples with their ratios to, and differences from, the first of them, which is at frame 100."""
    return [{**one, **_relative(one, samples[0])} for one in samples]


def worst(runs: Mapping[str, Sequence[Sample]]) -> dict[str, Any]:
    """The worst of all samples of all pictures: ratios farthest from 1, largest errors, lowest PSNR.

    holds_within_5_percent: whether sharpness, colour and identity, where measured, always stayed within 5 %.
    """
    samples = [one for run in runs.values() for one in run]
    ratios = {f"{name}_vs_100": _farthest(_values(samples, f"{name}_vs_100")) for name in (*RATIOS, "colour")}
    judged = [value for name in JUDGED if (value := ratios[name]) is not None]
    return {
        **ratios,
        "colour_drift_levels": _most(_values(samples, "colour_drift_levels")),
        "psnr_to_first_db": min(_values(samples, "psnr_to_first_db"), default=None),
        "epe_px": _most(_values(samples, "epe_px")),
        "epe_of_standing_still_px": _most(_values(samples, "epe_of_standing_still_px")),
        "chunk_ms_p50": _percentile(_values(samples, "chunk_ms_p50"), 50),
        "chunk_ms_p95": _most(_values(samples, "chunk_ms_p95")),
        "holds_within_5_percent": all(abs(value - 1) <= HOLDS for value in judged),
    }


PLOTTED = {
    "sharpness_vs_100": ("sharpness", "over that at frame 100"),
    "colour_drift_levels": ("colour difference to frame 100", "levels of 255"),
    "identity_lpips": ("distance to the first frame", "LPIPS"),
    "psnr_to_first_db": ("likeness to the first frame", "PSNR, dB"),
    "epe_px": ("tracks given and found", "EPE, pixels"),
    "memory_mib": ("memory of the process", "MiB"),
    "chunk_ms_p50": ("a chunk, median", "ms"),
    "chunk_ms_p95": ("a chunk, 95th percentile", "ms"),
}
"""Figure → title and y axis of its row of the plot."""


def draw(figures: Mapping[str, Any], path: str | os.PathLike[str]) -> None:
    """Write a PNG of the curves: a row a figure, a column a pattern, a line a model (mean over pictures)."""
    curves: Mapping[str, Any] = figures["curves"]
    patterns = list(next(iter(curves.values())))
    panels: dict[str, plots.Panel] = {}
    for key, (title, unit) in PLOTTED.items():
        row = {
            f"{pattern}: {title}": plots.Panel(
                "frame",
                unit,
                {name: curve for name in curves if (curve := _curve(curves[name][pattern], key))[0]},
                (1 - HOLDS, 1 + HOLDS) if key in JUDGED else None,
            )
            for pattern in patterns
        }
        if any(panel.series for panel in row.values()):
            panels |= row
    plots.lines(path, panels, columns=len(patterns))


def _curve(runs: Mapping[str, Sequence[Sample]], key: str) -> tuple[list[float], list[float]]:
    """Frames and means over pictures; both empty where there is no such figure."""
    found = [
        (_values(samples[:1], "frame")[0], float(np.mean(values)))
        for samples in zip(*runs.values(), strict=True)
        if (values := _values(samples, key))
    ]
    return [frame for frame, _ in found], [value for _, value in found]


def _relative(one: Sample, reference: Sample) -> Sample:
    channels = [ratio(one[name], reference[name]) for name in COLOURS]
    changes = np.subtract(_values([one], *COLOURS), _values([reference], *COLOURS))
    return {
        **{f"{name}_vs_100": ratio(one[key], reference[key]) for name, key in RATIOS.items()},
        "colour_vs_100": _farthest([channel for channel in channels if channel is not None]),
        "colour_drift_levels": float(np.abs(changes).max()),
    }


def _values(samples: Iterable[Sample], *keys: str) -> list[float]:
    """Every value that was measured."""
    return [value for one in samples for key in keys if (value := one[key]) is not None]


def _farthest(ratios: Sequence[float]) -> float | None:
    """The ratio farthest from 1, either way."""
    return max(ratios, key=lambda ratio: abs(math.log(max(ratio, 1e-9))), default=None)


def _most(values: Sequence[float]) -> float | None:
    return max(values, default=None)


def _percentile(values: Sequence[float], share: float) -> float | None:
    return float(np.percentile(values, share)) if len(values) else None


def _end_point_errors(pattern: TrackPattern, moment: int, window: Video) -> tuple[float | None, float | None]:
    """EPE of the pattern's tracks in the window, and that of a still picture; None without tracks."""
    given = pattern.tracks((window.shape[2], window.shape[1]), moment - len(window), len(window))
    given = given.select(given.visible[0])
    if given.points == 0:
        return None, None
    seen = given.visible[1:]
    found = distance(given, track(window, given.xy[0]))[1:][seen]
    away = np.linalg.norm(given.xy[1:] - given.xy[:1], axis=-1)[seen]
    return float(found.mean()), float(away.mean())
