"""Measuring: the student under every setting of its tables, the teacher under a grid of guidance weights."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Any

import numpy as np

from benchmarks.ablation.settings import GUIDANCE, RECIPES, Setting, student_settings
from benchmarks.ablation.teacher import Teacher
from motionstream.data.synthetic import Clip
from motionstream.evaluate.baselines import Generate
from motionstream.evaluate.harness import Item, Results, Row, means, measure, table
from motionstream.evaluate.metrics import Mask, Video, distance, measurable, psnr, retrack, ssim
from motionstream.evaluate.scores import WITHIN
from motionstream.lpips import LpipsNetwork
from motionstream.sampling import Guidance
from motionstream.stream.model import StreamingModel
from motionstream.stream.offline import play
from motionstream.tracks import Tracks

SPAN = 12
"""Frames whose mean is a point of the curves over time."""
TIME = "chunk_ms_p50"
"""The one figure of a row that a busy machine spoils."""

Clips = Callable[[int], Clip]
"""Clip by number."""
Made = tuple[Video, list[float]]
"""Frames (F, H, W, 3) of a clip, and the ms that each chunk after the first took."""
Make = Callable[[Clip, Tracks], Made]


@dataclass(frozen=True)
class Study:
    """What is common to all settings.

    results: of all of them. count: clips. seed: of the noise. progress: passes items through, counting.
    """

    results: Results
    count: int
    lpips: LpipsNetwork | None = None
    seed: int = 0
    progress: Callable[[Iterable[Any]], Iterable[Any]] = lambda items: items


def distinct(tables: Mapping[str, Sequence[Setting]]) -> dict[str, Setting]:
    """By name; what several tables have is measured once."""
    return {setting.name: setting for rows in tables.values() for setting in rows}


def evaluate_student(
    model: StreamingModel, shift: float, clips: Clips, tables: Sequence[str], study: Study
) -> dict[str, Any]:
    """The student's tables: setting → figures, JSON-ready, and `curves` over time by setting.

    shift: of the student's times.
    """
    chosen = student_settings(model, tables)
    makers = {name: streamed(one.applied(model, shift), study.seed) for name, one in distinct(chosen).items()}
    rows = measured(makers, clips, study)
    return {
        **{table: {one.name: figures(rows[one.name]) for one in settings} for table, settings in chosen.items()},
        "curves": {name: curve(own) for name, own in rows.items()},
    }


def evaluate_guidance(
    teacher: Teacher, clips: Clips, text: Sequence[float], motion: Sequence[float], steps: int, study: Study
) -> dict[str, Any]:
    """The grid of w_t and w_m on a teacher: "w_t 3, w_m 1.5" → figures. steps: of its ODE, up to three calls each."""
    weights = {f"w_t {a:g}, w_m {b:g}": Guidance(a, b) for a in text for b in motion}
    prefix = f"{teacher.name} {teacher.hash}, {steps} steps"
    makers = {f"{prefix}, {name}": whole(teacher.generator(one, steps), study.seed) for name, one in weights.items()}
    rows = measured(makers, clips, study)
    return {
        GUIDANCE: {
            name: {"w_t": one.text, "w_m": one.motion, **figures(rows[f"{prefix}, {name}"])}
            for name, one in weights.items()
        },
        "teacher": {
            "stage": teacher.name,
            "hash": teacher.hash,
            "steps": steps,
            "size": "{}x{}".format(*teacher.geometry.size),
            "frames": teacher.frames,
        },
    }


def streamed(model: StreamingModel, seed: int) -> Make:
    """A maker from a model of the public contract, timed chunk by chunk."""

    def make(clip: Clip, given: Tracks) -> Made:
        frames, took = [], []
        begin = time.perf_counter()
        for chunk in play(model.open(clip.video[0], prompt=clip.caption, seed=seed), given, given.frames):
            frames.append(chunk)
            took.append(1000 * (time.perf_counter() - begin))
            begin = time.perf_counter()
        return np.concatenate(frames), took[1:]

    return make


def whole(generate: Generate, seed: int) -> Make:
    """A maker of clips that come all at once."""
    return lambda clip, given: (generate(clip.video[0], given, clip.caption, seed), [])


def measured(makers: Mapping[str, Make], clips: Clips, study: Study) -> dict[str, list[Row]]:
    """Rows by maker. Clip by clip, so that each is drawn and tracked once, and only if it is needed."""

    @lru_cache(maxsize=1)
    def opened(index: int) -> tuple[Clip, Tracks, Mask]:
        """The clip, its tracks, and where the tracker can be trusted on them, (F, N)."""
        clip = clips(index)
        given = clip.tracks.select(clip.tracks.visible.any(0))
        return clip, given, measurable(given, retrack(clip.video, given), WITHIN)

    def row(name: str, index: int) -> Row:
        clip, given, trusted = opened(index)
        return score(makers[name](clip, given), clip.video, given, trusted, study.lpips)

    names = {(name, index): f"{name}, clip {index}" for index in range(study.count) for name in makers}
    items = [Item(item, partial(row, *which)) for which, item in names.items()]
    rows = measure(study.progress(items), study.results).rows
    return {name: [rows[names[name, index]] for index in range(study.count)] for name in makers}


def score(made: Made, true: Video, given: Tracks, trusted: Mask, lpips: LpipsNetwork | None) -> Row:
    """Figures of one clip. spans: those that are means over frames or places, by spans of frames; frame: the last."""
    video, took = made
    apart = distance(given, retrack(video, given))
    spans = []
    for begin in range(1, len(video), SPAN):
        here, both = slice(begin, begin + SPAN), [one[begin - 1 : begin + SPAN] for one in (video, true)]
        places, frames = trusted[here], len(both[0]) - 1
        spans.append(
            {
                "frame": begin + frames - 1,
                "epe_px": [float(apart[here][places].sum()), int(places.sum())],
                "lpips": [frames * lpips.video(*both), frames] if lpips else None,
                "psnr_db": [frames * psnr(*both), frames],
            }
        )
    return {"ssim": ssim(video, true), TIME: float(np.median(took)) if took else None, "spans": spans}


def figures(rows: Sequence[Row]) -> dict[str, float | None]:
    """Means over the clips' frames; EPE over all trusted places; SSIM and time over clips."""
    whole = {clip: {name: row[name] for name in ("ssim", TIME)} for clip, row in enumerate(rows)}
    return {**_means(span for row in rows for span in row["spans"]), **means(table(whole))}


def curve(rows: Sequence[Row]) -> dict[str, list[Any]]:
    """The same over time: `frame` and the figures of the spans that end there."""
    spans = [span for row in rows for span in row["spans"]]
    frames = sorted({span["frame"] for span in spans})
    points = [_means(span for span in spans if span["frame"] == frame) for frame in frames]
    return {"frame": frames, **{name: [point[name] for point in points] for name in points[0]}}


def _means(spans: Iterable[Row]) -> dict[str, float | None]:
    measured = {n: {name: value for name, value in span.items() if name != "frame"} for n, span in enumerate(spans)}
    return means(table(measured))


def untimed(figures: Mapping[str, Any]) -> dict[str, Any]:
    """The tables without the time of a chunk: on a busy machine it means nothing."""
    tables = [table for table in RECIPES["all"] if table in figures]
    return {**figures, **{table: {n: {**row, TIME: None} for n, row in figures[table].items()} for table in tables}}
