"""A camera's tracks: exact against a projection by hand, hidden where something is nearer, smooth, refused well."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from scipy.spatial.transform import Rotation

from motionstream.camera.camera import Lens, camera_tracks, depth_at, middle_distance, pixel_centres
from motionstream.camera.path import (
    MOVES,
    CameraPath,
    about,
    eased,
    interpolated,
    load_poses,
    moved,
    through,
)
from motionstream.geometry import Fit
from motionstream.tracks.grid import grid

Floats = npt.NDArray[np.float64]
SIZE = (64, 48)
LENS = Lens.of(SIZE, 60)
FRAMES = 9


def points(columns: int = 8, rows: int = 6) -> Floats:
    return grid(SIZE, columns, rows).astype(np.float64)


def wall(depth: float = 4.0) -> Floats:
    return np.full(SIZE[::-1], depth)


def tilted() -> Floats:
    """A plane whose depth is 1 / (0.2 + 0.002 x + 0.004 y) at a pixel's centre."""
    x, y = np.moveaxis(pixel_centres(SIZE), -1, 0)
    return 1 / (0.2 + 0.002 * x + 0.004 * y)


def box_before_a_wall() -> Floats:
    """A wall at 4, and before it a box at 2 in the middle 16 × 16 pixels."""
    depth = wall()
    depth[16:32, 24:40] = 2
    return depth


def by_hand(xy: Floats, depth: float, lens: Lens, pose: Floats, focal: float) -> Floats:
    """One point of the first frame in a later one, by homogeneous matrices."""
    k = np.array([[lens.fx, 0, lens.cx], [0, lens.fy, lens.cy], [0, 0, 1]])
    world = np.append(np.linalg.inv(k) @ np.array([*xy, 1]) * depth, 1)
    k[0, 0] *= focal
    k[1, 1] *= focal
    seen = k @ (np.linalg.inv(pose) @ world)[:3]
    return seen[:2] / seen[2]


@pytest.mark.parametrize("move", MOVES)
def test_every_movement_projects_as_by_hand(move: str) -> None:
    path = moved(move, FRAMES, distance=4.0)
    tracks = camera_tracks(tilted(), LENS, path, points())
    for n, place in enumerate(points()):
        depth = 1 / (0.2 + 0.002 * place[0] + 0.004 * place[1])
        for frame in range(FRAMES):
            expected = by_hand(place, depth, LENS, path.poses[frame], path.zoom[frame])
            if np.all((expected >= 0) & (expected < SIZE)):
                np.testing.assert_allclose(tracks.xy[frame, n], expected, atol=1e-3)
                assert tracks.visible[frame, n], "a single plane hides nothing"
            else:
                assert not tracks.visible[frame, n]


@pytest.mark.parametrize(
    ("move", "amount", "goes"),
    [
        ("pan", 10, (-1, 0)),
        ("tilt", 10, (0, 1)),
        ("truck", 0.2, (-1, 0)),
        ("crane", 0.2, (0, 1)),
        ("truck", -0.2, (1, 0)),
    ],
)
def test_what_is_seen_goes_the_other_way(move: str, amount: float, goes: tuple[int, int]) -> None:
    centre = np.array([[32.0, 24.0]])
    tracks = camera_tracks(wall(), LENS, moved(move, FRAMES, amount, 4.0), centre)
    step = (tracks.xy[-1, 0] - tracks.xy[0, 0]) / np.abs(tracks.xy[-1, 0] - tracks.xy[0, 0]).max()
    np.testing.assert_allclose(step, goes, atol=0.05)


def test_dolly_and_zoom_enlarge_and_roll_turns_against_the_camera() -> None:
    right = np.array([[48.0, 24.0]])
    for move, amount, scale in (("dolly", 0.5, 2.0), ("zoom", 1.5, 1.5)):
        tracks = camera_tracks(wall(), LENS, moved(move, FRAMES, amount, 4.0), right)
        np.testing.assert_allclose(tracks.xy[-1, 0] - (32, 24), (16 * scale, 0), atol=1e-3)
    rolled = camera_tracks(wall(), LENS, moved("roll", FRAMES, 90), right)
    np.testing.assert_allclose(rolled.xy[-1, 0] - (32, 24), (0, -16), atol=1e-3)


