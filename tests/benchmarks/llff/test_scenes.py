"""LLFF and COLMAP: what is written by the published conventions is read back as the same poses, and damage is named."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest
from tests.benchmarks.llff.llff_folder import SCALE, placed, world_to_camera, write

from benchmarks.llff import colmap
from benchmarks.llff.scenes import LlffScene, from_llff, read_scene, scale_of, scenes
from motionstream.camera.path import MOVES
from motionstream.data.assets import AssetLibrary
from motionstream.data.scenes import CameraScene, CameraScenes

ASSETS = Path(__file__).parents[2] / "data" / "assets"
SIZE, FRAMES = (96, 64), 9


@pytest.fixture(scope="module")
def scene() -> CameraScene:
    return CameraScenes(AssetLibrary(ASSETS), SIZE, FRAMES, seed=1).scene(list(MOVES).index("orbit"))


@pytest.fixture(params=[True, False], ids=["colmap", "poses_bounds"])
def folder(request: pytest.FixtureRequest, tmp_path: Path, scene: CameraScene) -> Path:
    return write(tmp_path / "llff" / "fern", scene, range(FRAMES), sparse=request.param)


def test_poses_and_lens_come_back(folder: Path, scene: CameraScene) -> None:
    found = read_scene(folder)
    assert found.name == "fern"
    assert found.source == ("colmap" if (folder / "sparse").exists() else "poses_bounds.npy")
    assert [view.picture.name for view in found.views] == [f"{frame:03d}.png" for frame in range(FRAMES)]
    np.testing.assert_allclose([view.pose for view in found.views], placed(scene), atol=1e-9)
    for view in found.views:
        np.testing.assert_allclose(
            [view.lens.fx, view.lens.fy, view.lens.cx, view.lens.cy], [scene.lens.fx, scene.lens.fy, 48, 32]
        )
        assert view.lens.size == SIZE


def test_columns_are_down_right_backwards() -> None:
    """A camera that looks along the world's y with its top towards z."""
    matrix = np.stack([[0, 0, -1], [1, 0, 0], [0, -1, 0], [5, 6, 7]], -1)
    pose = from_llff(matrix)
    np.testing.assert_array_equal(pose[:3, 2], [0, 1, 0])  # forwards
    np.testing.assert_array_equal(pose[:3, 1], [0, 0, -1])  # down
    np.testing.assert_array_equal(pose[:3, 3], [5, 6, 7])
    assert np.linalg.det(pose) == pytest.approx(1)


def test_one_factor_brings_depth_to_the_scenes_unit(folder: Path, scene: CameraScene) -> None:
    found = read_scene(folder)
    depth = scene.depth_map()
    assert scale_of(depth, scene.lens, found, 0) == pytest.approx(SCALE, rel=0.01)
    assert scale_of(depth * 0.3, scene.lens, found, 0) == pytest.approx(SCALE / 0.3, rel=0.01)


def test_the_cloud_knows_which_views_see_what(tmp_path: Path, scene: CameraScene) -> None:
    found = read_scene(write(tmp_path / "fern", scene, range(FRAMES)))
    both = found.cloud(0, FRAMES - 1)
    assert 8 < len(both) < len(found.cloud(0)) == 96
    assert {tuple(point) for point in both} < {tuple(point) for point in found.cloud(0)}


def test_pairs_begin_in_the_middle_and_go_to_every_eighth(tmp_path: Path, scene: CameraScene) -> None:
    found = read_scene(write(tmp_path / "fern", scene, range(FRAMES)))
    pairs = found.pairs(4)
    assert [target for _, target in pairs] == [0, 8]
    assert {source for source, _ in pairs} <= set(range(2, 7))
    assert len(found.pairs(1)) == 1


def test_bad_scenes_are_named_and_counted(tmp_path: Path, scene: CameraScene) -> None:
    good = write(tmp_path / "good", scene, range(3))
    bad = {name: write(tmp_path / name, scene, range(3)) for name in "abcdefg"}
    (bad["a"] / "poses_bounds.npy").unlink()
    np.save(bad["b"] / "poses_bounds.npy", np.zeros((3, 15)))
    (bad["c"] / "images" / "001.png").unlink()
    np.save(bad["d"] / "poses_bounds.npy", np.load(good / "poses_bounds.npy") * 2)
    (bad["e"] / "sparse" / "0" / "images.bin").write_bytes(b"\1")
    (bad["f"] / "poses_bounds.npy").write_text("words")
    (bad["g"] / "sparse" / "0" / "cameras.bin").unlink()
    (tmp_path / "empty").mkdir()
    found, skipped = scenes(tmp_path)
    assert [each.name for each in found] == ["good"]
    assert set(skipped) == {*bad, "empty"}
    says = {
        "a": "No such file",
        "b": "shape (3, 15)",
        "c": "3 poses for 2 photographs",
        "d": "000.png is no pose",
        "e": "images.bin: ends in the middle",
        "f": "not an npy file",
        "g": "cameras.bin",
        "empty": "no photographs",
    }
    for name, reason in says.items():
        assert reason in skipped[name], skipped[name]
    assert [each.name for each in scenes(good)[0]] == ["good"]


