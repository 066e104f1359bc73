"""LLFF: the camera goes from one photograph's pose to another's; the last frame is compared with that photograph."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from benchmarks.llff.scenes import LlffScene, View, scale_of
from motionstream.camera.camera import Lens, camera_tracks, depth_at, to_camera, to_world
from motionstream.camera.path import interpolated
from motionstream.evaluate.baselines import still, warp
from motionstream.evaluate.camera import EXAMPLES, PROMPT, Floats, Setting, Size, averaged, stamp
from motionstream.evaluate.journal import Journal
from motionstream.evaluate.metrics import Video, psnr, ssim
from motionstream.evaluate.motion import Example
from motionstream.stream.model import fitted
from motionstream.stream.video import read_image
from motionstream.tracks.grid import grid

PAPER_SIZE = (512, 288)


class UnusablePhotograph(ValueError):
    """A photograph that cannot be read; its pair is left out."""


def evaluate_llff(
    setting: Setting,
    size: Size,
    found: Sequence[LlffScene],
    skipped: Mapping[str, str],
    frames: int,
    journal: Journal,
    compared_at: Size | None = None,
    pairs: int = 4,
    examples: list[Example] | None = None,
    watch: Callable[[Iterable[_Trial]], Iterable[_Trial]] = iter,
) -> dict[str, Any]:
    """Measure on photographs with known poses, JSON-ready: the last frame against the target's photograph.

    size: (W, H) of the model's frame. compared_at: (W, H) to compare in, the model's by default; the paper's is
    512×288. frames: the camera takes from the input view to the target. pairs: at most so many targets a scene.
    skipped: scenes that could not be read, with the reason; pairs with an unreadable photograph are named beside them.
    watch: iterates over all pairs, for a progress bar. Raises ValueError when no pair is left.
    """
    at = compared_at or size
    shown: list[Example] = [] if examples is None else examples
    measured: dict[str, list[Any]] = {scene.name: [] for scene in found}
    left_out = dict(skipped)
    for trial in watch(
        [_Trial(setting, size, at, frames, scene, *pair) for scene in found for pair in scene.pairs(pairs)]
    ):
        wanted = examples is not None and len(shown) < EXAMPLES
        try:
            figures = journal.measured(trial.name, partial(trial.measure, shown, wanted))
        except UnusablePhotograph as error:
            left_out[trial.name] = str(error)
        else:
            measured[trial.scene.name].append(figures)
    scenes = {
        scene.name: {"poses": scene.source, "pairs": len(measured[scene.name]), **averaged(measured[scene.name])}
        for scene in found
        if measured[scene.name]
    }
    count = sum(map(len, measured.values()))
    if not count:
        raise ValueError(f"no pair of views could be measured: {next(iter(left_out.values()), 'no scenes')}")
    scores = averaged([_figures_only(each) for each in scenes.values()])
    return {
        "scenes": len(scenes),
        "pairs": count,
        "frames": frames,
        "size": f"{size[0]}x{size[1]}",
        "compared_at": f"{at[0]}x{at[1]}",
        "paper_size": at == PAPER_SIZE,
        "prompt": PROMPT,
        "tracks": scores.pop("tracks"),
        "scores": scores,
        "by_scene": scenes,
        "skipped": left_out,
        **stamp(setting),
    }


def _figures_only(scene: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in scene.items() if name not in ("poses", "pairs")}


@dataclass(frozen=True)
class _Trial:
    """One pair of views of a scene."""

    setting: Setting
    size: Size
    at: Size
    frames: int
    scene: LlffScene
    source: int
    target: int

    @property
    def name(self) -> str:
        return f"{self.scene.name}/{self._view(self.source).picture.name}-{self._view(self.target).picture.name}"

    def _view(self, number: int) -> View:
        return self.scene.views[number]

    def measure(self, shown: list[Example], wanted: bool) -> dict[str, Any]:
        """Figures of model, warp and standing still, and of the tracks at the target where COLMAP knows the truth."""
        photographs = [_photograph(self._view(number).picture) for number in (self.source, self.target)]
        first = fitted(photographs[0], self.size)[0]
        lens = self._view(self.source).lens.fitted(self.size)
        depth = self._depth(photographs[0], lens)
        path = interpolated(self._view(self.source).pose, self._view(self.target).pose, self.frames)
        points = grid(self.size, *self.setting.grid).astype(np.float64)
        tracks = camera_tracks(depth, lens, path, points)
        prompt = PROMPT.format(scene=self.scene.name.replace("_", " "))
        videos = {
            "model": self.setting.generate(first, tracks, prompt, self.setting.seed),
            "warp": warp(first, tracks),
            "still": still(first, tracks),
        }
        if wanted:
            goal = fitted(photographs[1], self.size)[0]
            shown.append(Example({"target": still(goal, tracks), **videos}, tracks, self.name))
        truth = fitted(photographs[1], self.at)[0]
        return {
            "tracks": {"epe_px": self._error_of_tracks(depth, lens), "points_visible": _mean(tracks.visible[-1])},
            **{name: self._compare(first, video[-1], truth) for name, video in videos.items()},
        }

    def _depth(self, photograph: Video, lens: Lens) -> Floats:
        height, width = photograph.shape[:2]
        depth = self.setting.depth(photograph).on((width, height), self.size)
        return depth * scale_of(depth, lens, self.scene, self.source)

    def _error_of_tracks(self, depth: Floats, lens: Lens) -> float | None:
        """Pixels at the target between points of COLMAP's cloud and where the depth map puts them."""
        start, end = self._view(self.source), self._view(self.target)
        cloud = self.scene.cloud(self.source, self.target)
        xy, true = lens.project(to_camera(start.pose, cloud))
        inside = np.isfinite(true) & np.all((xy >= 0) & (xy < self.size), axis=-1)
        lifted = to_world(start.pose, lens.lift(xy[inside], depth_at(depth, xy[inside])))
        seen_by = end.lens.fitted(self.size)
        places, goals = (seen_by.project(to_camera(end.pose, each))[0] for each in (lifted, cloud[inside]))
        apart = np.linalg.norm(places - goals, axis=-1)
        return _mean(apart[np.isfinite(apart)])

    def _compare(self, first: Video, last: Video, truth: Video) -> dict[str, float]:
        """The last frame against the photograph; the first frame, which both share, does not count."""
        begin, end = (_resized(frame, self.at) for frame in (first, last))
        made, true = np.stack([begin, end]), np.stack([begin, truth])
        figures = {"psnr_db": psnr(made, true), "ssim": ssim(made, true)}
        if self.setting.lpips is not None:
            figures["lpips"] = self.setting.lpips.video(made, true)
        return figures


def _photograph(file: Path) -> Video:
    try:
        return read_image(file)
    except (ValueError, OSError) as error:
        raise UnusablePhotograph(str(error)) from None


def _resized(frame: Video, size: Size) -> Video:
    if frame.shape[1::-1] == size:
        return frame
    return np.asarray(Image.fromarray(frame).resize(size, Image.Resampling.LANCZOS))


def _mean(values: npt.ArrayLike) -> float | None:
    return float(np.mean(values)) if np.size(values) else None
