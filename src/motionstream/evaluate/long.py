"""Does a stream hold? Minutes of it, looked at again and again (paper Section 3.2 and its tables of long video).

A stream dissolves by losing detail, drifting in colour, leaving its picture behind, following less well, or growing
slower and larger. So a second of it is measured at every so many frames, and each figure is set beside the one at
frame 100, when a stream has left its given picture behind.

A run that was cut goes on where it was: figures are in a journal, and the stream itself, as a snapshot, beside it.
"""

from __future__ import annotations

import hashlib
import math
import os
import re
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from motionstream.evaluate import machine
from motionstream.evaluate.journal import Journal
from motionstream.evaluate.lpips import Lpips
from motionstream.evaluate.metrics import Video, distance, psnr
from motionstream.evaluate.pictures import plots
from motionstream.evaluate.scenes import PERIOD, SCENES
from motionstream.stream.model import StreamingModel
from motionstream.stream.stream import Stream

REFERENCE = 100
"""Frame that all others are compared with; a whole number of periods, as every sample is."""
RECENT = 24
"""Frames before a sample that are measured; the first of them is where points are taken hold of to be tracked again."""
HOLDS = 0.05
"""Share that sharpness, colour and identity may be off what they were at the reference."""
COLOURS = ("red_levels", "green_levels", "blue_levels")
RATIOS = ("sharpness", "contrast", "saturation", "identity", "memory")
JUDGED = ("sharpness_vs_100", "colour_vs_100", "identity_vs_100")

Sample = dict[str, float | None]
"""Figures at one frame, JSON values; None where a scene or a machine has no such figure."""
Watch = Callable[[Iterable[Any]], Iterable[Any]]
"""Passes chunks of frames through, counting them."""


@dataclass(frozen=True)
class Plan:
    """frames: of each stream. every: frames between samples. seed: of the streams' noise.

    Raises ValueError unless both are whole periods, so that what moves is at the same place in every sample.
    """

    frames: int
    every: int
    seed: int = 0

    def __post_init__(self) -> None:
        if self.every < PERIOD or self.every % PERIOD:
            raise ValueError(f"sampled every {self.every} frames: use a multiple of {PERIOD}, the period of the scenes")
        if self.frames < self.every or self.frames % self.every:
            raise ValueError(f"{self.frames} frames sampled every {self.every}: use a multiple of {self.every}")

    @property
    def moments(self) -> list[int]:
        """Frames shown when a sample is taken: the reference first."""
        return sorted({REFERENCE, *range(self.every, self.frames + 1, self.every)})


@dataclass(frozen=True)
class Run:
    """One stream that is watched: a model on a picture (H, W, 3) in a scene. name: of all three."""

    name: str
    model: StreamingModel
    picture: Video
    scene: str

    def item(self, moment: int) -> str:
        """The sample's name in the journal."""
        return f"{self.name}, {moment}"


class Shelf:
    """Where streams are put down and taken up again, and frames kept for the sheet; in memory without a folder.

    Without a folder no stream is put down.
    """

    def __init__(self, folder: Path | None) -> None:
        self.folder = folder
        self._frames: dict[str, dict[int, Video]] = {}
        if folder is not None:
            folder.mkdir(parents=True, exist_ok=True)

    def keep(self, run: Run, moment: int, stream: Stream, frame: Video) -> None:
        """Put down a stream and its frame (H, W, 3) at a sample."""
        self._frames.setdefault(run.name, {})[moment] = frame
        if self.folder is None:
            return
        Image.fromarray(frame).save(self._path(run, moment, "png"), format="PNG")
        draft = self._path(run, moment, "draft")
        draft.write_bytes(stream.snapshot())
        draft.replace(self._path(run, moment, "stream"))

    def forget(self, run: Run, moment: int) -> None:
        """The stream of a sample is not needed any more: a later one is in the journal."""
        if self.folder is not None:
            self._path(run, moment, "stream").unlink(missing_ok=True)

    def take(self, run: Run, moment: int) -> Stream | None:
        """The stream as it was at a sample, or None where it was not kept."""
        if self.folder is None or not self._path(run, moment, "stream").is_file():
            return None
        return run.model.resume(self._path(run, moment, "stream").read_bytes())

    def frames(self, run: Run, moments: Sequence[int]) -> Video:
        """(F, H, W, 3) of these samples."""
        return np.stack([self._frame(run, moment) for moment in moments])

    def _frame(self, run: Run, moment: int) -> Video:
        kept = self._frames.get(run.name, {})
        if moment in kept:
            return kept[moment]
        path = self._path(run, moment, "png")
        return np.asarray(Image.open(path)) if path.is_file() else np.zeros_like(run.picture)

    def _path(self, run: Run, moment: int, ending: str) -> Path:
        assert self.folder is not None
        plain, digest = re.sub(r"[^\w-]+", "-", run.name), hashlib.sha256(run.name.encode()).hexdigest()[:6]
        return self.folder / f"{plain}-{digest}-{moment:06d}.{ending}"


