"""Does a model follow its tracks? Motion transfer on clips whose tracks are known (paper, protocol).

A model is given the first frame, the caption and tracks, and its video is compared with the true one (PSNR, SSIM,
LPIPS) and tracked again: EPE is the mean distance in pixels between the visible tracks given and those found. On clips
with exact tracks only those places count where, on the true clip, the tracker is within a pixel of the truth; on real
clips the given tracks are the tracker's own, as in the paper. Points that it loses in a generated video keep their
last estimate and count: dissolving is no way to a low error.

The controls are those of `controls`. Beside the model stand two baselines (standing still; the first frame warped by
the tracks) and a control of the metric itself: a false track, the true one turned by a right angle, must score far
worse.

Every figure is a sum over clips, kept per clip and control in a journal, so that a run that was cut goes on.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from functools import cached_property
from typing import Any

import numpy as np

from motionstream.evaluate import machine
from motionstream.evaluate.baselines import Generate, still, warp
from motionstream.evaluate.clips import Clip, Follow, Skipped, Source, Unusable, resized
from motionstream.evaluate.clips import EvaluationClip as EvaluationClip
from motionstream.evaluate.controls import CONTROLS, DENSE, MOVED, NAMES, points_given
from motionstream.evaluate.journal import Journal
from motionstream.evaluate.lpips import Lpips
from motionstream.evaluate.metrics import (
    Mask,
    Mean,
    Video,
    after_birth,
    births,
    distance,
    measurable,
    moving,
    near,
    pooled_psnr,
    psnr,
    squares,
    ssim,
    turned,
)
from motionstream.stream.offline import play
from motionstream.trackers.lucas_kanade import track
from motionstream.tracks import Tracks
from motionstream.tracks.tracks import IntArray

WITHIN = 1.0  # pixels that the tracker may be off on the true clip
NEAR = 12.0  # pixels from a moving point within which a pixel counts as moving
MEASURED_AT = (832, 480)
"""Frame (W, H) in which models of that size or more are measured, as in the paper."""
EXAMPLES = 6
WHERE_KNOWN = ("lpips", "uncovered_psnr_db")
"""Figures that are left out where nothing was measured, not said to be none."""

Sums = Mapping[str, Sequence[float]]
Step = tuple[Source, str]
"""A clip under a control."""


@dataclass
class Score:
    """Means over clips (pictures), over pixels (squared errors) and over points and frames (distances)."""

    psnr: Mean = field(default_factory=Mean)
    ssim: Mean = field(default_factory=Mean)
    lpips: Mean = field(default_factory=Mean)
    squares: Mean = field(default_factory=Mean)
    moving_squares: Mean = field(default_factory=Mean)
    uncovered_squares: Mean = field(default_factory=Mean)
    epe: Mean = field(default_factory=Mean)
    epe_moving: Mean = field(default_factory=Mean)
    epe_false: Mean = field(default_factory=Mean)
    kept: Mean = field(default_factory=Mean)

    def sums(self) -> dict[str, list[float]]:
        """Of each mean its total and count, for a journal."""
        return {name: [each["total"], each["count"]] for name, each in asdict(self).items()}

    def join(self, sums: Sums) -> None:
        """Take in the sums of another clip."""
        for each in fields(self):
            total, count = sums[each.name]
            getattr(self, each.name).join(total, int(count))

    def report(self) -> dict[str, float | None]:
        """Figures by name; false_ratio: how many times worse the metric finds a false track on moving points.

        psnr_db is the mean over clips and frames, psnr_pooled_db that of the mean squared error over all clips.
        moving_psnr_db: near points that move; uncovered_psnr_db: where the first frame showed something else.
        """
        figures = {
            "psnr_db": self.psnr.value,
            "psnr_pooled_db": pooled_psnr(self.squares),
            "moving_psnr_db": pooled_psnr(self.moving_squares),
            "uncovered_psnr_db": pooled_psnr(self.uncovered_squares),
            "ssim": self.ssim.value,
            "lpips": self.lpips.value,
            "epe_px": self.epe.value,
            "epe_moving_px": self.epe_moving.value,
            "epe_false_moving_px": self.epe_false.value,
            "false_ratio": ratio(self.epe_false.value, self.epe_moving.value),
            "tracker_kept": self.kept.value,
        }
        return {name: value for name, value in figures.items() if name not in WHERE_KNOWN or value is not None}


@dataclass(frozen=True)
class Example:
    """One clip for the contact sheet: its videos by row name, and the tracks that were given."""

    videos: Mapping[str, Video]
    tracks: Tracks
    caption: str
    name: str = ""


def by_model(model: Any) -> Generate:
    """A generator from a model of the public contract (`model.open(...)`, `stream.step(tracks)`)."""

    def generate(first: Video, tracks: Tracks, caption: str, seed: int) -> Video:
        stream = model.open(first, prompt=caption, seed=seed)
        return np.concatenate(list(play(stream, tracks, tracks.frames)))

    return generate


def evaluate_motion(
    generate: Generate,
    sources: Sequence[Source],
    seed: int = 0,
    controls: Iterable[str] = CONTROLS,
    lpips: Lpips | None = None,
    journal: Journal | None = None,
    follow: Follow = track,
    tracker_on: Sequence[Source] = (),
    watch: Callable[[Iterable[Step]], Iterable[Step]] = iter,
) -> dict[str, Any]:
    """Measure a generator, JSON-ready.

    sources: read one at a time, as the journal needs them. follow: the tracker. tracker_on: clips with exact tracks on
    which its own error is measured when the sources have none. watch: iterates over all pairs of a source and a
    control, for a progress bar. Raises ValueError on an unknown control, repeated names, no clip that can be used, or a
    video of another shape than the clip's.
    """
    chosen = checked(controls)
    if len({source.name for source in sources}) < len(sources):
        raise ValueError("two clips have one name: every source needs its own")
    run = _Run(generate, seed, lpips, journal or Journal(None, {}), follow)
    tally = {control: _Tally() for control in chosen}
    for source, control in watch([(source, control) for source in sources for control in chosen]):
        rows = run.measured(source, control)
        if rows is not None:
            tally[control].add(source.name, control, rows)
    if not run.heads:
        why = f" ({run.skipped[0].name}: {run.skipped[0].reason})" if run.skipped else ""
        raise ValueError(f"no clips: motion is measured on at least one{why}")
    heads = list(run.heads.values())
    lengths = [head["frames"] for head in heads]
    return {
        "clips": len(heads),
        "frames": max(lengths),
        "frames_least": min(lengths),
        "size": "x".join(map(str, heads[0]["size"])),
        "metrics_size": "x".join(map(str, measured_at(heads[0]["size"]))),
        "seed": seed,
        "skipped": [asdict(each) for each in run.skipped],
        "missing": [] if lpips else ["lpips"],
        "tracker": _tracker(heads) or run.own_error(tracker_on),
        **{control: tally[control].report() for control in chosen},
        "per_clip": [row for control in chosen for row in tally[control].rows],
        "machine": machine.describe(),
        "date": machine.today(),
    }


def examples(
    generate: Generate, sources: Iterable[Source], seed: int = 0, control: str = DENSE, follow: Follow = track
) -> Iterator[Example]:
    """True clip, model and warp of each source under one control, as measured; a source without it is left out."""
    for source in sources:
        try:
            opened = Opened(source, follow)
            points = opened.points(control, seed)
        except Unusable:
            continue
        if len(points):
            clip = opened.clip
            given = clip.tracks.select(points)
            made = {name: _made(each, clip, given, seed) for name, each in {"model": generate, "warp": warp}.items()}
            yield Example({"true": clip.video, **made}, given, clip.caption, source.name)


def worst(figures: Mapping[str, Any], count: int, control: str) -> list[str]:
    """Names of the clips on which the model's EPE is largest, the worst first."""
    rows = [row for row in figures["per_clip"] if row["control"] == control and row["model"]["epe_px"] is not None]
    ordered = sorted(rows, key=lambda row: (-row["model"]["epe_px"], row["name"]))
    return [str(row["name"]) for row in ordered[:count]]


