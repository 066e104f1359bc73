"""What each choice is worth (paper, tables of ablations): one thing changed at a time, on the same held-out clips.

The student is run through its public stream with other sinks, windows, chunks and numbers of calls, and without part
of what its tracks tell it; the teacher under a grid of guidance weights. All tracks are given. EPE counts where the
tracker can be trusted on the true clip, as in `evaluate motion`. Sizes are latents; the paper counts sinks and windows
in chunks of three.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from motionstream.diffusion import few_step_times
from motionstream.evaluate import machine
from motionstream.evaluate.baselines import Generate
from motionstream.evaluate.journal import Journal
from motionstream.evaluate.lpips import Lpips
from motionstream.evaluate.metrics import Mean, Video, distance, measurable, psnr, ssim
from motionstream.evaluate.motion import WITHIN, EvaluationClip, retrack
from motionstream.evaluate.pictures import plots
from motionstream.evaluate.teacher import Teacher
from motionstream.evaluate.variant import Variant, sizes_name
from motionstream.sampling import Guidance, RolloutConfig
from motionstream.stream.model import StreamingModel
from motionstream.stream.offline import play
from motionstream.tracks import Tracks

UNIT = 3
"""Latents of the paper's chunk, in which it counts sinks and windows."""
SPAN = 12
"""Frames whose mean is a point of the curves over time."""
SINKS, WINDOWS, CHUNKS, STEPS = (0, 1), (1, 2, 6), (1, 3), (1, 2, 3, 4)
"""Sinks and windows in units, chunks in latents, denoising calls."""
GUIDANCE = "guidance"
TIME = "chunk_ms_p50"
"""The one figure of a row that a busy machine spoils."""

Clips = Callable[[int], EvaluationClip]
"""Clip by number."""


class Worlds(Protocol):
    """What is told of the clips: (W, H), and frames of each."""

    @property
    def size(self) -> tuple[int, int]: ...
    @property
    def frames(self) -> int: ...


Watch = Callable[[Iterable[Any]], Iterable[Any]]
Made = tuple[Video, list[float]]
"""Frames (F, H, W, 3) of a clip, and the ms that each chunk after the first took."""
Make = Callable[[EvaluationClip, Tracks], Made]


@dataclass(frozen=True)
class Setting:
    """One way to run a student: latents, calls a chunk, and what its network is told of the tracks."""

    chunk: int
    sink: int
    window: int
    steps: int
    identity: bool = True
    anchor: bool = True

    @classmethod
    def of(cls, model: StreamingModel) -> Setting:
        """As the model comes."""
        rollout_config = model.rollout_config
        return cls(rollout_config.chunk, rollout_config.sink, rollout_config.window, len(rollout_config.times))

    @property
    def name(self) -> str:
        """Such as "c3s3w3, 2 steps, no anchor"."""
        sizes = sizes_name(RolloutConfig(self.chunk, self.sink, self.window, ()))
        without = [f"no {part}" for part in ("identity", "anchor") if not getattr(self, part)]
        return ", ".join([sizes, f"{self.steps} step{'s' * (self.steps > 1)}", *without])

    def applied(self, model: StreamingModel, shift: float) -> Variant:
        """The model run so. shift: of the student's times."""
        times = tuple(few_step_times(self.steps, shift).tolist())
        rollout_config = replace(
            model.rollout_config, chunk=self.chunk, sink=self.sink, window=self.window, times=times
        )
        return Variant(model, rollout_config, self.identity, self.anchor)


def tables_of(base: Setting, anchored: bool = True) -> dict[str, list[Setting]]:
    """The student's tables. base: the setting that all of them vary. anchored: whether it knows the warped anchor."""
    told = [(True, True), (False, True), (True, False), (False, False)]
    return {
        "sink": [replace(base, sink=UNIT * sink) for sink in SINKS],
        "window": [replace(base, window=UNIT * window) for window in WINDOWS],
        "chunk": [replace(base, chunk=chunk) for chunk in CHUNKS],
        "steps": [replace(base, steps=steps) for steps in STEPS],
        "tracks": [replace(base, identity=identity, anchor=anchor) for identity, anchor in told if anchor or anchored],
    }


RECIPES: dict[str, tuple[str, ...]] = {
    "all": ("sink", "window", "chunk", "steps", "tracks", GUIDANCE),
    "rollout": ("sink", "window", "chunk", "steps"),
    **{name: (name,) for name in ("sink", "window", "chunk", "steps", "tracks", GUIDANCE)},
}
"""Name on the command line → tables."""


def tables_of_recipe(recipe: str, with_teacher: bool) -> tuple[str, ...]:
    """The tables to be made. Raises ValueError on an unknown recipe, or one that has nothing without a teacher."""
    if recipe not in RECIPES:
        raise ValueError(f"recipe {recipe!r}: use one of {', '.join(RECIPES)}")
    tables = tuple(name for name in RECIPES[recipe] if name != GUIDANCE or with_teacher)
    if not tables:
        raise ValueError("guidance is measured on a teacher: give --runs, the folder of its training run")
    return tables