class Recent:
    """A stream with its last frames, and what each step took."""

    def __init__(self, run: Run, stream: Stream, shown: int) -> None:
        self.run, self.stream, self.shown = run, stream, shown
        self.step_ms: list[float] = []
        self._chunks: list[Video] = []

    def until(self, moment: int) -> Iterator[Video]:
        """Step until so many frames were shown; yields the chunks (F, H, W, 3)."""
        scene = SCENES[self.run.scene]
        while self.shown < moment:
            tracks = scene.tracks(self.stream.size, self.shown, self.stream.chunk_frames)
            begin = time.perf_counter()
            chunk = self.stream.step(tracks)
            if self.shown:  # the first chunk is shorter
                self.step_ms.append(1000 * (time.perf_counter() - begin))
            self.shown += len(chunk)
            self._chunks = [*self._chunks, chunk] if self.shown > moment - RECENT else []
            yield chunk

    def window(self, moment: int) -> Video:
        """The last `RECENT` frames before the frame number `moment`."""
        frames = np.concatenate(self._chunks)
        end = len(frames) - (self.shown - moment)
        return frames[end - RECENT : end]


def evaluate_long(
    models: Mapping[str, StreamingModel],
    pictures: Mapping[str, Video],
    scenes: Sequence[str],
    plan: Plan,
    journal: Path | None = None,
    lpips: Lpips | None = None,
    columns: int = 8,
    progress: Watch = lambda chunks: chunks,
) -> tuple[dict[str, Any], dict[str, Video]]:
    """Every model, by the name of its sizes, on every picture (H, W, 3) in every scene, one after another.

    Returns figures, JSON-ready, and sheet rows by the run's name. Under each model, by scene: the worst of the run,
    over pictures. `…_vs_100`: a figure over what it was at frame 100. `curves`: all samples.
    Raises ValueError on an unknown scene, no pictures, chunks too long to be sampled, or another evaluation's journal.
    """
    for name, model in models.items():
        _check_chunk(name, model)
    if not pictures or not scenes or set(scenes) - set(SCENES):
        raise ValueError(f"scenes {', '.join(scenes)}, {len(pictures)} pictures: use {', '.join(SCENES)} on 1 or more")
    book = Journal(journal, _key(models, pictures, plan, lpips))
    shelf = Shelf(None if journal is None else journal.with_name(f"{journal.name}.streams"))
    shown = _evenly(plan.moments, columns)
    curves: dict[str, Any] = {name: {scene: {} for scene in scenes} for name in models}
    rows: dict[str, Video] = {}
    for name, model in models.items():
        for scene in scenes:
            for title, picture in pictures.items():
                run = Run(f"{name}, {title}, {scene}", model, picture, scene)
                curves[name][scene][title] = against_reference(watch(run, plan, book, shelf, lpips, progress))
                rows[run.name] = shelf.frames(run, shown)
    return {
        "frames": plan.frames,
        "every": plan.every,
        "pictures": len(pictures),
        "seed": plan.seed,
        **{name: {scene: worst(runs) for scene, runs in by_scene.items()} for name, by_scene in curves.items()},
        "missing": [] if lpips else ["lpips"],
        "curves": curves,
        "machine": machine.describe(),
        "date": machine.today(),
    }, rows


def watch(run: Run, plan: Plan, journal: Journal, shelf: Shelf, lpips: Lpips | None, progress: Watch) -> list[Sample]:
    """Samples of one stream, in order; what the journal has is not run again if the stream was put down there."""
    moments = plan.moments
    done = next((n for n, moment in enumerate(moments) if run.item(moment) not in journal), len(moments))
    if done == len(moments):
        _count(progress, moments[-1])
        return [journal.items[run.item(moment)] for moment in moments]
    taken = shelf.take(run, moments[done - 1]) if done else None
    if taken is None:
        done, recent = 0, Recent(run, run.model.open(run.picture, seed=plan.seed), 0)
    else:
        recent = Recent(run, taken, run.model.geometry.frames(taken.state.latents))
        _count(progress, recent.shown)
    for number, moment in enumerate(moments[done:], done):
        for _ in progress(recent.until(moment)):
            pass
        window = recent.window(moment)
        shelf.keep(run, moment, recent.stream, window[-1])  # first the stream: the journal never names one not there
        journal.measured(run.item(moment), partial(sample, run, moment, window, recent.step_ms, lpips))
        if number:
            shelf.forget(run, moments[number - 1])
        recent.step_ms = []
    return [journal.items[run.item(moment)] for moment in moments]


