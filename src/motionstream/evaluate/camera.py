"""Does a model go where its camera goes? The picture's depth and a camera's path become tracks (paper, camera control).

Measured on scenes of textured planes (`data/scenes.py`), where video, depth and tracks are exact: the error of the
depth and the error of the model are told apart, since the same model is given tracks of the true depth and of an
estimated one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from motionstream.camera.camera import Lens, camera_tracks, depth_at
from motionstream.camera.path import CameraPath
from motionstream.data.assets import AssetLibrary
from motionstream.data.scenes import Scenes
from motionstream.evaluate import machine
from motionstream.evaluate.baselines import Generate, still, warp
from motionstream.evaluate.journal import Journal
from motionstream.evaluate.lpips import Lpips
from motionstream.evaluate.metrics import Mask, Mean, Video, distance, measurable, psnr, ssim
from motionstream.evaluate.motion import Example, retrack
from motionstream.evaluate.views.depth import Estimator
from motionstream.tracks import Tracks
from motionstream.tracks.grid import grid

Floats = npt.NDArray[np.float64]
Size = tuple[int, int]
Grid = tuple[int, int]

PROMPT = "static scene, only camera motion, no object is moving, {scene}"
EXAMPLES = 4  # on a contact sheet
KNOWN_POINTS = (12, 8)  # of a scene whose true depth gives the estimated one its scale, as COLMAP's cloud does


class World(Protocol):
    """What is needed of a scene whose truth is known: data's `Scene`."""

    @property
    def lens(self) -> Lens: ...
    @property
    def path(self) -> CameraPath: ...
    @property
    def caption(self) -> str: ...
    @property
    def move(self) -> str: ...
    def video(self) -> Video: ...
    def depth_map(self) -> Floats: ...
    def tracks(self, points: Floats) -> Tracks: ...


@dataclass(frozen=True)
class Setting:
    """What is measured with: the generator, the depth, a grid of columns × rows points, and how to compare."""

    generate: Generate
    depth: Estimator
    grid: Grid = (32, 18)
    seed: int = 0
    lpips: Lpips | None = None


def synthetic(
    assets: Path, split: str, size: Size, frames: int, seed: int, count: int
) -> list[tuple[str, Callable[[], World]]]:
    """The first `count` synthetic scenes, by name, each made when it is asked for."""
    scenes = Scenes(AssetLibrary(assets, split), size, frames, seed)
    return [(f"scene {index}", partial(scenes.scene, index)) for index in range(count)]


def evaluate_scenes(
    setting: Setting,
    worlds: Iterable[tuple[str, Callable[[], World]]],
    journal: Journal,
    examples: list[Example] | None = None,
) -> dict[str, Any]:
    """Measure on scenes whose truth is known, JSON-ready; every figure is the mean of the scenes', `by_move` of those
    with one movement.

    worlds: names, and what makes each scene when it is not in the journal yet. examples: receives the first scenes
    measured now, for `sheets.draw`. Raises ValueError for no scenes.
    """
    shown: list[Example] = [] if examples is None else examples
    figures = []
    for name, make in worlds:
        wanted = examples is not None and len(shown) < EXAMPLES
        figures.append(journal.measured(name, partial(_scene, setting, make, shown, wanted)))
    by_move: dict[str, list[Any]] = {}
    for each in figures:
        by_move.setdefault(each["move"], []).append(each["figures"])
    return {
        "scenes": len(figures),
        "prompt": PROMPT,
        **averaged([each["figures"] for each in figures]),
        "by_move": {move: _short(some) for move, some in by_move.items()},
        **_stamp(setting),
    }


