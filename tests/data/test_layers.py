from __future__ import annotations

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from motionstream.data import motion, textures
from motionstream.data.layers import Placement
from motionstream.data.motion import Bending, Pose, Turn

FRAMES, SIZE = 9, (160, 96)


def random_placement(seed: int) -> Placement:
    """Camera, pose and bending all in motion."""
    rng = np.random.default_rng(seed)
    camera = motion.moving_camera(rng, FRAMES, SIZE, np.array([40.0, 20.0]))
    path = motion.path(rng, FRAMES, 6.0)
    turn = Turn.draw(rng, FRAMES, 30.0)
    pose = Pose(path, motion.turning(rng, FRAMES), motion.growing(rng, FRAMES) * turn.squeeze)
    draw = Bending.jointed if seed % 2 else Bending.draw
    return Placement.of(camera.matrices(pose, 1.2), draw(rng, FRAMES, 30.0), 30.0, turn.tilt)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10_000))
def test_the_map_is_undone_exactly(seed: int) -> None:
    placement = random_placement(seed)
    local = torch.from_numpy(np.random.default_rng(seed).uniform(-40, 40, (50, 2)))
    shown = placement.forward(local)
    u, v = placement.inverse(shown[..., 0], shown[..., 1])
    assert (torch.stack([u, v], -1) - local).abs().max() < 1e-9


def test_what_turns_away_looks_narrower_and_its_near_side_larger() -> None:
    """A square turned by 40° about its upright axis: narrower by the cosine, its sides of unlike height."""
    radius, angle = 30.0, np.full(1, np.deg2rad(40))
    tilt = np.stack([np.sin(angle) / (5 * radius), np.zeros(1)], -1)
    matrix = np.array([[[np.cos(angle[0]), 0, 0], [0, 1, 0]]])
    corners = torch.tensor([[-1, -1], [1, -1], [1, 1], [-1, 1.0]], dtype=torch.float64) * radius
    seen = Placement.of(matrix, None, radius, tilt).forward(corners)[0]
    left, right = seen[3, 1] - seen[0, 1], seen[2, 1] - seen[1, 1]
    assert left > 2 * radius > right
    depth = np.sin(angle[0]) / 5
    np.testing.assert_allclose([left, right], [2 * radius / (1 - depth), 2 * radius / (1 + depth)])
    wide = 2 * radius * np.cos(angle[0]) / (1 - depth**2)
    np.testing.assert_allclose(seen[1, 0] - seen[0, 0], wide)


def test_only_what_hangs_behind_a_joint_swings() -> None:
    rng = np.random.default_rng(2)
    limbs = Bending.jointed(rng, 25, 30.0)
    column = torch.linspace(-1, 1, 41, dtype=torch.float64) * 30
    local = torch.stack([torch.zeros_like(column), column], -1)
    still = np.broadcast_to(np.eye(2, 3), (25, 2, 3)).copy()
    swing = (Placement.of(still, limbs, 30.0).forward(local) - local)[..., 0].abs().amax(0)
    assert swing[0] < 0.1 * swing[-1]
    assert swing[-1] > 2


def test_a_little_later_lies_on_the_way_to_the_next_frame() -> None:
    placement = random_placement(4)
    local = torch.from_numpy(np.random.default_rng(0).uniform(-25, 25, (20, 2)))
    now, soon = placement.forward(local), placement.later(0.2).forward(local)
    assert torch.equal(placement.later(0.0).forward(local), now)
    there = (now[2:] - now[:-2]) / 2
    assert (soon[1:-1] - now[1:-1] - 0.2 * there).abs().max() < 0.15 * there.abs().max()


def test_broadcast_rows_and_columns_give_the_same_inverse() -> None:
    placement = random_placement(3)
    x, y = torch.arange(5, dtype=torch.float64), torch.arange(4, dtype=torch.float64)
    u, v = placement.inverse(x.expand(FRAMES, 1, 5), y[:, None].expand(FRAMES, 4, 1))
    grid = torch.stack(torch.meshgrid(x, y, indexing="xy"), -1).reshape(1, -1, 2).expand(FRAMES, -1, 2)
    flat_u, flat_v = placement.inverse(grid[..., 0], grid[..., 1])
    assert (u.reshape(FRAMES, -1) - flat_u).abs().max() < 1e-12
    assert (v.reshape(FRAMES, -1) - flat_v).abs().max() < 1e-12


def test_the_camera_shows_at_a_pixel_what_it_says() -> None:
    rng = np.random.default_rng(5)
    camera = motion.moving_camera(rng, FRAMES, SIZE, np.array([40.0, 20.0]))
    world = camera.world_of(4, np.array([30.0, 70.0]), 1.3)
    pose = Pose(np.broadcast_to(world, (FRAMES, 2)), np.zeros(FRAMES), np.ones((FRAMES, 2)))
    shown = Placement.of(camera.matrices(pose, 1.3), None, 1.0).forward(torch.zeros(1, 2, dtype=torch.float64))
    np.testing.assert_allclose(shown[4, 0].numpy(), [30, 70])


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000), st.sampled_from(motion.CURVES), st.floats(0.1, 12))
def test_a_path_starts_at_zero_and_keeps_its_speed(seed: int, curve: motion.Curve, speed: float) -> None:
    path = motion.path(np.random.default_rng(seed), 25, speed, curve)
    assert np.abs(path[0]).max() == 0
    fastest = np.linalg.norm(np.diff(path, axis=0), axis=1).max()
    np.testing.assert_allclose(fastest, speed, rtol=1e-6)


def test_cutouts_are_premultiplied_without_dark_or_bright_fringes() -> None:
    rgba = np.zeros((40, 40, 4), np.uint8)
    rgba[..., :3] = (0, 255, 0)  # green also where nothing is to be seen: must not leak
    rgba[10:30, 10:30] = (255, 0, 0, 255)
    texture = textures.cutout_texture(rgba, 20)
    assert texture.shape == (4, 20 + 2 * textures.BORDER, 20 + 2 * textures.BORDER)
    assert (texture[:3] <= texture[3:] + 1e-6).all()
    assert texture[1].max() < 0.02
    assert texture[0].max() == 1
    assert texture[:, 0].abs().max() == 0


def test_a_ground_covers_the_frame_and_is_not_enlarged() -> None:
    photo = np.full((300, 600, 4), 255, np.uint8)
    assert textures.ground_texture(photo, (256, 144), 1.0).shape == (3, 144, 288)
    assert textures.ground_texture(photo, (256, 144), 99.0).shape == (3, 300, 600)
    assert textures.ground_texture(photo[:100, :100], (256, 144), 1.0).shape == (3, 256, 256)


def test_a_shadow_is_soft_black_and_never_hides() -> None:
    texture = torch.zeros(4, 40, 40)
    texture[3, 10:30, 10:30] = 1
    shadow = textures.shadow_texture(texture, 0.4)
    assert shadow[:3].max() == 0
    assert 0.3 < shadow[3].max() <= 0.4 + 1e-6
    assert shadow[3, 0].max() == 0
    assert ((shadow[3] > 0.05) & (shadow[3] < 0.3)).sum() > 100


def test_smooth_shapes_are_closed_and_sizeable() -> None:
    rng = np.random.default_rng(0)
    for _ in range(20):
        shape = textures.smooth_shape(64, rng)
        assert shape[0].max() == shape[-1].max() == shape[:, 0].max() == shape[:, -1].max() == 0
        assert 0.08 < shape.mean() < 0.8
