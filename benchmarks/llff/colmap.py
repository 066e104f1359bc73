"""COLMAP's sparse model in its binary form: cameras.bin, images.bin, points3D.bin.

J. L. Schönberger and J.-M. Frahm, "Structure-from-Motion Revisited", CVPR 2016; the layout is that of COLMAP's
documentation ("Output Format"). Poses there go from the world to the camera, with OpenCV's axes, and pixel centres are
at +0.5, as ours are. Lens distortion is left out. Everything is read with its bounds checked; nothing is trusted.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from scipy.spatial.transform import Rotation

from motionstream.camera.camera import Lens

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

FILES = ("cameras.bin", "images.bin", "points3D.bin")
MODELS = {0: 3, 1: 4, 2: 4, 3: 5, 4: 8, 5: 8, 6: 12, 7: 5, 8: 4, 9: 5, 10: 12}
"""Number of parameters of each camera model by its number: SIMPLE_PINHOLE, PINHOLE, SIMPLE_RADIAL, …"""
TWO_FOCALS = {1, 4, 5, 6, 7, 10}
"""Models whose parameters begin fx, fy, cx, cy; those of the others begin f, cx, cy."""
LONGEST_NAME = 4096
POINT_2D = np.dtype([("xy", "<f8", 2), ("point", "<i8")])


@dataclass(frozen=True)
class Registered:
    """A picture: its pose (4, 4) from the camera to the world, lens, and the ids of the points seen in it."""

    name: str
    pose: Floats
    lens: Lens
    points: Ints


@dataclass(frozen=True)
class Sparse:
    """Pictures by file name, and points (M, 3) of the world with their ids (M,), sorted."""

    pictures: dict[str, Registered]
    xyz: Floats
    ids: Ints

    def seen_in(self, name: str) -> Ints:
        """Ids of the points that this picture sees and that are in the cloud."""
        return np.intersect1d(self.pictures[name].points, self.ids)

    def places(self, ids: Ints) -> Floats:
        """(K, 3) of points by id."""
        return self.xyz[np.searchsorted(self.ids, ids)]


def read(folder: Path) -> Sparse:
    """The model in a folder. Raises ValueError for a damaged file, FileNotFoundError for a missing one."""
    cameras, images, points = (folder / name for name in FILES)
    lenses = _cameras(_Reader(cameras))
    ids, xyz = _points(_Reader(points))
    order = np.argsort(ids)
    return Sparse(_images(_Reader(images), lenses), xyz[order], ids[order])


class _Reader:
    """Little-endian values of a file, one after the other; past its end is a ValueError with its name."""

    def __init__(self, path: Path) -> None:
        self.path, self.data, self.at = path, path.read_bytes(), 0

    def take(self, size: int) -> bytes:
        if size < 0 or self.at + size > len(self.data):
            raise ValueError(f"{self.path}: ends in the middle: not a whole file of COLMAP's binary format")
        self.at += size
        return self.data[self.at - size : self.at]

    def values(self, form: str) -> tuple[float, ...]:
        """By a form of `struct`, without padding."""
        return struct.unpack(f"<{form}", self.take(struct.calcsize(f"<{form}")))

    def whole(self, form: str) -> int:
        return int(self.values(form)[0])

    def count(self, least: int) -> int:
        """A number of entries, each of at least so many bytes."""
        number = self.whole("Q")
        if number * least > len(self.data) - self.at:
            raise ValueError(f"{self.path}: {number} entries, more than fit: not COLMAP's binary format")
        return number

    def text(self) -> str:
        end = self.data.find(b"\0", self.at, self.at + LONGEST_NAME)
        if end < 0:
            raise ValueError(f"{self.path}: a name without an end: not COLMAP's binary format")
        return self.take(end + 1 - self.at)[:-1].decode("utf-8", "replace")

    def finish(self) -> None:
        if self.at != len(self.data):
            raise ValueError(f"{self.path}: {len(self.data) - self.at} bytes too many: not COLMAP's binary format")


def _cameras(reader: _Reader) -> dict[int, Lens]:
    lenses = {}
    for _ in range(reader.count(24)):
        number, model = (int(value) for value in reader.values("ii"))
        width, height = (int(value) for value in reader.values("QQ"))
        if model not in MODELS:
            raise ValueError(f"{reader.path}: camera {number} is of model {model}, which is not known here")
        given = reader.values(f"{MODELS[model]}d")
        fx, fy, cx, cy = given[:4] if model in TWO_FOCALS else (given[0], *given[:3])
        if min(width, height) < 1 or not (fx > 0 and fy > 0):
            raise ValueError(f"{reader.path}: camera {number} of {width}×{height} and focal length {fx:g}")
        lenses[number] = Lens((width, height), fx, fy, cx, cy)
    reader.finish()
    return lenses


def _images(reader: _Reader, lenses: dict[int, Lens]) -> dict[str, Registered]:
    pictures = {}
    for _ in range(reader.count(73)):
        number, *pose, camera = reader.values("i7di")
        name = reader.text()
        seen = np.frombuffer(reader.take(reader.count(POINT_2D.itemsize) * POINT_2D.itemsize), POINT_2D)
        if int(camera) not in lenses or not np.isfinite(pose).all() or not np.any(pose[:4]):
            raise ValueError(f"{reader.path}: image {int(number)} has no camera or no pose")
        points = seen["point"][seen["point"] >= 0].astype(np.int64)
        pictures[name] = Registered(name, camera_to_world(np.array(pose)), lenses[int(camera)], np.unique(points))
    reader.finish()
    return pictures


def camera_to_world(pose: Floats) -> Floats:
    """(qw, qx, qy, qz, tx, ty, tz) from the world to the camera → (4, 4) from the camera to the world."""
    turn = Rotation.from_quat(pose[:4], scalar_first=True).as_matrix()
    back = np.eye(4)
    back[:3, :3], back[:3, 3] = turn.T, -turn.T @ pose[4:]
    return back


def _points(reader: _Reader) -> tuple[Ints, Floats]:
    ids, xyz = [], []
    for _ in range(reader.count(51)):
        ids.append(reader.whole("Q"))
        xyz.append(reader.values("3d"))
        reader.take(3 + 8)  # colour and error
        reader.take(8 * reader.count(8))
    reader.finish()
    return np.array(ids, np.int64), np.array(xyz, np.float64).reshape(-1, 3)
