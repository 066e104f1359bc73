"""Does a stream keep its quality for minutes? (paper Section 3.2 and its tables of long video)

A stream can degrade by losing detail, shifting in colour, leaving its picture behind, following its tracks less well,
or growing slower and larger. So one second of it is measured at every so many frames, and each figure is compared with
that at frame 100, when a stream has left its given picture behind.

An item is a sample of a stream. An interrupted run continues: samples are in the results file, and beside it lies a
snapshot of the stream at its latest sample.
"""

from __future__ import annotations

import hashlib
import re
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from motionstream.evaluate.harness import Results, stamp
from motionstream.evaluate.metrics import Video
from motionstream.evaluate.stream_figures import Sample, against_reference, sample, worst
from motionstream.evaluate.track_patterns import PATTERNS, PERIOD
from motionstream.lpips import LpipsNetwork
from motionstream.stream.model import StreamingModel
from motionstream.stream.stream import Stream

REFERENCE = 100
"""Frame that all others are compared with; a whole number of periods, as every sample is."""
RECENT = 24
"""Frames before a sample that are measured; in the first of them the points begin that are tracked."""

Watch = Callable[[Iterable[Any]], Iterable[Any]]
"""Passes chunks of frames through, counting them."""


@dataclass(frozen=True)
class Schedule:
    """frames: of each stream. every: frames between samples. seed: of the streams' noise.

    Raises ValueError unless both are whole periods, so that what moves is at the same place in every sample.
    """

    frames: int
    every: int
    seed: int = 0

    def __post_init__(self) -> None:
        if self.every < PERIOD or self.every % PERIOD:
            raise ValueError(f"sampled every {self.every} frames: use a multiple of {PERIOD}, the tracks' period")
        if self.frames < self.every or self.frames % self.every:
            raise ValueError(f"{self.frames} frames sampled every {self.every}: use a multiple of {self.every}")

    @property
    def moments(self) -> list[int]:
        """Frames shown when a sample is taken: the reference first."""
        return sorted({REFERENCE, *range(self.every, self.frames + 1, self.every)})


@dataclass(frozen=True)
class Run:
    """One stream that is measured: a model on a picture (H, W, 3) with a pattern of tracks. name: of all three."""

    name: str
    model: StreamingModel
    picture: Video
    pattern: str

    def item(self, moment: int) -> str:
        """The sample's name in the results."""
        return f"{self.name}, {moment}"


class Snapshots:
    """Streams and frames at samples: for continuing, and for the contact sheet.

    folder: None keeps frames in memory, and no stream.
    """

    def __init__(self, folder: Path | None) -> None:
        self.folder = folder
        self._frames: dict[str, dict[int, Video]] = {}
        if folder is not None:
            folder.mkdir(parents=True, exist_ok=True)

    def save(self, run: Run, moment: int, stream: Stream, frame: Video) -> None:
        """Keep a stream and its frame (H, W, 3) at a sample."""
        self._frames.setdefault(run.name, {})[moment] = frame
        if self.folder is None:
            return
        Image.fromarray(frame).save(self._path(run, moment, "png"), format="PNG")
        draft = self._path(run, moment, "draft")
        draft.write_bytes(stream.snapshot())
        draft.replace(self._path(run, moment, "stream"))

    def remove(self, run: Run, moment: int) -> None:
        """Remove the stream of a sample; its frame stays."""
        if self.folder is not None:
            self._path(run, moment, "stream").unlink(missing_ok=True)

    def load(self, run: Run, moment: int) -> Stream | None:
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


