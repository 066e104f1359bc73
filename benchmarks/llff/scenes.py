"""LLFF scenes in their published layout (B. Mildenhall et al., SIGGRAPH 2019), for camera control.

    scene/images/*                photographs, sorted by name
    scene/poses_bounds.npy        (N, 17): a 3×5 matrix row by row, and the nearest and farthest depth
    scene/sparse/0/*.bin          COLMAP's model that the poses were made from, if it was kept

The 3×5 matrix is [R | t | (height, width, focal)], camera to world, and the columns of R are the camera's axes down,
right, backwards. Here every pose has OpenCV's axes: right, down, forwards.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from benchmarks.llff import colmap
from motionstream.camera.camera import Lens, to_camera

Floats = npt.NDArray[np.float64]

PICTURES = (".jpg", ".jpeg", ".png")
FOLDERS = ("images", "images_4", "images_8")
POSES = "poses_bounds.npy"
BOUNDS = (0.1, 99.9)  # percentiles of depth that LLFF's tool calls nearest and farthest
HELD_OUT = 8  # every so many views is a target, as is usual with LLFF
ROTATION_ERROR = 1e-2  # poses are written in double precision, some of them through single
LEAST_SEEN = 8  # points of the cloud that a scale stands on


@dataclass(frozen=True)
class View:
    """A photograph, its pose (4, 4) camera to world, the lens at full size, and its (nearest, farthest) depth."""

    picture: Path
    pose: Floats
    lens: Lens
    bounds: tuple[float, float]


@dataclass(frozen=True)
class LlffScene:
    """A scene's views, sorted by name, and COLMAP's model if there is one."""

    name: str
    views: list[View]
    sparse: colmap.Sparse | None

    @property
    def source(self) -> str:
        """Where poses and scale come from."""
        return POSES if self.sparse is None else "colmap"

    def pairs(self, most: int) -> list[tuple[int, int]]:
        """(input, target) views: from the one in the middle of all cameras to every eighth, at most so many.

        The paper does not name its pairs.
        """
        places = np.stack([view.pose[:3, 3] for view in self.views])
        middle = int(np.linalg.norm(places[:, None] - places, axis=-1).sum(0).argmin())
        targets = [n for n in range(0, len(self.views), HELD_OUT) if n != middle]
        chosen = np.linspace(0, len(targets) - 1, min(most, len(targets))).round().astype(int)
        return [(middle, targets[n]) for n in chosen]

    def cloud(self, view: int, other: int | None = None) -> Floats:
        """(K, 3) points of the world that a view sees (and another one too); none without COLMAP's model."""
        if self.sparse is None:
            return np.zeros((0, 3))
        ids = self.sparse.seen_in(self.views[view].picture.name)
        if other is not None:
            ids = np.intersect1d(ids, self.sparse.seen_in(self.views[other].picture.name))
        return self.sparse.places(ids)


def scenes(data: Path) -> tuple[list[LlffScene], dict[str, str]]:
    """All scenes under a folder (or the one that it is), and those that could not be read, with the reason.

    Raises ValueError when there is none at all.
    """
    if not data.is_dir():
        raise ValueError(f"no folder at {data}: give LLFF's scenes, or one of them")
    folders = [data] if (data / POSES).exists() else sorted(path for path in data.iterdir() if path.is_dir())
    found, skipped = [], {}
    for folder in folders:
        try:
            found.append(read_scene(folder))
        except (ValueError, OSError) as error:
            skipped[folder.name] = f"{error.filename}: {error.strerror}" if isinstance(error, OSError) else str(error)
    if not found:
        reason = next(iter(skipped.values()), "it holds no folders")
        raise ValueError(f"no LLFF scene in {data} ({reason}): each needs images/ and {POSES}")
    return found, skipped


