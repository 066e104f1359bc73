"""Scenes in space: video, depth and tracks are of one world, and the camera's tracks agree with its truth."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from motionstream.camera.camera import camera_tracks
from motionstream.camera.path import MOVES
from motionstream.data.assets import AssetLibrary
from motionstream.data.scenes import CameraScene, CameraScenes
from motionstream.tracks.grid import grid

SIZE, FRAMES = (128, 80), 7


@pytest.fixture(scope="module")
def scenes() -> CameraScenes:
    return CameraScenes(AssetLibrary(Path(__file__).parent / "assets"), SIZE, FRAMES, seed=3)


def made(scenes: CameraScenes) -> list[CameraScene]:
    return [scenes.scene(index) for index in range(len(MOVES))]


def points() -> np.ndarray:
    return grid(SIZE, 16, 10).astype(np.float64)


def test_every_movement_is_drawn_and_a_number_is_always_the_same_scene(scenes: CameraScenes) -> None:
    assert [scene.move for scene in made(scenes)] == list(MOVES)
    again = CameraScenes(scenes.library, SIZE, FRAMES, seed=3).scene(2)
    np.testing.assert_array_equal(again.picture(FRAMES - 1), scenes.scene(2).picture(FRAMES - 1))
    assert (CameraScenes(scenes.library, SIZE, FRAMES, seed=4).scene(2).picture(0) != again.picture(0)).any()


def test_the_camera_sees_ground_things_and_backdrop(scenes: CameraScenes) -> None:
    for scene in made(scenes):
        depth = scene.depth_map()
        assert np.isfinite(depth).all()
        assert depth.max() == pytest.approx(5, abs=1e-6)
        assert depth[-1].max() < 2
        assert 1 < depth.min() < 1.7
        assert scene.caption


def test_the_picture_moves_as_the_tracks_say(scenes: CameraScenes) -> None:
    """Colours are carried along: far less apart at a point's true later place than at its first one."""
    carried, standing = [], []
    for scene in made(scenes):
        video, tracks = scene.video().astype(float), scene.tracks(points())
        x, y = np.floor(tracks.xy[0]).astype(int).T
        birth = video[0, y, x]
        far = np.linalg.norm(tracks.xy[-1] - tracks.xy[0], axis=-1) > 4
        seen = tracks.visible[-1] & far
        now_x, now_y = np.floor(tracks.xy[-1, seen]).astype(int).T
        carried.append(np.abs(video[-1, now_y, now_x] - birth[seen]).mean(-1))
        standing.append(np.abs(video[-1, y[seen], x[seen]] - birth[seen]).mean(-1))
    assert sum(map(len, carried)) > 200
    assert np.concatenate(carried).mean() < 0.6 * np.concatenate(standing).mean()
    assert np.median(np.concatenate(carried)) < 0.5 * np.median(np.concatenate(standing))


def test_tracks_by_the_true_depth_are_the_true_tracks(scenes: CameraScenes) -> None:
    agree, hidden = [], 0
    for scene in made(scenes):
        truth = scene.tracks(points())
        tracks = camera_tracks(scene.depth_map(), scene.lens, scene.path, points())
        both = tracks.visible & truth.visible
        apart = np.linalg.norm(tracks.xy - truth.xy, axis=-1)[both]
        assert np.median(apart) < 0.05
        assert apart.mean() < 0.5
        agree.append((tracks.visible == truth.visible).mean())
        inside = np.all((truth.xy >= 0) & (truth.xy < SIZE), axis=-1)
        hidden += int((inside & ~truth.visible).sum())
    assert np.mean(agree) > 0.97
    assert hidden > 20, "some points go behind things"


def test_a_still_camera_is_refused(scenes: CameraScenes) -> None:
    with pytest.raises(ValueError, match="at least 2"):
        CameraScenes(scenes.library, SIZE, 1)
