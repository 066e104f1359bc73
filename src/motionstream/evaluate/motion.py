"""Does a model follow its tracks? Motion transfer on clips whose tracks are known (paper, protocol).

A model is given the first frame, the caption and tracks, and its video is compared with the true one (PSNR, SSIM,
LPIPS) and tracked again: EPE is the mean distance in pixels between the tracks given and those found. The tracker
is not perfect, so only those places count where, on the true clip, it is within a pixel of the truth. Points that
it loses in a generated video keep their last estimate and count: dissolving is no way to a low error.

Three controls: dense (all tracks), few (20 random ones), object (a grid on one moved object, as a hand drags).
Beside the model stand two baselines (standing still; the first frame warped by the tracks) and a control of the
metric itself: a false track, the true one turned by a right angle, must score far worse.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from motionstream.evaluate import machine
from motionstream.evaluate.baselines import Generate, still, warp
from motionstream.evaluate.lpips import Lpips
from motionstream.evaluate.metrics import Mean, Video, births, distance, measurable, moving, psnr, ssim, turned
from motionstream.stream.offline import play
from motionstream.tracks import Tracks
from motionstream.tracks.lucas_kanade import track

CONTROLS = ("dense", "few", "object")
FEW = 20
ON_OBJECT = 25
LEAST_ON_OBJECT = 4
WITHIN = 1.0  # pixels that the tracker may be off on the true clip
MOVED = 4.0  # pixels from home from which on a point counts as moving


class EvaluationClip(Protocol):
    """What is needed of a clip: data's `Clip`, or a video with tracks from elsewhere.

    video (F, H, W, 3) uint8; object_of (N,) the number of the object each point is on, 0 for the ground.
    """

    @property
    def video(self) -> Video: ...
    @property
    def tracks(self) -> Tracks: ...
    @property
    def caption(self) -> str: ...
    @property
    def object_of(self) -> npt.NDArray[np.int64]: ...


@dataclass
class Score:
    """Means over clips (pictures) and over points and frames (distances)."""

    psnr: Mean = field(default_factory=Mean)
    ssim: Mean = field(default_factory=Mean)
    lpips: Mean = field(default_factory=Mean)
    epe: Mean = field(default_factory=Mean)
    epe_moving: Mean = field(default_factory=Mean)
    epe_false: Mean = field(default_factory=Mean)
    kept: Mean = field(default_factory=Mean)

    def report(self) -> dict[str, float | None]:
        """Figures by name; false_ratio: how many times worse the metric finds a false track on moving points."""
        figures = {
            "psnr_db": self.psnr.value,
            "ssim": self.ssim.value,
            "lpips": self.lpips.value,
            "epe_px": self.epe.value,
            "epe_moving_px": self.epe_moving.value,
            "epe_false_moving_px": self.epe_false.value,
            "false_ratio": ratio(self.epe_false.value, self.epe_moving.value),
            "tracker_kept": self.kept.value,
        }
        return {name: value for name, value in figures.items() if name != "lpips" or value is not None}


@dataclass(frozen=True)
class Example:
    """One clip for the contact sheet: its videos by row name, and the tracks that were given."""

    videos: Mapping[str, Video]
    tracks: Tracks
    caption: str


@dataclass(frozen=True)
class _Control:
    """Tracks given of one clip, and where the tracker can be trusted on them."""

    given: Tracks
    trusted: npt.NDArray[np.bool_]


def by_model(model: Any) -> Generate:
    """A generator from a model of the public contract (`model.open(...)`, `stream.step(tracks)`)."""

    def generate(first: Video, tracks: Tracks, caption: str, seed: int) -> Video:
        stream = model.open(first, prompt=caption, seed=seed)
        return np.concatenate(list(play(stream, tracks, tracks.frames)))

    return generate


def evaluate_motion(
    generate: Generate,
    clips: Iterable[EvaluationClip],
    seed: int = 0,
    controls: Iterable[str] = CONTROLS,
    lpips: Lpips | None = None,
    examples: list[Example] | None = None,
    most_examples: int = 6,
    progress: Callable[[int], None] = lambda done: None,
) -> dict[str, Any]:
    """Measure a generator, JSON-ready.

    clips: read once, one at a time. examples: a list that receives the first clips with their videos, for
    `sheets.draw`. progress: called with the number of clips done.
    Raises ValueError on an unknown control, no clips, or a video of another shape than the clip's.
    """
    chosen = tuple(controls)
    if not chosen or set(chosen) - set(CONTROLS):
        raise ValueError(f"controls {chosen}: use {', '.join(CONTROLS)}")
    generators = {"model": generate, "warp": warp, "still": still}
    scores = {control: {name: Score() for name in generators} for control in chosen}
    own_error, within = Mean(), Mean()
    used = dict.fromkeys(chosen, 0)
    shape: tuple[int, ...] = ()
    done = 0
    for done, clip in enumerate(clips, 1):
        shape = clip.video.shape
        found = retrack(clip.video, clip.tracks)
        _own_error(clip, found, own_error, within)
        for control in chosen:
            task = _control(control, clip, found, np.random.default_rng([seed, done]))
            if task is None:
                continue
            used[control] += 1
            videos = {name: _made(each, clip, task.given, seed) for name, each in generators.items()}
            for name, video in videos.items():
                _score(scores[control][name], video, clip, task, lpips)
            if control == chosen[0] and examples is not None and done <= most_examples:
                rows = {"true": clip.video, **{name: videos[name] for name in ("model", "warp")}}
                examples.append(Example(rows, task.given, clip.caption))
        progress(done)
    if done == 0:
        raise ValueError("no clips: motion is measured on at least one")
    return {
        "clips": done,
        "frames": shape[0],
        "size": f"{shape[2]}x{shape[1]}",
        "seed": seed,
        "tracker": {"epe_px": own_error.value, "within_1px": within.value},
        **{control: _report(scores[control], used[control]) for control in chosen},
        "machine": machine.describe(),
        "date": machine.today(),
    }


def retrack(video: Video, given: Tracks) -> Tracks:
    """Follow the points of `given` through a video, each from where and when it is first visible."""
    born = births(given)
    return track(video, given.xy[born, np.arange(given.points)], born)


def ratio(over: float | None, under: float | None) -> float | None:
    """over / under, or None where there is nothing to compare."""
    return None if over is None or not under else over / under


def _own_error(clip: EvaluationClip, found: Tracks, error: Mean, within: Mean) -> None:
    seen = measurable(clip.tracks, found, within=np.inf)
    apart = distance(clip.tracks, found)[seen]
    error.add(apart)
    within.add(apart <= WITHIN)


def _control(control: str, clip: EvaluationClip, found: Tracks, rng: np.random.Generator) -> _Control | None:
    """The tracks of one control, or None where the clip has none such."""
    points = {"dense": _all_points, "few": _few_points, "object": _object_points}[control](clip, rng)
    if len(points) == 0:
        return None
    trusted = measurable(clip.tracks, found, WITHIN)[:, points]
    return _Control(clip.tracks.select(points), trusted)


def _all_points(clip: EvaluationClip, rng: np.random.Generator) -> npt.NDArray[np.int64]:
    return np.flatnonzero(clip.tracks.visible.any(0))


def _few_points(clip: EvaluationClip, rng: np.random.Generator) -> npt.NDArray[np.int64]:
    at_start = np.flatnonzero(clip.tracks.visible[0])
    return np.sort(rng.permutation(at_start)[:FEW])


def _object_points(clip: EvaluationClip, rng: np.random.Generator) -> npt.NDArray[np.int64]:
    """Up to 25 points of the object that moves most, if one does."""
    travelled = np.linalg.norm(clip.tracks.xy - clip.tracks.xy[:1], axis=-1).max(0)
    best, farthest = np.zeros(0, np.int64), MOVED
    for number in np.unique(clip.object_of[clip.object_of > 0]):
        points = np.flatnonzero((clip.object_of == number) & clip.tracks.visible[0])
        if len(points) >= LEAST_ON_OBJECT and np.median(travelled[points]) > farthest:
            best, farthest = points, float(np.median(travelled[points]))
    return np.sort(rng.permutation(best)[:ON_OBJECT])


def _made(generate: Generate, clip: EvaluationClip, given: Tracks, seed: int) -> Video:
    video = generate(clip.video[0], given, clip.caption, seed)
    if video.shape != clip.video.shape or video.dtype != np.uint8:
        raise ValueError(f"generated {video.dtype} of shape {video.shape}: send uint8 of shape {clip.video.shape}")
    return video


def _score(score: Score, video: Video, clip: EvaluationClip, task: _Control, lpips: Lpips | None) -> None:
    score.psnr.add(psnr(video, clip.video))
    score.ssim.add(ssim(video, clip.video))
    if lpips is not None:
        score.lpips.add(lpips.video(video, clip.video))
    found = retrack(video, task.given)
    apart = distance(task.given, found)
    away = task.trusted & moving(task.given, MOVED)
    score.epe.add(apart[task.trusted])
    score.epe_moving.add(apart[away])
    score.epe_false.add(distance(turned(task.given), found)[away])
    score.kept.add(found.visible[task.trusted])


def _report(scores: Mapping[str, Score], clips: int) -> dict[str, Any]:
    """One control: each generator's figures, and how many times worse standing still is than the model."""
    figures: dict[str, Any] = {name: score.report() for name, score in scores.items()}
    still_ratio = ratio(scores["still"].epe_moving.value, scores["model"].epe_moving.value)
    return {"clips": clips, **figures, "still_ratio": still_ratio}
