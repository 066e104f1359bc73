"""A camera movement through one picture, as `motionstream camera` makes it: depth, lens and path in one frame."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from motionstream.camera.camera import Lens, camera_tracks, middle_distance
from motionstream.camera.depth import Estimator
from motionstream.camera.path import CameraPath, load_poses, moved, through
from motionstream.stream.model import fitted
from motionstream.tracks import Tracks
from motionstream.tracks.grid import grid

Floats = npt.NDArray[np.float64]
Picture = npt.NDArray[np.uint8]
Size = tuple[int, int]

LONGEST = 512  # pixels of the longer side in which tracks are made: they are read in any frame


@dataclass(frozen=True)
class Shot:
    """picture (H, W, 3) and distances (H, W) in the frame of `lens`; depth: where the distances come from."""

    picture: Picture
    distances: Floats
    lens: Lens
    path: CameraPath
    depth: str

    def tracks(self, columns: int, rows: int) -> Tracks:
        """A grid of points all over the frame, seen from the moving camera."""
        points = grid(self.lens.size, columns, rows).astype(np.float64)
        return camera_tracks(self.distances, self.lens, self.path, points)


def shot(
    picture: Picture,
    estimate: Estimator,
    path: str,
    frames: int,
    amount: float | None = None,
    view: float | None = None,
    size: Size | None = None,
) -> Shot:
    """A movement through a picture (H, W, 3) uint8.

    path: a name of `camera_path.MOVES`, or a JSON file of poses in the depth's unit. view: degrees across the picture.
    size: (W, H) of a frame into which it is fitted; else its own shape, at most 512 pixels long.
    Raises ValueError for an unknown path, an amount for a file of poses, or a depth map of another shape.
    """
    whole = (picture.shape[1], picture.shape[0])
    scale = min(1.0, LONGEST / max(whole))
    frame = size or (max(1, round(whole[0] * scale)), max(1, round(whole[1] * scale)))
    poses = load_poses(path) if path.lower().endswith(".json") else None
    if poses is not None and amount is not None:
        raise ValueError(f"--amount {amount:g} with {path}: poses from a file say themselves how far they go")
    found = estimate(picture)
    distances = found.on(whole, frame)
    way = moved(path, frames, amount, middle_distance(distances)) if poses is None else through(poses, frames)
    return Shot(
        fitted(picture, frame)[0],
        distances,
        found.lens(whole, view).fitted(frame),
        way,
        f"depth: {found.source} (licence: {found.licence})",
    )
