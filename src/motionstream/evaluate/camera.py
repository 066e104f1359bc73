"""Does a model follow a camera? A picture's depth and a camera's path become tracks (paper, camera control).

Measured on scenes of textured planes (`data/scenes.py`), where video, depth and tracks are exact: the same model is
given tracks of the true depth and of an estimated one, so that the error of the depth and the error of the model are
told apart.

An item is a scene.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from motionstream.camera.camera import camera_tracks, depth_at
from motionstream.camera.depth import Estimator
from motionstream.data.assets import AssetLibrary
from motionstream.data.scenes import CameraScene, CameraScenes
from motionstream.evaluate.baselines import Generate, generated, still, warp
from motionstream.evaluate.harness import Item, Results, Row, mean, mean_of, means, measure, stamp, table
from motionstream.evaluate.metrics import Mask, Video, distance, measurable, psnr, retrack, ssim
from motionstream.evaluate.pictures.sheets import Example
from motionstream.lpips import LpipsNetwork
from motionstream.tracks import Tracks
from motionstream.tracks.grid import grid

if TYPE_CHECKING:
    import pandas as pd

Floats = npt.NDArray[np.float64]
Size = tuple[int, int]
Grid = tuple[int, int]

PROMPT = "static scene, only camera motion, no object is moving, {scene}"
DEPTHS = ("true_depth", "estimated_depth")
EXAMPLES = 4  # on a contact sheet
KNOWN_POINTS = (12, 8)  # grid of points whose true depth gives the estimated one its scale, as COLMAP's cloud does


@dataclass(frozen=True)
class Setting:
    """What is measured with: the generator, the depth, a grid of columns × rows points, and LPIPS if wanted."""

    generate: Generate
    depth: Estimator
    grid: Grid = (32, 18)
    seed: int = 0
    lpips: LpipsNetwork | None = None


def synthetic(
    assets: Path, split: str, size: Size, frames: int, seed: int, count: int
) -> list[tuple[str, Callable[[], CameraScene]]]:
    """The first `count` synthetic scenes by name, each made when it is first needed."""
    scenes = CameraScenes(AssetLibrary(assets, split), size, frames, seed)
    return [(f"scene {index}", partial(scenes.scene, index)) for index in range(count)]


def evaluate_scenes(
    setting: Setting,
    scenes: Iterable[tuple[str, Callable[[], CameraScene]]],
    results: Results | None = None,
    examples: list[Example] | None = None,
    watch: Callable[[Iterable[Item]], Iterable[Item]] = iter,
) -> dict[str, Any]:
    """Measure on scenes whose truth is known, JSON-ready; every figure is the mean of the scenes', `by_move` of those
    with one movement.

    scenes: names, and what makes each scene when it is not in the results yet. examples: receives the first scenes
    measured now, for `sheets.draw`. watch: iterates over the items, for a progress bar. Raises ValueError without
    scenes.
    """
    items = [Item(name, partial(_row, setting, make, examples)) for name, make in scenes]
    rows = measure(watch(items), results or Results()).rows
    if not rows:
        raise ValueError("nothing was measured: ask for at least one scene")
    found = table({(row["move"], name): row["figures"] for name, row in rows.items()})
    moves = dict.fromkeys(row["move"] for row in rows.values())
    return {
        "scenes": len(rows),
        "prompt": PROMPT,
        **means(found),
        "by_move": {move: _short(found.loc[move]) for move in moves},
        "grid": "{}x{}".format(*setting.grid),
        "seed": setting.seed,
        **stamp(),
    }


def _short(found: pd.DataFrame) -> dict[str, Any]:
    """One movement: the tracks' errors, which do not depend on depth for rotations and zooms, and the model's."""
    return {
        "scenes": len(found),
        "tracks_epe_px": {kind: mean(found, f"tracks.{kind}.epe_px") for kind in DEPTHS},
        "model_epe_px": {kind: mean(found, f"{kind}.model.epe_px") for kind in DEPTHS},
        "still_epe_px": mean(found, "still.epe_px"),
    }


def _row(setting: Setting, make: Callable[[], CameraScene], examples: list[Example] | None) -> Row:
    """One scene: the tracks' own errors, and the model under true and under estimated depth."""
    scene = make()
    video, depth = scene.video(), scene.depth_map()
    points = grid(scene.lens.size, *setting.grid).astype(np.float64)
    truth = scene.tracks(points)
    guess = setting.depth(video[0]).on(scene.lens.size, scene.lens.size)
    depths = (depth, guess * _known_scale(guess, depth))
    given = {kind: camera_tracks(one, scene.lens, scene.path, points) for kind, one in zip(DEPTHS, depths, strict=True)}
    found = retrack(video, truth)
    trusted, seen = measurable(truth, found), measurable(truth, found, within=np.inf)
    prompt = PROMPT.format(scene=scene.caption)
    made = {
        kind: {
            "model": generated(setting.generate, video[0], tracks, prompt, setting.seed),
            "warp": warp(video[0], tracks),
        }
        for kind, tracks in given.items()
    }
    if examples is not None and len(examples) < EXAMPLES:
        rows = {
            "true": video,
            **{name: made[kind]["model"] for name, kind in zip(("model", "estimated"), DEPTHS, strict=True)},
        }
        examples.append(Example(rows, given[DEPTHS[0]], f"{scene.move}: {scene.caption}"))
    compare = partial(_compared, video, truth, trusted, setting.lpips)
    figures = {
        "tracker": {"epe_px": mean_of(distance(truth, found)[seen]), "within_1px": mean_of(trusted[seen])},
        "tracks": {kind: _agreement(tracks, truth) for kind, tracks in given.items()},
        "still": compare(still(video[0], truth), truth),
        **{kind: {name: compare(one, given[kind]) for name, one in videos.items()} for kind, videos in made.items()},
    }
    return {"move": scene.move, "figures": figures}


def _compared(
    video: Video, truth: Tracks, trusted: Mask, lpips: LpipsNetwork | None, made: Video, given: Tracks
) -> dict[str, float | None]:
    """A generated video against the true one. epe_px: from the true tracks to where the tracker finds the points;
    epe_given_px: from the tracks given."""
    found = retrack(made, truth)
    return {
        "psnr_db": psnr(made, video),
        "ssim": ssim(made, video),
        **({} if lpips is None else {"lpips": lpips.video(made, video)}),
        "epe_px": mean_of(distance(truth, found)[trusted]),
        "epe_given_px": mean_of(distance(given, found)[trusted & given.visible]),
    }


def _known_scale(guess: Floats, depth: Floats) -> float:
    """The one factor between two depth maps: the median ratio over a few known points."""
    height, width = depth.shape
    points = grid((width, height), *KNOWN_POINTS).astype(np.float64)
    return float(np.nanmedian(depth_at(depth, points) / depth_at(guess, points)))


def _agreement(given: Tracks, truth: Tracks) -> dict[str, float | None]:
    """Tracks beside true ones: distance where both are visible, and how often they agree on visibility."""
    both = (given.visible & truth.visible)[1:]
    return {
        "epe_px": mean_of(distance(given, truth)[1:][both]),
        "visibility_agreement": mean_of((given.visible == truth.visible)[1:]),
    }