def checked(controls: Iterable[str]) -> tuple[str, ...]:
    """The controls, each once. Raises ValueError on an unknown one, or none."""
    chosen = tuple(dict.fromkeys(controls))
    if not chosen or set(chosen) - set(NAMES):
        raise ValueError(f"controls {', '.join(chosen) or 'none'}: use {', '.join(NAMES)}")
    return chosen


def measured_at(size: Sequence[int]) -> tuple[int, int]:
    """The frame (W, H) in which a model of this size is measured: 832 × 480 for those as large, else its own."""
    width, height = size
    large = width >= MEASURED_AT[0] and height >= MEASURED_AT[1]
    return MEASURED_AT if large else (width, height)


def retrack(video: Video, given: Tracks, follow: Follow = track) -> Tracks:
    """Follow the points of `given` through a video, each from where and when it is first visible."""
    born = births(given)
    return follow(video, given.xy[born, np.arange(given.points)], born)


def ratio(over: float | None, under: float | None) -> float | None:
    """over / under, or None where there is nothing to compare."""
    return None if over is None or not under else over / under


class Opened:
    """A source, read when something of it is asked for, with what is the same for every control and generator."""

    def __init__(self, source: Source, follow: Follow) -> None:
        self.source, self.follow = source, follow
        self.standing: Score | None = None

    @cached_property
    def clip(self) -> Clip:
        return self.source.load()

    @cached_property
    def true(self) -> Clip:
        """The clip in the frame in which it is measured."""
        return self.clip.at(measured_at(self.clip.size))

    @cached_property
    def found(self) -> Tracks:
        """What the tracker makes of the true clip."""
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

    def points(self, control: str, seed: int) -> IntArray:
        """The points given, the same however often and in whatever order they are asked for."""
        rng = np.random.default_rng([seed, zlib.crc32(f"{self.source.name} {control}".encode())])
        return points_given(control, self.clip, rng)

    def head(self) -> dict[str, Any]:
        """What is written down of the clip itself; `tracker` where its tracks are exact."""
        clip = self.clip
        figures: dict[str, Any] = {
            "frames": len(clip.video),
            "size": list(clip.size),
            "skipped": [asdict(each) for each in clip.skipped],
        }
        if clip.exact:
            tracks = self.true.tracks
            off = distance(tracks, self.found)[measurable(tracks, self.found, within=np.inf)]
            figures["tracker"] = [float(off.sum()), int((off <= WITHIN).sum()), off.size]
        return figures