def sample(run: Run, moment: int, window: Video, step_ms: Sequence[float], lpips: Lpips | None) -> Sample:
    """Figures of the frames (F, H, W, 3) shown before frame number `moment`, beside the given picture.

    Levels are of 255. step_ms: what each step took since the last sample. Memory is that of the process that runs now.
    """
    given = np.repeat(run.picture[None], len(window), 0)
    pixels = window.astype(np.float32)
    chroma = window.max(-1).astype(np.float32) - window.min(-1)
    epe, still = _end_point_errors(run, moment, window)
    return {
        "frame": moment,
        "sharpness_levels": sharpness(window),
        "contrast_levels": float(pixels.std((1, 2, 3)).mean()),
        "saturation_levels": float(chroma.mean()),
        **dict(zip(COLOURS, pixels.mean((0, 1, 2)).tolist(), strict=True)),
        "identity_lpips": lpips.video(window, given) if lpips else None,
        "psnr_to_first_db": psnr(window, given) if SCENES[run.scene].still else None,
        "epe_px": epe,
        "epe_of_standing_still_px": still,
        "memory_mib": machine.resident_mib(),
        "chunk_ms_p50": _percentile(step_ms, 50),
        "chunk_ms_p95": _percentile(step_ms, 95),
    }


def sharpness(frames: Video) -> float:
    """Mean absolute difference of neighbouring pixels, in levels of 255."""
    light = frames.astype(np.float32).mean(-1)
    return float(np.abs(np.diff(light, axis=-1)).mean() + np.abs(np.diff(light, axis=-2)).mean())


def against_reference(samples: Sequence[Sample]) -> list[Sample]:
    """The samples with what they are beside the first of them, which is at frame 100."""
    return [{**one, **_beside(one, samples[0])} for one in samples]


def worst(runs: Mapping[str, Sequence[Sample]]) -> dict[str, Any]:
    """The worst of all samples of all pictures: ratios farthest from 1, largest errors, lowest PSNR.

    holds_within_5_percent: whether sharpness, colour and identity, as far as measured, never left what they were.
    """
    samples = [one for run in runs.values() for one in run]
    ratios = {f"{name}_vs_100": _farthest(_all(samples, f"{name}_vs_100")) for name in (*RATIOS, "colour")}
    judged = [value for name in JUDGED if (value := ratios[name]) is not None]
    return {
        **ratios,
        "colour_drift_levels": _most(_all(samples, "colour_drift_levels")),
        "psnr_to_first_db": min(_all(samples, "psnr_to_first_db"), default=None),
        "epe_px": _most(_all(samples, "epe_px")),
        "epe_of_standing_still_px": _most(_all(samples, "epe_of_standing_still_px")),
        "chunk_ms_p50": _percentile(_all(samples, "chunk_ms_p50"), 50),
        "chunk_ms_p95": _most(_all(samples, "chunk_ms_p95")),
        "holds_within_5_percent": all(abs(value - 1) <= HOLDS for value in judged),
    }


ROWS = {
    "sharpness_vs_100": ("sharpness", "over that at frame 100"),
    "colour_drift_levels": ("colour drift", "levels of 255"),
    "identity_lpips": ("distance to the first frame", "LPIPS"),
    "psnr_to_first_db": ("likeness to the first frame", "PSNR, dB"),
    "epe_px": ("tracks given and found", "EPE, pixels"),
    "memory_mib": ("memory of the process", "MiB"),
    "chunk_ms_p50": ("a chunk, median", "ms"),
    "chunk_ms_p95": ("a chunk, 95th percentile", "ms"),
}
"""Figure → title and y axis of its row of the plot."""