def _short(figures: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """One movement: the tracks' errors, which turning and zooming leave at 0 whatever the depth, and the model's."""
    mean = averaged(figures)
    return {
        "scenes": len(figures),
        "tracks_epe_px": {kind: each["epe_px"] for kind, each in mean["tracks"].items()},
        "model_epe_px": {kind: mean[kind]["model"]["epe_px"] for kind in mean["tracks"]},
        "still_epe_px": mean["still"]["epe_px"],
    }


def _scene(setting: Setting, make: Callable[[], World], shown: list[Example], wanted: bool) -> dict[str, Any]:
    """One scene: the tracks' own errors, and the model under true and under estimated depth."""
    world = make()
    video, depth = world.video(), world.depth_map()
    points = grid(world.lens.size, *setting.grid).astype(np.float64)
    truth = world.tracks(points)
    guess = setting.depth(video[0]).on(world.lens.size, world.lens.size)
    given = {
        "true_depth": camera_tracks(depth, world.lens, world.path, points),
        "estimated_depth": camera_tracks(guess * _known_scale(guess, depth), world.lens, world.path, points),
    }
    found = retrack(video, truth)
    trusted = measurable(truth, found)
    judge = _Judge(setting, video, truth, trusted, PROMPT.format(scene=world.caption))
    made = {kind: judge.videos(tracks) for kind, tracks in given.items()}
    if wanted:
        rows = {"true": video, "model": made["true_depth"]["model"], "estimated": made["estimated_depth"]["model"]}
        shown.append(Example(rows, given["true_depth"], f"{world.move}: {world.caption}"))
    seen = measurable(truth, found, within=np.inf)
    figures = {
        "tracker": {"epe_px": _mean(distance(truth, found)[seen]), "within_1px": _mean(trusted[seen])},
        "tracks": {kind: _agreement(tracks, truth) for kind, tracks in given.items()},
        "still": judge.figures(still(video[0], truth), truth),
        **{
            kind: {name: judge.figures(one, given[kind]) for name, one in videos.items()}
            for kind, videos in made.items()
        },
    }
    return {"move": world.move, "figures": figures}


def _known_scale(guess: Floats, depth: Floats) -> float:
    """The one factor between two depth maps: the median ratio over a few known points."""
    height, width = depth.shape
    points = grid((width, height), *KNOWN_POINTS).astype(np.float64)
    return float(np.nanmedian(depth_at(depth, points) / depth_at(guess, points)))


@dataclass(frozen=True)
class _Judge:
    """Compares videos with one true video and its tracks."""

    setting: Setting
    video: Video
    truth: Tracks
    trusted: Mask
    prompt: str

    def videos(self, given: Tracks) -> dict[str, Video]:
        """What the model and the warped first frame make of tracks."""
        first, seed = self.video[0], self.setting.seed
        made = self.setting.generate(first, given, self.prompt, seed)
        if made.shape != self.video.shape or made.dtype != np.uint8:
            raise ValueError(f"generated {made.dtype} of shape {made.shape}: send uint8 of shape {self.video.shape}")
        return {"model": made, "warp": warp(first, given)}

    def figures(self, made: Video, given: Tracks) -> dict[str, float | None]:
        """epe_px: from the truth to where the tracker finds the points; epe_given_px: from the tracks given."""
        found = retrack(made, self.truth)
        lpips = self.setting.lpips
        return {
            "psnr_db": psnr(made, self.video),
            "ssim": ssim(made, self.video),
            **({} if lpips is None else {"lpips": lpips.video(made, self.video)}),
            "epe_px": _mean(distance(self.truth, found)[self.trusted]),
            "epe_given_px": _mean(distance(given, found)[self.trusted & given.visible]),
        }


def _agreement(given: Tracks, truth: Tracks) -> dict[str, float | None]:
    """Tracks beside true ones: distance where both are visible, and how often they agree on visibility."""
    both = (given.visible & truth.visible)[1:]
    return {
        "epe_px": _mean(distance(given, truth)[1:][both]),
        "visibility_agreement": _mean((given.visible == truth.visible)[1:]),
    }


def _mean(values: npt.ArrayLike) -> float | None:
    mean = Mean()
    mean.add(values)
    return mean.value


def averaged(figures: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The mean of nested figures of the same names; where some are None, of the others. Raises ValueError for none."""
    if not figures:
        raise ValueError("nothing was measured: ask for at least one scene")
    result: dict[str, Any] = {}
    for name in figures[0]:
        values = [each[name] for each in figures]
        if isinstance(values[0], Mapping):
            result[name] = averaged(values)
        else:
            result[name] = _mean([value for value in values if value is not None])
    return result


def _stamp(setting: Setting) -> dict[str, Any]:
    return {
        "grid": "{}x{}".format(*setting.grid),
        "seed": setting.seed,
        "machine": machine.describe(),
        "date": machine.today(),
    }
