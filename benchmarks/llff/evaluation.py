"""LLFF: the camera goes from one photograph's pose to another's; the last frame is compared with that photograph."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from benchmarks.llff.scenes import LlffScene, View, scale_of
from motionstream.camera.camera import Lens, camera_tracks, depth_at, to_camera, to_world
from motionstream.camera.depth import Estimator
from motionstream.camera.path import interpolated
from motionstream.evaluate.baselines import Generate, still, warp
from motionstream.evaluate.camera import PROMPT
from motionstream.evaluate.harness import Item, Results, Row, Unusable, mean_of, means, measure, stamp, table
from motionstream.evaluate.metrics import Floats, Video, psnr, ssim
from motionstream.evaluate.pictures.sheets import Example
from motionstream.lpips import LpipsNetwork
from motionstream.stream.model import fitted
from motionstream.stream.video import read_image
from motionstream.tracks.grid import grid

PAPER_SIZE = (512, 288)
EXAMPLES = 4  # on a contact sheet

Size = tuple[int, int]


@dataclass(frozen=True)
class Setup:
    """What is measured, and how.

    size: (W, H) of the model's frame. frames: the camera takes from the input view to the target. compared_at: (W, H)
    to compare in, the model's by default; the paper's is 512×288. grid: columns × rows of points. examples: receives
    the first pairs measured now, for `sheets.draw`, where it is not None.
    """

    generate: Generate
    depth: Estimator
    size: Size
    frames: int
    compared_at: Size | None = None
    grid: tuple[int, int] = (32, 18)
    seed: int = 0
    lpips: LpipsNetwork | None = None
    examples: list[Example] | None = field(default=None, compare=False)

    @property
    def at(self) -> Size:
        """(W, H) to compare in."""
        return self.compared_at or self.size


def evaluate_llff(
    setup: Setup,
    found: Sequence[LlffScene],
    skipped: Mapping[str, str],
    pairs: int = 4,
    results: Results | None = None,
    watch: Callable[[Iterable[Item]], Iterable[Item]] = iter,
) -> dict[str, Any]:
    """Measure on photographs with known poses, JSON-ready: the last frame against the target's photograph.

    pairs: at most so many targets a scene. skipped: scenes that could not be read, with the reason; pairs with an
    unreadable photograph are named beside them. watch: iterates over all pairs, for a progress bar. Raises ValueError
    when no pair is left.
    """
    trials = {scene.name: [_Trial(setup, scene, *pair) for pair in scene.pairs(pairs)] for scene in found}
    items = [Item(trial.name, trial.measure) for some in trials.values() for trial in some]
    measured = measure(watch(items), results or Results())
    left_out = {**skipped, **measured.skipped}
    if not measured.rows:
        raise ValueError(f"no pair of views could be measured: {next(iter(left_out.values()), 'no scenes')}")
    rows = {
        scene: {one.name: measured.rows[one.name] for one in some if one.name in measured.rows}
        for scene, some in trials.items()
    }
    by_scene = {scene: means(table(own)) for scene, own in rows.items() if own}
    scores = means(table(by_scene))
    about = {scene.name: {"poses": scene.source, "pairs": len(rows[scene.name])} for scene in found}
    return {
        "scenes": len(by_scene),
        "pairs": len(measured.rows),
        "frames": setup.frames,
        "size": "{}x{}".format(*setup.size),
        "compared_at": "{}x{}".format(*setup.at),
        "paper_size": setup.at == PAPER_SIZE,
        "prompt": PROMPT,
        "tracks": scores.pop("tracks"),
        "scores": scores,
        "by_scene": {scene: {**about[scene], **figures} for scene, figures in by_scene.items()},
        "skipped": left_out,
        "grid": "{}x{}".format(*setup.grid),
        "seed": setup.seed,
        **stamp(),
    }


@dataclass(frozen=True)
class _Trial:
    """One pair of views of a scene."""

    setup: Setup
    scene: LlffScene
    source: int
    target: int

    @property
    def name(self) -> str:
        return f"{self.scene.name}/{self._view(self.source).picture.name}-{self._view(self.target).picture.name}"

    def _view(self, number: int) -> View:
        return self.scene.views[number]

    def measure(self) -> Row:
        """Figures of model, warp and standing still, and of the tracks at the target where there is a COLMAP cloud."""
        setup, (start, end) = self.setup, (self._view(number) for number in (self.source, self.target))
        photograph, goal = (_photograph(view.picture) for view in (start, end))
        first, lens = fitted(photograph, setup.size)[0], start.lens.fitted(setup.size)
        depth = setup.depth(photograph).on((photograph.shape[1], photograph.shape[0]), setup.size)
        depth = depth * scale_of(depth, lens, self.scene, self.source)
        path = interpolated(start.pose, end.pose, setup.frames)
        tracks = camera_tracks(depth, lens, path, grid(setup.size, *setup.grid).astype(np.float64))
        prompt = PROMPT.format(scene=self.scene.name.replace("_", " "))
        videos = {
            "model": setup.generate(first, tracks, prompt, setup.seed),
            "warp": warp(first, tracks),
            "still": still(first, tracks),
        }
        if setup.examples is not None and len(setup.examples) < EXAMPLES:
            rows = {"target": still(fitted(goal, setup.size)[0], tracks), **videos}
            setup.examples.append(Example(rows, tracks, self.name))
        truth = fitted(goal, setup.at)[0]
        return {
            "tracks": {"epe_px": self._error_of_tracks(depth, lens), "points_visible": mean_of(tracks.visible[-1])},
            **{name: self._compared(first, video[-1], truth) for name, video in videos.items()},
        }

    def _error_of_tracks(self, depth: Floats, lens: Lens) -> float | None:
        """Pixels at the target between points of COLMAP's cloud and where the depth map puts them."""
        start, end = self._view(self.source), self._view(self.target)
        cloud = self.scene.cloud(self.source, self.target)
        xy, true = lens.project(to_camera(start.pose, cloud))
        inside = np.isfinite(true) & np.all((xy >= 0) & (xy < self.setup.size), axis=-1)
        lifted = to_world(start.pose, lens.lift(xy[inside], depth_at(depth, xy[inside])))
        seen_by = end.lens.fitted(self.setup.size)
        places, goals = (seen_by.project(to_camera(end.pose, each))[0] for each in (lifted, cloud[inside]))
        apart = np.linalg.norm(places - goals, axis=-1)
        return mean_of(apart[np.isfinite(apart)])

    def _compared(self, first: Video, last: Video, truth: Video) -> dict[str, float]:
        """The last frame against the photograph; the first frame, which both share, does not count."""
        begin, end = (_resized(frame, self.setup.at) for frame in (first, last))
        made, true, lpips = np.stack([begin, end]), np.stack([begin, truth]), self.setup.lpips
        figures = {"psnr_db": psnr(made, true), "ssim": ssim(made, true)}
        return figures if lpips is None else {**figures, "lpips": lpips.video(made, true)}


def _photograph(file: Path) -> Video:
    try:
        return read_image(file)
    except (ValueError, OSError) as error:
        raise Unusable(str(error)) from None


def _resized(frame: Video, size: Size) -> Video:
    if frame.shape[1::-1] == size:
        return frame
    return np.asarray(Image.fromarray(frame).resize(size, Image.Resampling.LANCZOS))
