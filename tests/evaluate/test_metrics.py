"""The metrics on pictures and tracks whose figures are known, and what is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from motionstream.evaluate.metrics import (
    BEST_PSNR,
    after_birth,
    births,
    distance,
    measurable,
    moving,
    near,
    psnr,
    psnr_of,
    squares,
    ssim,
    turned,
)
from motionstream.lpips import LpipsNetwork
from motionstream.tracks import Tracks

RNG = np.random.default_rng(0)
VIDEO = RNG.integers(20, 230, (4, 40, 48, 3)).astype(np.uint8)


def test_psnr_of_a_known_difference() -> None:
    assert psnr(VIDEO + np.uint8(5), VIDEO) == pytest.approx(20 * np.log10(255 / 5), abs=1e-3)
    assert psnr(VIDEO, VIDEO) == BEST_PSNR


def test_the_given_first_frame_does_not_count() -> None:
    changed = VIDEO.copy()
    changed[0] = 0
    assert psnr(changed, VIDEO) == BEST_PSNR
    assert ssim(changed, VIDEO) == pytest.approx(1)
    changed[1] = 0
    assert psnr(changed, VIDEO) < BEST_PSNR


def test_ssim_falls_with_noise() -> None:
    noise = RNG.normal(0, 1, VIDEO.shape)
    little, much = ((VIDEO + s * noise).clip(0, 255).astype(np.uint8) for s in (5, 60))
    assert 1 > ssim(little, VIDEO) > ssim(much, VIDEO) > 0


@pytest.mark.parametrize("other", [VIDEO[:3], VIDEO[:, :8], VIDEO.astype(np.float32)])
def test_videos_that_differ_in_form_are_refused(other: np.ndarray) -> None:
    with pytest.raises(ValueError, match="send"):
        psnr(other, VIDEO)


def test_squared_errors_of_clips_add_up_to_those_of_all() -> None:
    where = np.zeros(VIDEO.shape[:3], bool)
    where[:, :10] = True
    made = VIDEO.copy()
    made[:, :10] += np.uint8(5)
    inside, outside = squares(made, VIDEO, where), squares(made, VIDEO, ~where)
    assert inside[0] / inside[1] == 25
    assert outside[0] == 0
    whole = squares(made, VIDEO)
    assert whole == [inside[0] + outside[0], inside[1] + outside[1]]
    assert whole[1] == VIDEO[1:].size
    assert psnr_of(whole[0] / whole[1]) == pytest.approx(10 * np.log10(255**2 / (25 / 4)))
    assert psnr_of(0.0) == BEST_PSNR
    assert psnr_of(None) is None
    with pytest.raises(ValueError, match="send two alike"):
        squares(VIDEO[:3], VIDEO)


def test_pixels_near_points() -> None:
    xy = np.array([[[10.5, 20.5], [3, 3]], [[10.5, 20.5], [-5, 3]]])
    shown = np.array([[True, False], [False, True]])
    close = near(xy, shown, (48, 40), 4)
    assert close.shape == (2, 40, 48)
    y, x = np.mgrid[:40, :48] + 0.5
    np.testing.assert_array_equal(close[0], np.hypot(x - 10.5, y - 20.5) <= 4)
    assert not close[1].any(), "a point outside the frame is near nothing"


def tracks() -> Tracks:
    """Point 0 moves 5 px right a frame; point 1 stands; point 2 is born in frame 2 and moves 5 px down a frame."""
    frames = np.arange(5.0)
    xy = np.stack(
        [
            np.stack([10 + 5 * frames, np.full(5, 10.0)], -1),
            np.full((5, 2), 30.0),
            np.stack([np.full(5, 20.0), 5 * frames], -1),
        ],
        axis=1,
    )
    visible = np.ones((5, 3), bool)
    visible[:2, 2] = False
    return Tracks(xy, visible)


def test_where_points_count() -> None:
    given = tracks()
    assert births(given).tolist() == [0, 0, 2]
    assert after_birth(given).sum(0).tolist() == [4, 4, 2]
    assert (moving(given, 4.0) & after_birth(given)).sum(0).tolist() == [4, 0, 2]


def test_only_places_where_the_tracker_is_right_count() -> None:
    given = tracks()
    shifted = given.xy.copy()
    shifted[3:, 0, 0] += 1.01
    shifted[:, 1, 1] += 0.99
    assert measurable(given, Tracks(shifted, given.visible)).sum(0).tolist() == [2, 4, 2]


def test_distance_is_in_pixels() -> None:
    given = tracks()
    other = Tracks(given.xy + np.array([3.0, 4.0]), given.visible)
    np.testing.assert_allclose(distance(given, other), 5, rtol=1e-6)
    with pytest.raises(ValueError, match="send two alike"):
        distance(given, given.slice(0, 3))


def test_a_turned_track_is_as_fast_and_never_right() -> None:
    given = tracks()
    false = turned(given)
    steps = [np.linalg.norm(np.diff(one.xy, axis=0), axis=-1) for one in (given, false)]
    np.testing.assert_allclose(*steps, rtol=1e-6)
    apart = distance(given, false)[after_birth(given)]
    home = given.xy[births(given), np.arange(3)]
    travelled = np.linalg.norm(given.xy - home, axis=-1)[after_birth(given)]
    np.testing.assert_allclose(apart, np.sqrt(2) * travelled, rtol=1e-6)


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    model = LpipsNetwork()
    for layer in model.lin:
        layer.weight.data.abs_()
    save_file(model.state_dict(), tmp_path / "lpips.safetensors")
    return tmp_path / "lpips.safetensors"


def test_lpips_reads_its_names_and_orders_pictures(weights: Path) -> None:
    model = LpipsNetwork.load(weights)
    noise = RNG.normal(0, 1, VIDEO.shape)
    little, much = ((VIDEO + s * noise).clip(0, 255).astype(np.uint8) for s in (5, 60))
    assert model.video(VIDEO, VIDEO) == 0
    assert 0 < model.video(little, VIDEO) < model.video(much, VIDEO)


def test_lpips_can_be_a_loss(weights: Path) -> None:
    made = torch.rand(2, 3, 40, 48, requires_grad=True)
    loss = LpipsNetwork.load(weights)(made, torch.zeros_like(made))
    assert loss.shape == (2,)
    loss.sum().backward()
    assert made.grad is not None
    assert made.grad.abs().sum() > 0


def test_lpips_refuses_other_files_and_sizes(weights: Path, tmp_path: Path) -> None:
    (tmp_path / "text").write_text("hello")
    with pytest.raises(ValueError, match="not a safetensors file"):
        LpipsNetwork.load(tmp_path / "text")
    save_file({"lin.0.weight": torch.zeros(1, 64, 1, 1)}, tmp_path / "part")
    with pytest.raises(ValueError, match="not the LPIPS weights"):
        LpipsNetwork.load(tmp_path / "part")
    with pytest.raises(ValueError, match="32 pixels"):
        LpipsNetwork.load(weights)(torch.zeros(1, 3, 31, 64), torch.zeros(1, 3, 31, 64))