class Playback:
    """A running stream with its latest frames, and the time of each step since the last sample."""

    def __init__(self, run: Run, stream: Stream, shown: int) -> None:
        self.run, self.stream, self.shown = run, stream, shown
        self.step_ms: list[float] = []
        self._chunks: list[Video] = []

    def until(self, moment: int) -> Iterator[Video]:
        """Step until so many frames were shown; yields the chunks (F, H, W, 3)."""
        pattern = PATTERNS[self.run.pattern]
        self.step_ms = []
        while self.shown < moment:
            tracks = pattern.tracks(self.stream.size, self.shown, self.stream.chunk_frames)
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
    patterns: Sequence[str],
    schedule: Schedule,
    file: Path | None = None,
    lpips: LpipsNetwork | None = None,
    columns: int = 8,
    progress: Watch = iter,
) -> tuple[dict[str, Any], dict[str, Video]]:
    """Every model, by the name of its sizes, on every picture (H, W, 3) with every pattern, one after another.

    file: the resumable results file. Returns figures, JSON-ready, and sheet rows by the run's name. Under each model,
    by pattern: the worst of the run, over pictures. `…_vs_100`: a figure over what it was at frame 100. `curves`: all
    samples. Raises ValueError on an unknown pattern, no pictures, chunks too long to be sampled, or a file of another
    evaluation.
    """
    for name, model in models.items():
        _check_chunk(name, model)
    if not pictures or not patterns or set(patterns) - set(PATTERNS):
        raise ValueError(
            f"patterns {', '.join(patterns)}, {len(pictures)} pictures: use {', '.join(PATTERNS)} on 1 or more"
        )
    results = Results(file, _settings(models, pictures, schedule, lpips))
    snapshots = Snapshots(None if file is None else file.with_name(f"{file.name}.streams"))
    shown = _evenly(schedule.moments, columns)
    curves: dict[str, Any] = {name: {pattern: {} for pattern in patterns} for name in models}
    rows: dict[str, Video] = {}
    for name, model in models.items():
        for pattern in patterns:
            for title, picture in pictures.items():
                run = Run(f"{name}, {title}, {pattern}", model, picture, pattern)
                samples = measure_run(run, schedule, results, snapshots, lpips, progress)
                curves[name][pattern][title] = against_reference(samples)
                rows[run.name] = snapshots.frames(run, shown)
    return {
        "frames": schedule.frames,
        "every": schedule.every,
        "pictures": len(pictures),
        "seed": schedule.seed,
        **{name: {pattern: worst(runs) for pattern, runs in some.items()} for name, some in curves.items()},
        "missing": [] if lpips else ["lpips"],
        "curves": curves,
        **stamp(),
    }, rows


def measure_run(
    run: Run,
    schedule: Schedule,
    results: Results,
    snapshots: Snapshots,
    lpips: LpipsNetwork | None,
    progress: Watch,
) -> list[Sample]:
    """Samples of one stream, in order. It continues from the snapshot at the latest sample, or begins anew."""
    moments = schedule.moments
    done = next((n for n, moment in enumerate(moments) if run.item(moment) not in results), len(moments))
    if done == len(moments):
        _count(progress, moments[-1])
    else:
        stream = snapshots.load(run, moments[done - 1]) if done else None
        if stream is None:
            done, playback = 0, Playback(run, run.model.open(run.picture, seed=schedule.seed), 0)
        else:
            playback = Playback(run, stream, run.model.geometry.frames(stream.state.latents))
            _count(progress, playback.shown)
        for number, moment in enumerate(moments[done:], done):
            for _ in progress(playback.until(moment)):
                pass
            window = playback.window(moment)
            snapshots.save(run, moment, playback.stream, window[-1])  # first, so that no sample lacks its stream
            measure = partial(sample, PATTERNS[run.pattern], run.picture, moment, window, playback.step_ms, lpips)
            results.measured(run.item(moment), measure)
            if number:
                snapshots.remove(run, moments[number - 1])
    return [results.rows[run.item(moment)] for moment in moments]


def _check_chunk(name: str, model: StreamingModel) -> None:
    """A chunk must end before the frames that the next sample needs."""
    frames = model.geometry.chunk_frames(1, model.rollout_config.chunk)
    if frames > PERIOD - RECENT:
        most = PERIOD - RECENT
        raise ValueError(f"{name}: chunks of {frames} frames cannot be sampled, at most {most} can: use fewer latents")


def _settings(
    models: Mapping[str, StreamingModel],
    pictures: Mapping[str, Video],
    schedule: Schedule,
    lpips: LpipsNetwork | None,
) -> dict[str, Any]:
    """What the samples depend on beside their name. Not the length: a run may be made longer."""
    return {
        "evaluation": "long",
        "model_hash": sorted({model.hash for model in models.values()}),
        "pictures": {title: hashlib.sha256(picture.tobytes()).hexdigest()[:12] for title, picture in pictures.items()},
        "every": schedule.every,
        "seed": schedule.seed,
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