class _Run:
    """One evaluation: what it goes by, the clips it could use and those it could not."""

    def __init__(self, generate: Generate, seed: int, lpips: Lpips | None, journal: Journal, follow: Follow) -> None:
        self.generators = {"model": generate, "warp": warp, "still": still}
        self.seed, self.lpips, self.journal, self.follow = seed, lpips, journal, follow
        self.heads: dict[str, dict[str, Any]] = {}
        self.skipped: list[Skipped] = []
        self._opened: Opened | None = None
        self._unusable: set[str] = set()

    def measured(self, source: Source, control: str) -> dict[str, Any] | None:
        """Points given and each generator's sums; None where the clip cannot be used or has no such control."""
        opened = self._open(source)
        if opened is None:
            return None
        rows: dict[str, Any] | None = self.journal.measured(
            f"{source.name} {control}", lambda: self._measure(opened, control)
        )
        return rows

    def own_error(self, sources: Sequence[Source]) -> dict[str, Any] | None:
        """The tracker's error on clips with exact tracks, None without such."""
        names = {source: f"tracker {source.name}" for source in sources}
        return _tracker([self.journal.measured(names[each], Opened(each, self.follow).head) for each in sources])

    def _open(self, source: Source) -> Opened | None:
        if self._opened is None or self._opened.source is not source:
            self._opened = Opened(source, self.follow)
        if source.name not in self.heads and source.name not in self._unusable:
            try:
                head = self.journal.measured(source.name, self._opened.head)
            except Unusable as error:
                self._unusable.add(source.name)
                self.skipped.append(Skipped(source.name, str(error)))
            else:
                self.heads[source.name] = head
                self.skipped += [Skipped(**each) for each in head["skipped"]]
        return self._opened if source.name in self.heads else None

    def _measure(self, opened: Opened, control: str) -> dict[str, Any] | None:
        points = opened.points(control, self.seed)
        if len(points) == 0:
            return None
        given = opened.clip.tracks.select(points)
        figures: dict[str, Any] = {"points": len(points)}
        for name, generate in self.generators.items():
            video = _made(generate, opened.clip, given, self.seed)
            seen = resized(video, opened.true.size)
            score = self._pictures(seen, opened, name)
            score_tracks(score, seen, opened, points, self.follow)
            figures[name] = score.sums()
        return figures

    def _pictures(self, video: Video, opened: Opened, name: str) -> Score:
        """What a video looks like beside the true one. Standing still looks the same under every control."""
        if name != "still":
            return pictures(video, opened, self.lpips)
        if opened.standing is None:
            opened.standing = pictures(video, opened, self.lpips)
        score = Score()
        score.join(opened.standing.sums())
        return score


