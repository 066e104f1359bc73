"""An LLFF scene written from a synthetic one: photographs, poses_bounds.npy and COLMAP's binary files."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image
from scipy.spatial.transform import Rotation

from motionstream.camera.camera import Lens, to_camera, to_world
from motionstream.data.scenes import CameraScene
from motionstream.tracks.grid import grid

Floats = npt.NDArray[np.float64]
SCALE = 7.0  # of the written world, so that a scale that is left out shows


def placed(scene: CameraScene) -> Floats:
    """(F, 4, 4) the scene's poses in a world of another place, direction and scale."""
    turn = np.array([[0, 0, 1, 1.0], [1, 0, 0, 2.0], [0, 1, 0, 3.0], [0, 0, 0, 1]])
    poses = scene.path.poses.copy()
    poses[:, :3, 3] *= SCALE
    return turn @ poses


def write(folder: Path, scene: CameraScene, frames: Sequence[int], sparse: bool = True) -> Path:
    """Write the scene's frames as one LLFF scene; every frame is a photograph."""
    assert (scene.path.zoom == 1).all()
    (folder / "images").mkdir(parents=True)
    for frame in frames:
        Image.fromarray(scene.picture(frame)).save(folder / "images" / f"{frame:03d}.png")
    poses = placed(scene)[list(frames)]
    lens = scene.lens
    rows = []
    for frame, pose in zip(frames, poses, strict=True):
        right, down, forwards, place = pose[:3].T
        matrix = np.stack([down, right, -forwards, place, (lens.size[1], lens.size[0], lens.fx)], -1)
        depth = scene.depth_map(frame) * SCALE
        rows.append([*matrix.ravel(), *np.percentile(depth, (0.1, 99.9))])
    np.save(folder / "poses_bounds.npy", np.array(rows))
    if sparse:
        _write_sparse(folder / "sparse" / "0", scene, list(frames), poses)
    return folder


def _write_sparse(folder: Path, scene: CameraScene, frames: list[int], poses: Floats) -> None:
    """Points of the first frame, each seen where it is visible."""
    folder.mkdir(parents=True)
    points = grid(scene.lens.size, 12, 8).astype(np.float64)
    tracks = scene.tracks(points)
    depth = scene.depth(0, points) * SCALE
    world = to_world(placed(scene)[0], scene.lens.lift(points, depth))
    (folder / "cameras.bin").write_bytes(cameras(scene.lens))
    images = struct.pack("<Q", len(frames))
    for number, (frame, pose) in enumerate(zip(frames, poses, strict=True), 1):
        seen = np.flatnonzero(tracks.visible[frame])
        images += struct.pack("<i", number) + struct.pack("<7d", *world_to_camera(pose)) + struct.pack("<i", 1)
        images += f"{frame:03d}.png".encode() + b"\0" + struct.pack("<Q", len(seen) + 1)
        images += struct.pack("<2dq", 1.5, 2.5, -1)  # a place that belongs to no point
        for point in seen:
            at = scene.lens.project(to_camera(pose, world[point]))[0]
            images += struct.pack("<2dq", *at, 1000 - int(point))  # ids that are not in order
    (folder / "images.bin").write_bytes(images)
    cloud = struct.pack("<Q", len(points))
    for point, place in enumerate(world):
        cloud += struct.pack("<Q3d3Bd", 1000 - point, *place, 1, 2, 3, 0.5)
        cloud += struct.pack("<Q", 1) + struct.pack("<ii", 1, 0)
    (folder / "points3D.bin").write_bytes(cloud)


def cameras(lens: Lens) -> bytes:
    """cameras.bin of one SIMPLE_RADIAL camera."""
    width, height = lens.size
    return struct.pack("<QiiQQ4d", 1, 1, 2, width, height, lens.fx, lens.cx, lens.cy, 0.0)


def world_to_camera(pose: Floats) -> Floats:
    """qw qx qy qz tx ty tz of a camera-to-world pose."""
    turn = pose[:3, :3].T
    return np.concatenate([Rotation.from_matrix(turn).as_quat(scalar_first=True), -turn @ pose[:3, 3]])