def test_an_orbit_keeps_its_centre_and_brings_the_camera_to_the_right() -> None:
    path = moved("orbit", FRAMES, 30, distance=4.0)
    tracks = camera_tracks(wall(), LENS, path, np.array([[32.0, 24.0]]))
    np.testing.assert_allclose(tracks.xy[:, 0], np.tile([32.0, 24.0], (FRAMES, 1)), atol=1e-3)
    assert path.poses[-1, 0, 3] > 1
    np.testing.assert_allclose(np.linalg.norm(path.poses[:, :3, 3] - (0, 0, 4), axis=-1), 4)


def hidden_and_wrong(xs: Floats, path: CameraPath) -> tuple[int, int]:
    """Points of the wall at these x as the camera goes right: how often the box covers one, how often we differ."""
    row = np.stack([xs, np.full(len(xs), 24.0)], -1)
    tracks = camera_tracks(box_before_a_wall(), LENS, path, row)
    hidden, wrong = 0, 0
    for frame, pose in enumerate(path.poses):
        shift = LENS.fx * pose[0, 3]
        left, right, places = 24 - shift / 2, 40 - shift / 2, xs - shift / 4
        for n, at in enumerate(places):
            if at < 0.5 or min(abs(at - left), abs(at - right)) < 1:
                continue  # at the very edge either is right
            hidden += bool(left < at < right)
            wrong += bool(tracks.visible[frame, n]) == bool(left < at < right)
    return hidden, wrong


def test_what_goes_behind_something_is_hidden_and_comes_back() -> None:
    """A near box moves left faster than the wall: it covers and uncovers the wall on its left, never on its right."""
    there = interpolated(np.eye(4), moved("truck", 2, 1.0, 0.8).poses[-1], 33)
    path = CameraPath(np.concatenate([there.poses, there.poses[::-1]]), np.ones(66))
    hidden, wrong = hidden_and_wrong(np.arange(5.0, 24.0), path)
    assert hidden > 100
    assert wrong == 0
    assert hidden_and_wrong(np.arange(41.0, 60.0), path) == (0, 0)


def test_nothing_shows_through_a_near_surface_that_is_turned_or_enlarged() -> None:
    """The box is drawn of single pixels: turning or nearing it must not open gaps between them."""
    behind = np.array([[20.0, 24.0]])
    start = box_before_a_wall()
    for turn, forwards in ((0.0, 0.0), (np.pi / 4, 0.0), (0.3, 1.2)):
        pose = np.eye(4)
        pose[:3, :3] = about(2, np.array([turn]))[0]
        pose[:3, 3] = (0.22, 0, forwards)
        path = CameraPath(np.stack([np.eye(4), pose]), np.ones(2))
        many = behind + np.stack(np.meshgrid(np.linspace(-4, 2, 40), np.linspace(-4, 4, 40)), -1).reshape(-1, 2)
        tracks = camera_tracks(start, LENS, path, many)
        eye = pose[:3, 3]
        world = LENS.lift(many, np.full(len(many), 4.0))
        on_box = (eye + (world - eye) * ((2 - eye[2]) / (4 - eye[2])))[:, :2] * LENS.fx / 2 + (32, 24)
        covered = np.all((on_box > (25, 17)) & (on_box < (39, 31)), axis=-1)
        assert covered.sum() > 20
        assert not tracks.visible[1, covered].any(), f"turned by {turn:.2f}, {forwards} nearer"


def test_the_first_frame_sees_every_known_point_and_unknown_depth_never_shows() -> None:
    depth = box_before_a_wall()
    depth[:, :8] = 0
    depth[:8] = np.nan
    tracks = camera_tracks(depth, LENS, moved("orbit", FRAMES, distance=4), points())
    unknown = (points()[:, 0] < 8) | (points()[:, 1] < 8)
    np.testing.assert_array_equal(tracks.visible[0], ~unknown)
    assert not tracks.visible[:, unknown].any()


def test_behind_the_camera_nothing_is_seen() -> None:
    far = np.eye(4)
    far[2, 3] = 5
    tracks = camera_tracks(wall(), LENS, CameraPath(np.stack([np.eye(4), far]), np.ones(2)), points())
    assert tracks.visible[0].all()
    assert not tracks.visible[1].any()


def test_depth_between_pixels_is_exact_on_planes_and_takes_a_side_at_edges() -> None:
    places = np.random.default_rng(0).uniform(1, 47, (200, 2))
    np.testing.assert_allclose(depth_at(tilted(), places), 1 / (0.2 + places @ (0.002, 0.004)), rtol=1e-9)
    np.testing.assert_array_equal(
        depth_at(box_before_a_wall(), np.array([[23.9, 24.0], [24.1, 24.0], [0.0, 0.0], [64.0, 48.0]])), [4, 2, 4, 4]
    )
    assert middle_distance(box_before_a_wall()) == 2