def draw(figures: Mapping[str, Any], path: str | os.PathLike[str]) -> None:
    """Write a PNG of the curves: a row a figure, a column a scene, a line a model (mean over pictures)."""
    curves: Mapping[str, Any] = figures["curves"]
    scenes = list(next(iter(curves.values())))
    panels: dict[str, plots.Panel] = {}
    for key, (title, unit) in ROWS.items():
        row = {
            f"{scene}: {title}": plots.Panel(
                "frame",
                unit,
                {name: curve for name in curves if (curve := _curve(curves[name][scene], key))[0]},
                (1 - HOLDS, 1 + HOLDS) if key in JUDGED else None,
            )
            for scene in scenes
        }
        if any(panel.series for panel in row.values()):
            panels |= row
    plots.lines(path, panels, columns=len(scenes))


def _curve(runs: Mapping[str, Sequence[Sample]], key: str) -> tuple[list[float], list[float]]:
    """Frames and means over pictures; both empty where there is no such figure."""
    frames: list[float] = []
    means: list[float] = []
    for samples in zip(*runs.values(), strict=True):
        values = _all(samples, key)
        if values:
            frames += _all(samples[:1], "frame")
            means.append(sum(values) / len(values))
    return frames, means


def _beside(one: Sample, reference: Sample) -> Sample:
    names = {"identity": "identity_lpips", "memory": "memory_mib"}
    ratios = {
        f"{name}_vs_100": _ratio(one[key], reference[key])
        for name in RATIOS
        for key in [names.get(name, f"{name}_levels")]
    }
    changes = [abs(a - b) for a, b in zip(_levels(one), _levels(reference), strict=True)]
    channels = [_ratio(one[name], reference[name]) for name in COLOURS]
    return {
        **ratios,
        "colour_vs_100": _farthest([ratio for ratio in channels if ratio is not None]),
        "colour_drift_levels": max(changes),
    }


def _levels(one: Sample) -> list[float]:
    return _all([one], *COLOURS)


def _all(samples: Iterable[Sample], *keys: str) -> list[float]:
    """Every value there is."""
    return [value for one in samples for key in keys if (value := one[key]) is not None]


def _ratio(over: float | None, under: float | None) -> float | None:
    return None if over is None or not under else over / under


def _farthest(ratios: Sequence[float]) -> float | None:
    """The ratio farthest from 1, either way."""
    return max(ratios, key=lambda ratio: abs(math.log(max(ratio, 1e-9))), default=None)


def _most(values: Sequence[float]) -> float | None:
    return max(values, default=None)


def _percentile(values: Sequence[float], share: float) -> float | None:
    return float(np.percentile(values, share)) if len(values) else None


def _end_point_errors(run: Run, moment: int, window: Video) -> tuple[float | None, float | None]:
    """EPE of the scene's tracks in the window, and that of a picture that stands still; None without tracks."""
    from motionstream.trackers.lucas_kanade import track

    given = SCENES[run.scene].tracks((window.shape[2], window.shape[1]), moment - len(window), len(window))
    given = given.select(given.visible[0])
    if given.points == 0:
        return None, None
    seen = given.visible[1:]
    found = distance(given, track(window, given.xy[0]))[1:][seen]
    away = np.linalg.norm(given.xy[1:] - given.xy[:1], axis=-1)[seen]
    return float(found.mean()), float(away.mean())


def _check_chunk(name: str, model: StreamingModel) -> None:
    """A chunk must end before the frames that the next sample needs."""
    frames = model.geometry.chunk_frames(1, model.rollout_config.chunk)
    if frames > PERIOD - RECENT:
        most = PERIOD - RECENT
        raise ValueError(f"{name}: chunks of {frames} frames cannot be sampled, at most {most} can: use fewer latents")


def _key(
    models: Mapping[str, StreamingModel], pictures: Mapping[str, Video], plan: Plan, lpips: Lpips | None
) -> dict[str, Any]:
    """What the samples depend on beside their name. Not the length: a run may be made longer."""
    return {
        "evaluation": "long",
        "model_hash": sorted({model.hash for model in models.values()}),
        "pictures": {title: hashlib.sha256(picture.tobytes()).hexdigest()[:12] for title, picture in pictures.items()},
        "every": plan.every,
        "seed": plan.seed,
        "lpips": lpips is not None,
    }


def _evenly(moments: Sequence[int], columns: int) -> list[int]:
    """At most so many of the moments, first and last among them."""
    wanted = np.linspace(0, len(moments) - 1, min(columns, len(moments))).round().astype(int)
    return [moments[index] for index in wanted]


def _count(progress: Watch, frames: int) -> None:
    """Frames that need not be made again."""
    for _ in progress([range(frames)]):
        pass
