"""Camera paths: poses over time, named movements and poses from a file.

A pose is the 4×4 matrix from the camera to the world; axes as in OpenCV: x right, y down, z forwards. Lengths have the
unit of the depth they are used with. Rotations between two poses are interpolated along the shortest arc (K. Shoemake,
"Animating Rotation with Quaternion Curves", SIGGRAPH 1985), positions along a line.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from scipy.spatial.transform import Rotation, Slerp

Floats = npt.NDArray[np.float64]

ROTATION_ERROR = 1e-3  # largest error of any entry of Rᵀ R of a pose
LARGEST_TEXT = 16 << 20
FORMAT = "send a JSON list of at least two 4×4 matrices, camera to world, x right, y down, z forwards"


@dataclass(frozen=True)
class Move:
    """A named movement: its default amount, and what a positive amount means."""

    amount: float
    means: str


MOVES = {
    "orbit": Move(20.0, "degrees around what is in the middle of the picture, to the right"),
    "dolly": Move(0.3, "forwards, in parts of the distance to the middle, below 1"),
    "truck": Move(0.2, "to the right, in parts of the distance to the middle"),
    "crane": Move(0.15, "up, in parts of the distance to the middle"),
    "pan": Move(10.0, "degrees to the right"),
    "tilt": Move(6.0, "degrees up"),
    "roll": Move(10.0, "degrees clockwise"),
    "zoom": Move(1.4, "times the focal length, more than 0"),
}


@dataclass(frozen=True)
class CameraPath:
    """A camera over T frames.

    poses: (T, 4, 4) camera to world. zoom: (T,) factor on the lens's focal length.
    """

    poses: Floats
    zoom: Floats

    @property
    def frames(self) -> int:
        return len(self.poses)


def eased(frames: int) -> Floats:
    """(T,) from 0 to 1 with minimum jerk: speed and acceleration are 0 at both ends."""
    if frames < 2:
        raise ValueError(f"{frames} frames: a movement needs at least 2")
    s = np.linspace(0, 1, frames)
    result: Floats = s**3 * (s * (6 * s - 15) + 10)
    return result


def moved(name: str, frames: int, amount: float | None = None, distance: float = 1.0) -> CameraPath:
    """A named movement from the identity pose on.

    amount: in the unit of `MOVES`, whose default it has. distance: to what the camera looks at, in the depth's unit.
    Raises ValueError for an unknown name or an impossible amount.
    """
    if name not in MOVES:
        raise ValueError(f"camera path {name!r}: use one of {', '.join(MOVES)}, or a JSON file of poses")
    whole = MOVES[name].amount if amount is None else amount
    if not np.isfinite(whole) or (name == "zoom" and whole <= 0) or (name == "dolly" and whole >= 1):
        raise ValueError(f"amount {whole:g} of {name}: send a number of {MOVES[name].means}")
    part = whole * eased(frames)
    poses = np.tile(np.eye(4), (frames, 1, 1))
    zoom = np.ones(frames)
    if name in ("truck", "crane", "dolly"):
        axis, sign = {"truck": (0, 1), "crane": (1, -1), "dolly": (2, 1)}[name]
        poses[:, axis, 3] = sign * part * distance
    elif name == "zoom":
        zoom = whole ** eased(frames)
    elif name == "orbit":
        pivot = np.array([0, 0, distance])
        poses[:, :3, :3] = about(1, -np.radians(part))
        poses[:, :3, 3] = pivot - poses[:, :3, :3] @ pivot
    else:
        poses[:, :3, :3] = about({"tilt": 0, "pan": 1, "roll": 2}[name], np.radians(part))
    return CameraPath(poses, zoom)


def about(axis: int, angle: Floats) -> Floats:
    """(T, 3, 3) right-handed rotations by `angle` (T,) radians about one axis (0 x, 1 y, 2 z)."""
    turn: Floats = Rotation.from_rotvec(angle[:, None] * np.eye(3)[axis]).as_matrix()
    return turn


def through(poses: Floats, frames: int) -> CameraPath:
    """A camera that passes through (P, 4, 4) key poses, evenly spread in time, starting and stopping smoothly."""
    if len(poses) < 2:
        raise ValueError(f"{len(poses)} poses: a path needs at least 2")
    return _at(poses, eased(frames) * (len(poses) - 1))


def interpolated(start: Floats, end: Floats, frames: int) -> CameraPath:
    """A camera from one pose to another at constant speed (paper, camera control)."""
    if frames < 2:
        raise ValueError(f"{frames} frames: a path needs at least 2")
    return _at(np.stack([start, end]), np.linspace(0, 1, frames))


def _at(poses: Floats, places: Floats) -> CameraPath:
    """A camera at `places` (T,) among (P, 4, 4) poses, the n-th of which is at n: turned along the shortest arc."""
    numbers = np.arange(len(poses))
    made = np.tile(np.eye(4), (len(places), 1, 1))
    made[:, :3, :3] = Slerp(numbers, Rotation.from_matrix(poses[:, :3, :3]))(places).as_matrix()
    made[:, :3, 3] = np.stack([np.interp(places, numbers, along) for along in poses[:, :3, 3].T], -1)
    return CameraPath(made, np.ones(len(places)))


def load_poses(file: str | os.PathLike[str]) -> Floats:
    """(P, 4, 4) poses of a JSON file, relative to the first one. Raises ValueError on anything but a list of poses."""
    if Path(file).stat().st_size > LARGEST_TEXT:
        raise ValueError(f"{file}: over {LARGEST_TEXT >> 20} MiB; {FORMAT}")
    try:
        poses = np.asarray(json.loads(Path(file).read_text(encoding="utf-8")), np.float64)
    except (ValueError, TypeError, RecursionError):
        raise ValueError(f"{file}: not a list of poses; {FORMAT}") from None
    if len(poses) < 2 if poses.ndim else True:
        raise ValueError(f"{file}: no list of poses; {FORMAT}")
    return relative(checked(poses, str(file)))


def checked(poses: Floats, where: str) -> Floats:
    """The poses, if they are finite (P, 4, 4) rotations and positions; else ValueError naming the one that is not."""
    if poses.ndim != 3 or poses.shape[1:] != (4, 4):
        raise ValueError(f"{where}: poses of shape {poses.shape}; {FORMAT}")
    for number, pose in enumerate(poses):
        turn = pose[:3, :3]
        if not np.isfinite(pose).all() or not np.array_equal(pose[3], [0, 0, 0, 1]):
            raise ValueError(f"{where}: pose {number} is not finite with a last row of 0 0 0 1; {FORMAT}")
        if np.abs(turn.T @ turn - np.eye(3)).max() > ROTATION_ERROR or np.linalg.det(turn) < 0:
            raise ValueError(f"{where}: the upper left 3×3 of pose {number} is no rotation; {FORMAT}")
    return poses


def relative(poses: Floats) -> Floats:
    """The same path in the frame of its first camera, whose pose becomes the identity."""
    seen: Floats = np.linalg.inv(poses[0]) @ poses
    return seen
