"""Does a model go where its camera goes? The picture's depth and a camera's path become tracks (paper, camera control).

Two kinds of truth. Scenes of textured planes (`data/scenes.py`), where video, depth and tracks are exact: there the
error of the depth and the error of the model are told apart, since the same model is given tracks of the true depth and
of an estimated one. And LLFF: photographs with known poses, where the last generated frame is compared with the
photograph from the target's pose.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
from PIL import Image

from motionstream.camera.camera import Lens, camera_tracks, depth_at, to_camera, to_world
from motionstream.camera.path import CameraPath, interpolated
from motionstream.data.assets import AssetLibrary
from motionstream.data.scenes import CameraScenes
from motionstream.evaluate import machine
from motionstream.evaluate.baselines import Generate, still, warp
from motionstream.evaluate.journal import Journal
from motionstream.evaluate.lpips import Lpips
from motionstream.evaluate.metrics import Mask, Mean, Video, distance, measurable, psnr, ssim
from motionstream.evaluate.motion import Example, retrack
from motionstream.evaluate.views.depth import Estimator
from motionstream.evaluate.views.llff import LlffScene, View, scale_of
from motionstream.stream.model import fitted
from motionstream.stream.video import read_image
from motionstream.tracks import Tracks
from motionstream.tracks.grid import grid

Floats = npt.NDArray[np.float64]
Size = tuple[int, int]
Grid = tuple[int, int]

PROMPT = "static scene, only camera motion, no object is moving, {scene}"
PAPER_SIZE = (512, 288)
EXAMPLES = 4  # on a contact sheet
KNOWN_POINTS = (12, 8)  # of a scene whose true depth gives the estimated one its scale, as COLMAP's cloud does


class UnusablePhotograph(ValueError):
    """A photograph that cannot be read; its pair is left out."""


class World(Protocol):
    """What is needed of a scene whose truth is known: data's `CameraScene`."""

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
    scenes = CameraScenes(AssetLibrary(assets, split), size, frames, seed)
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


# --- LLFF -------------------------------------------------------------------------------------------------------------


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
        **_stamp(setting),
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


# --- both -------------------------------------------------------------------------------------------------------------


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