@dataclass(frozen=True)
class Study:
    """What is common to all settings. count: clips. seed: of the noise. progress: passes items through, counting."""

    journal: Journal
    count: int
    lpips: Lpips | None = None
    seed: int = 0
    progress: Watch = lambda items: items


def student_settings(model: StreamingModel, tables: Sequence[str]) -> dict[str, list[Setting]]:
    """Those of the tables that are the student's, with their settings."""
    every = tables_of(Setting.of(model), model.network.config.conditioning.anchored)
    return {name: every[name] for name in tables if name in every}


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
    measured = _measured(makers, clips, study)
    return {
        **{table: {one.name: measured[one.name][0] for one in rows} for table, rows in chosen.items()},
        "curves": {name: curve for name, (_, curve) in measured.items()},
    }


def evaluate_guidance(
    teacher: Teacher, clips: Clips, text: Sequence[float], motion: Sequence[float], steps: int, study: Study
) -> dict[str, Any]:
    """The grid of w_t and w_m on a teacher: "w_t 3, w_m 1.5" → figures. steps: of its ODE, up to three calls each."""
    grid = {f"w_t {a:g}, w_m {b:g}": Guidance(a, b) for a in text for b in motion}
    prefix = f"{teacher.name} {teacher.hash}, {steps} steps"
    makers = {
        f"{prefix}, {name}": whole(teacher.generator(guidance, steps), study.seed) for name, guidance in grid.items()
    }
    measured = _measured(makers, clips, study)
    rows = {
        name: {"w_t": guidance.text, "w_m": guidance.motion, **measured[f"{prefix}, {name}"][0]}
        for name, guidance in grid.items()
    }
    size, frames = "{}x{}".format(*teacher.geometry.size), teacher.frames
    about = {"stage": teacher.name, "hash": teacher.hash, "steps": steps, "size": size, "frames": frames}
    return {GUIDANCE: rows, "teacher": about}


def streamed(model: StreamingModel, seed: int) -> Make:
    """A maker from a model of the public contract, timed chunk by chunk."""

    def make(clip: EvaluationClip, given: Tracks) -> Made:
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


@dataclass(frozen=True)
class Task:
    """A clip, the tracks given of it, and where the tracker can be trusted on them, (F, N) bool."""

    clip: EvaluationClip
    given: Tracks
    trusted: npt.NDArray[np.bool_]

    @classmethod
    def of(cls, clip: EvaluationClip) -> Task:
        given = clip.tracks.select(clip.tracks.visible.any(0))
        return cls(clip, given, measurable(given, retrack(clip.video, given), WITHIN))


def score(made: Made, task: Task, lpips: Lpips | None) -> dict[str, Any]:
    """Figures of one clip, JSON values, such that those of several can be joined by `joined`.

    spans: the same by spans of frames: frame (the last), epe_total (pixels), places, psnr_db, lpips.
    """
    video, took = made
    true = task.clip.video
    apart = distance(task.given, retrack(video, task.given))
    spans = []
    for begin in range(1, len(video), SPAN):
        here = slice(begin, begin + SPAN)
        trusted, both = task.trusted[here], (video[begin - 1 : begin + SPAN], true[begin - 1 : begin + SPAN])
        spans.append(
            {
                "frame": min(begin + SPAN, len(video)) - 1,
                "frames": len(trusted),
                "epe_total": float(apart[here][trusted].sum()),
                "places": int(trusted.sum()),
                "psnr_db": psnr(*both),
                "lpips": lpips.video(*both) if lpips else None,
            }
        )
    return {"ssim": ssim(video, true), "chunk_ms": float(np.median(took)) if took else None, "spans": spans}