def test_a_folder_without_scenes_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no folder at"):
        scenes(tmp_path / "nowhere")
    with pytest.raises(ValueError, match="no LLFF scene"):
        scenes(tmp_path)


def test_colmap_is_read_from_bytes_written_by_hand(tmp_path: Path) -> None:
    """Two cameras of different models, an image turned by 90° about z, one point that it sees."""
    half = np.sqrt(0.5)
    (tmp_path / "cameras.bin").write_bytes(
        struct.pack("<Q", 2)
        + struct.pack("<iiQQ4d", 7, 1, 640, 480, 500, 510, 320, 240)
        + struct.pack("<iiQQ8d", 9, 4, 64, 48, 50, 51, 32, 24, 0.1, 0, 0, 0)
    )
    (tmp_path / "images.bin").write_bytes(
        struct.pack("<Q", 1)
        + struct.pack("<i7di", 3, half, 0, 0, half, 1, 2, 3, 9)
        + b"a b.jpg\0"
        + struct.pack("<Q2dq", 1, 10, 20, 5)
    )
    (tmp_path / "points3D.bin").write_bytes(
        struct.pack("<Q", 1) + struct.pack("<Q3d3BdQii", 5, 1, 1, 4, 0, 0, 0, 0.1, 1, 3, 0)
    )
    sparse = colmap.read(tmp_path)
    picture = sparse.pictures["a b.jpg"]
    assert (picture.lens.size, picture.lens.fx, picture.lens.fy) == ((64, 48), 50, 51)
    seen = np.linalg.inv(picture.pose) @ [1, 1, 4, 1]
    np.testing.assert_allclose(seen, [-1 + 1, 1 + 2, 4 + 3, 1], atol=1e-12)  # R·X + t, turned: (x, y) → (−y, x)
    np.testing.assert_array_equal(sparse.places(sparse.seen_in("a b.jpg")), [[1, 1, 4]])
    np.testing.assert_allclose(colmap.camera_to_world(world_to_camera(picture.pose)), picture.pose, atol=1e-12)


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("cameras.bin", struct.pack("<Q", 1 << 60), "more than fit"),
        ("cameras.bin", struct.pack("<QiiQQ", 1, 1, 77, 6, 4), "model 77"),
        ("cameras.bin", struct.pack("<QiiQQ3d", 1, 1, 0, 6, 4, 0, 3, 2), "focal length 0"),
        ("cameras.bin", struct.pack("<QB", 0, 1), "1 bytes too many"),
        ("images.bin", struct.pack("<Qi7di", 1, 1, 1, 0, 0, 0, 0, 0, 0, 1) + b"x" * 20, "without an end"),
        ("images.bin", struct.pack("<Qi7di", 1, 1, 1, 0, 0, 0, 0, 0, 0, 8) + b"x\0" + bytes(8), "no camera"),
        ("points3D.bin", struct.pack("<Q", 3), "more than fit"),
    ],
)
def test_damaged_files_are_named(tmp_path: Path, scene: CameraScene, name: str, content: bytes, says: str) -> None:
    folder = write(tmp_path / "fern", scene, range(2)) / "sparse" / "0"
    (folder / name).write_bytes(content)
    with pytest.raises(ValueError, match=says) as error:
        colmap.read(folder)
    assert name in str(error.value)


def test_a_model_of_other_pictures_is_refused(tmp_path: Path, scene: CameraScene) -> None:
    folder = write(tmp_path / "fern", scene, range(3))
    for picture in (folder / "images").iterdir():
        picture.rename(picture.with_name(f"other_{picture.name}"))
    with pytest.raises(ValueError, match="knows 0 of the pictures"):
        read_scene(folder)


def test_views_that_colmap_left_out_are_left_out(tmp_path: Path, scene: CameraScene) -> None:
    folder = write(tmp_path / "fern", scene, range(3))
    (folder / "images" / "002.png").rename(folder / "images" / "003.png")
    found: LlffScene = read_scene(folder)
    assert [view.picture.name for view in found.views] == ["000.png", "001.png"]