@dataclass
class _Tally:
    """One control over all clips."""

    clips: int = 0
    points: Mean = field(default_factory=Mean)
    scores: dict[str, Score] = field(default_factory=lambda: {name: Score() for name in ("model", "warp", "still")})
    rows: list[dict[str, Any]] = field(default_factory=list)

    def add(self, clip: str, control: str, figures: Mapping[str, Any]) -> None:
        self.clips += 1
        self.points.add(figures["points"])
        row: dict[str, Any] = {"name": clip, "control": control}
        for name, score in self.scores.items():
            score.join(figures[name])
            own = Score()
            own.join(figures[name])
            row[name] = {"epe_px": own.epe.value, "psnr_db": own.psnr.value}
        self.rows.append(row)

    def report(self) -> dict[str, Any]:
        """Each generator's figures, and how many times worse standing still is than the model on moving points."""
        figures: dict[str, Any] = {name: score.report() for name, score in self.scores.items()}
        still_ratio = ratio(self.scores["still"].epe_moving.value, self.scores["model"].epe_moving.value)
        return {"clips": self.clips, "points": self.points.value, **figures, "still_ratio": still_ratio}


def _tracker(heads: Sequence[Mapping[str, Any]]) -> dict[str, Any] | None:
    """The tracker's own error over clips with exact tracks; None without such."""
    exact = [head["tracker"] for head in heads if "tracker" in head]
    off, close, count = (sum(each[index] for each in exact) for index in range(3))
    if not count:
        return None
    return {"clips": len(exact), "epe_px": off / count, "within_1px": close / count}


def _made(generate: Generate, clip: Clip, given: Tracks, seed: int) -> Video:
    return fitting(generate(clip.video[0], given, clip.caption, seed), clip)


def fitting(video: Video, clip: Clip) -> Video:
    """The video as it is. Raises ValueError where it is of another shape than the clip's."""
    if video.shape != clip.video.shape or video.dtype != np.uint8:
        raise ValueError(f"generated {video.dtype} of shape {video.shape}: send uint8 of shape {clip.video.shape}")
    return video


def pictures(video: Video, opened: Opened, lpips: Lpips | None) -> Score:
    """What a video looks like beside the true one. video: in the frame in which it is measured."""
    score, true = Score(), opened.true
    score.psnr.add(psnr(video, true.video))
    score.ssim.add(ssim(video, true.video))
    if lpips is not None:
        score.lpips.add(lpips.video(video, true.video))
    score.squares = squares(video, true.video)
    score.moving_squares = squares(video, true.video, opened.moving_pixels)
    if true.uncovered is not None:
        score.uncovered_squares = squares(video, true.video, true.uncovered)
    return score


def score_tracks(score: Score, video: Video, opened: Opened, points: IntArray, follow: Follow) -> None:
    """Where the points went that were given. video: in the frame in which it is measured."""
    given, trusted = opened.true.tracks.select(points), opened.trusted[:, points]
    found = retrack(video, given, follow)
    off = distance(given, found)
    away = trusted & moving(given, MOVED)
    score.epe.add(off[trusted])
    score.epe_moving.add(off[away])
    score.epe_false.add(distance(turned(given), found)[away])
    score.kept.add(found.visible[trusted])