def joined(clips: Sequence[Mapping[str, Any]]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Scores of clips → figures and curves over time: means over clips' frames, EPE over all trusted places."""
    spans = [span for clip in clips for span in clip["spans"]]
    frames = sorted({span["frame"] for span in spans})
    curve = [_joined_spans([span for span in spans if span["frame"] == frame]) for frame in frames]
    ssims, chunks = Mean(), Mean()
    for clip in clips:
        ssims.add(clip["ssim"])
        if clip["chunk_ms"] is not None:
            chunks.add(clip["chunk_ms"])
    figures = {**_joined_spans(spans), "ssim": ssims.value, TIME: chunks.value}
    return figures, {"frame": frames, **{key: [one[key] for one in curve] for key in curve[0]}}


def untimed(figures: Mapping[str, Any]) -> dict[str, Any]:
    """The tables without the time of a chunk: on a busy machine it says nothing."""
    tables = {table: {name: _without(TIME, row) for name, row in figures[table].items()} for table in _tables(figures)}
    return {**figures, **tables}


def _without(key: str, row: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in row.items() if name != key}


def _tables(figures: Mapping[str, Any]) -> list[str]:
    return [table for table in RECIPES["all"] if table in figures]


def markdown(figures: Mapping[str, Any]) -> str:
    """All tables as Markdown, the columns named with units; "–" where there is no such figure."""
    parts = []
    for name in _tables(figures):
        rows: Mapping[str, Mapping[str, Any]] = figures[name]
        columns = list(next(iter(rows.values())))
        head = [name, *(column.replace("_", " ") if column not in ("w_t", "w_m") else column for column in columns)]
        body = [[setting, *(_cell(row[column]) for column in columns)] for setting, row in rows.items()]
        parts.append("\n".join(f"| {' | '.join(line)} |" for line in (head, ["---"] * len(head), *body)))
    return "\n\n".join(parts)


def draw(figures: Mapping[str, Any], folder: Path) -> list[Path]:
    """Write what there is to draw: time.png of the student's tables, guidance.png where LPIPS was measured."""
    written = []
    if figures["curves"]:
        written.append(folder / "time.png")
        draw_time(figures, written[-1])
    if GUIDANCE in figures and "lpips" not in figures["missing"]:
        written.append(folder / "guidance.png")
        draw_guidance(figures[GUIDANCE], written[-1])
    return written


def draw_guidance(rows: Mapping[str, Mapping[str, float]], path: Path) -> None:
    """Write a PNG of EPE against LPIPS, a line for each w_t along w_m."""
    series: dict[str, list[plots.Mark]] = {}
    for row in rows.values():
        mark = (row["lpips"], row["epe_px"], f"w_m {row['w_m']:g}")
        series.setdefault(f"w_t {row['w_t']:g}", []).append(mark)
    plots.scatter(path, series, x="LPIPS, lower is better", y="EPE, pixels", title="Guidance: likeness against control")


def draw_time(figures: Mapping[str, Any], path: Path) -> None:
    """Write a PNG of LPIPS and EPE over time: a column a table, a line a setting."""
    tables = [name for name in RECIPES["all"] if name in figures and name != GUIDANCE]
    axes = {"lpips": ("LPIPS", "LPIPS"), "epe_px": ("EPE", "EPE, pixels")}
    panels = {
        f"{table}: {title} over time": plots.Panel("frame", unit, _curves(figures, table, key))
        for key, (title, unit) in axes.items()
        if any(_curves(figures, table, key) for table in tables)
        for table in tables
    }
    plots.lines(path, panels, columns=len(tables))


def _curves(figures: Mapping[str, Any], table: str, key: str) -> dict[str, plots.Curve]:
    """Of each setting of a table, where the figure was measured."""
    found: dict[str, plots.Curve] = {}
    for setting in figures[table]:
        curve = figures["curves"][setting]
        points = [(frame, value) for frame, value in zip(curve["frame"], curve[key], strict=True) if value is not None]
        if points:
            found[setting] = ([frame for frame, _ in points], [value for _, value in points])
    return found


def _measured(
    makers: Mapping[str, Make], clips: Clips, study: Study
) -> dict[str, tuple[dict[str, Any], dict[str, Any]]]:
    """Figures and curves by maker. Clip by clip, so that each is drawn and tracked once, and only if it is needed."""
    task = lru_cache(maxsize=1)(lambda index: Task.of(clips(index)))
    items = [(name, index) for index in range(study.count) for name in makers]
    scores: dict[str, list[dict[str, Any]]] = {name: [] for name in makers}
    for name, index in study.progress(items):

        def measure(name: str = name, index: int = index) -> dict[str, Any]:
            one = task(index)
            return score(makers[name](one.clip, one.given), one, study.lpips)

        scores[name].append(study.journal.measured(f"{name}, clip {index}", measure))
    return {name: joined(clips) for name, clips in scores.items()}


def _joined_spans(spans: Sequence[Mapping[str, Any]]) -> dict[str, float | None]:
    """Means over the frames of the spans, and over all places."""
    frames, places = sum(span["frames"] for span in spans), sum(span["places"] for span in spans)
    figures: dict[str, float | None] = {"epe_px": sum(span["epe_total"] for span in spans) / places if places else None}
    for key in ("lpips", "psnr_db"):
        known = all(span[key] is not None for span in spans)
        figures[key] = sum(span[key] * span["frames"] for span in spans) / frames if known else None
    return figures


def _cell(value: float | None) -> str:
    return "–" if value is None else f"{value:.4g}"


def circumstances(study: Study, worlds: Worlds, missing: Sequence[str]) -> dict[str, Any]:
    """What every table was measured on, and what is not there."""
    return {
        "clips": study.count,
        "frames": worlds.frames,
        "size": "{}x{}".format(*worlds.size),
        "seed": study.seed,
        "missing": [*missing, *([] if study.lpips else ["lpips"])],
        "machine": machine.describe(),
        "date": machine.today(),
    }