def test_a_lens_is_fitted_as_its_picture_is() -> None:
    lens, frame = Lens((100, 80), 90.0, 95.0, 52.0, 39.0), (64, 36)
    point = np.array([[0.3, -0.2, 2.0]])
    expected = Fit.of((100, 80), frame).to_frame(lens.project(point)[0])
    np.testing.assert_allclose(lens.fitted(frame).project(point)[0], expected)
    np.testing.assert_allclose(2 * np.degrees(np.arctan(32 / LENS.fx)), 60)


def test_movements_start_and_stop_smoothly() -> None:
    way = eased(101)
    assert (way[0], way[-1]) == (0, 1)
    assert (np.diff(way) >= 0).all()
    assert max(np.diff(way)[0], np.diff(way)[-1]) < 0.01 * np.diff(way).max()


def test_poses_in_between_turn_evenly() -> None:
    random = np.random.default_rng(1)
    for half_turn in (False, True):
        q = random.normal(size=4) * (1, 1, 1, 0 if half_turn else 1)
        start, end = np.eye(4), np.eye(4)
        start[:3, :3], end[:3, :3] = Rotation.random(rng=random).as_matrix(), Rotation.from_quat(q).as_matrix()
        end[:3, 3] = (1, 2, 3)
        first, middle, last = interpolated(start, end, 3).poses
        np.testing.assert_allclose((first, last), (start, end), atol=1e-9)
        once, again = middle[:3, :3] @ start[:3, :3].T, end[:3, :3] @ middle[:3, :3].T
        np.testing.assert_allclose(once, again, atol=1e-9)
        np.testing.assert_allclose(middle[:3, 3], (0.5, 1, 1.5))


def test_key_poses_are_passed_through() -> None:
    keys = moved("truck", 3, 1.0).poses
    path = through(keys, 17)
    np.testing.assert_allclose(path.poses[[0, 8, 16], 0, 3], keys[:, 0, 3], atol=1e-9)


def test_poses_of_a_file_are_seen_from_the_first(tmp_path: Path) -> None:
    file = tmp_path / "path.json"
    poses = moved("orbit", 4, 30, 2.0).poses
    moved_away = np.eye(4)
    moved_away[:3, :3], moved_away[:3, 3] = about(1, np.array([0.7]))[0], (4, 5, 6)
    file.write_text(json.dumps((moved_away @ poses).tolist()))
    np.testing.assert_allclose(load_poses(file), poses, atol=1e-9)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("not json", "not a list of poses"),
        ("[[1, 2], [3]]", "not a list of poses"),
        ("3", "no list of poses"),
        (json.dumps([np.eye(4).tolist()]), "no list of poses"),
        (json.dumps([np.eye(3).tolist()] * 2), "shape"),
        (json.dumps([np.eye(4).tolist(), (2 * np.eye(4)).tolist()]), "pose 1"),
        (json.dumps([np.eye(4).tolist(), np.diag([1, 1, -1, 1]).tolist()]), "pose 1 is no rotation"),
        (json.dumps([np.eye(4).tolist(), np.full((4, 4), np.nan).tolist()]), "pose 1"),
    ],
)
def test_a_file_without_poses_is_refused(tmp_path: Path, content: str, says: str) -> None:
    file = tmp_path / "path.json"
    file.write_text(content)
    with pytest.raises(ValueError, match=says) as error:
        load_poses(file)
    assert str(file) in str(error.value)


def test_wrong_calls_are_refused() -> None:
    path = moved("pan", FRAMES)
    with pytest.raises(ValueError, match="shape"):
        camera_tracks(wall()[1:], LENS, path, points())
    with pytest.raises(ValueError, match="no positive number"):
        camera_tracks(np.zeros(SIZE[::-1]), LENS, path, points())
    with pytest.raises(ValueError, match="use one of orbit"):
        moved("swim", FRAMES)
    for name, amount in (("zoom", 0.0), ("dolly", 1.0), ("pan", np.inf)):
        with pytest.raises(ValueError, match=f"of {name}"):
            moved(name, FRAMES, amount)
    with pytest.raises(ValueError, match="at least 2"):
        moved("pan", 1)
    with pytest.raises(ValueError, match="at least 2"):
        through(np.eye(4)[None], 5)
    with pytest.raises(ValueError, match="degrees"):
        Lens.of(SIZE, 0)