def read_scene(folder: Path) -> LlffScene:
    """One scene. Raises ValueError naming what is missing or does not match, and what to do."""
    pictures = _pictures(folder)
    views = _views(folder / POSES, pictures)
    sparse_folder = folder / "sparse" / "0"
    if not sparse_folder.is_dir():
        return LlffScene(folder.name, views, None)
    sparse = colmap.read(sparse_folder)
    kept = [_registered(view, sparse) for view in views if view.picture.name in sparse.pictures]
    if len(kept) < 2:
        raise ValueError(f"{sparse_folder}: knows {len(kept)} of the pictures by name: at least 2 are needed")
    return LlffScene(folder.name, kept, sparse)


def _registered(view: View, sparse: colmap.Sparse) -> View:
    known = sparse.pictures[view.picture.name]
    return View(view.picture, known.pose, known.lens, view.bounds)


def _pictures(folder: Path) -> list[Path]:
    for name in FOLDERS:
        pictures = sorted(path for path in (folder / name).glob("*") if path.suffix.lower() in PICTURES)
        if pictures:
            return pictures
    raise ValueError(f"{folder}: no photographs in {', '.join(FOLDERS)}")


def _views(file: Path, pictures: list[Path]) -> list[View]:
    try:
        rows = np.load(file, allow_pickle=False)
    except (ValueError, EOFError) as error:
        raise ValueError(f"{file}: not an npy file ({error})") from None
    if not isinstance(rows, np.ndarray) or rows.ndim != 2 or rows.shape[1] != 17 or rows.dtype.kind not in "fiu":
        raise ValueError(f"{file}: has shape {getattr(rows, 'shape', 'of an npz')}: LLFF's has (N, 17) numbers")
    if len(rows) != len(pictures) or len(rows) < 2:
        raise ValueError(f"{file}: {len(rows)} poses for {len(pictures)} photographs: both must be the same, 2 or more")
    return [_view(file, picture, row) for picture, row in zip(pictures, rows.astype(np.float64), strict=True)]


def _view(file: Path, picture: Path, row: Floats) -> View:
    matrix, (near, far) = row[:15].reshape(3, 5), row[15:]
    height, width, focal = matrix[:, 4]
    pose = from_llff(matrix[:, :4])
    turn = pose[:3, :3]
    broken = not np.isfinite(row).all() or np.abs(turn.T @ turn - np.eye(3)).max() > ROTATION_ERROR
    if broken or np.linalg.det(turn) < 0 or min(height, width, focal) < 1 or not 0 < near < far:
        raise ValueError(f"{file}: the row of {picture.name} is no pose with bounds: LLFF's has (N, 17) numbers")
    lens = Lens((round(width), round(height)), focal, focal, width / 2, height / 2)
    return View(picture, pose, lens, (float(near), float(far)))


def from_llff(matrix: Floats) -> Floats:
    """(3, 4) with columns down, right, backwards, place → (4, 4) with columns right, down, forwards, place."""
    down, right, backwards, place = matrix.T
    pose = np.eye(4)
    pose[:3] = np.stack([right, down, -backwards, place], -1)
    return pose


def scale_of(depth: Floats, lens: Lens, scene: LlffScene, number: int) -> float:
    """The one factor that brings a view's depth map (H, W) to the scene's unit (paper, camera control).

    lens: of the depth map's frame. With COLMAP's cloud: the median ratio over its points in the view; with bounds
    only: what brings the map's nearest and farthest to them, each in equal parts.
    """
    view = scene.views[number]
    xy, true = lens.project(to_camera(view.pose, scene.cloud(number)))
    inside = np.isfinite(true) & np.all((xy >= 0) & (xy < lens.size), axis=-1)
    pixels = np.floor(xy[inside]).astype(int)
    ratios = true[inside] / depth[pixels[:, 1], pixels[:, 0]]
    ratios = ratios[np.isfinite(ratios)]
    if len(ratios) >= LEAST_SEEN:
        return float(np.median(ratios))
    nearest, farthest = np.nanpercentile(depth, BOUNDS)
    return float(np.sqrt(view.bounds[0] / nearest * view.bounds[1] / farthest))
