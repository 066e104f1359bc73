"""Motion-to-photon latency of pictures that follow the pointer, follow late, or stand still."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

from motionstream.evaluate.live.motion_to_photon import MOVED, MotionToPhotonProbe, displacement
from motionstream.evaluate.live.session import textured_picture
from motionstream.tracks.events import GridDown, Move

SIZE = (256, 144)


def picture(dx: int, dy: int, size: tuple[int, int] = SIZE) -> npt.NDArray[np.uint8]:
    return np.roll(textured_picture(size), (dy, dx), (0, 1))


def dragged(delay: int, size: tuple[int, int] = SIZE, scale: int = 1) -> list[float | None]:
    """Reactions to a pointer that moves two pixels a frame, in a picture that follows `delay` frames later."""
    probe = MotionToPhotonProbe(size[0])
    probe.pointer(GridDown("a", 128 * scale, 72 * scale, time=0), 0.0, picture(0, 0, size))
    for frame in range(1, 12):
        gone = 2 * scale * frame
        probe.pointer(Move("a", 128 * scale + gone, 72 * scale), frame / 24, picture(0, 0, size))
        probe.shown(picture(max(0, gone - 2 * scale * delay), 0, size), frame / 24)
    return probe.reactions()


@pytest.mark.parametrize("delay", [0, 3])
def test_the_lag_of_the_picture_behind_the_pointer_is_found(delay: int) -> None:
    assert MOVED == 4, "two frames of this pointer"
    assert dragged(delay) == [pytest.approx(delay / 24)]


def test_frames_of_larger_models_are_judged_alike() -> None:
    assert dragged(3, (768, 432), 3) == [pytest.approx(3 / 24)]


def test_a_picture_that_does_not_follow_is_seen_to_stand() -> None:
    assert dragged(100) == [None]


def test_a_flat_picture_and_a_pointer_at_rest_are_not_measured() -> None:
    flat, probe = np.full((144, 256, 3), 90, np.uint8), MotionToPhotonProbe(256)
    probe.pointer(GridDown("flat", 50, 50), 0.0, flat)
    probe.pointer(Move("flat", 80, 50), 0.1, flat)
    probe.pointer(GridDown("rest", 90, 70), 0.0, picture(0, 0))
    probe.pointer(Move("rest", 91, 70), 0.1, picture(0, 0))
    probe.pointer(GridDown("before the first frame", 90, 70), 0.0, None)
    probe.pointer(Move("before the first frame", 120, 70), 0.1, picture(0, 0))
    probe.shown(flat, 0.2)
    assert probe.reactions() == []


def test_a_place_at_the_border_is_found_too() -> None:
    probe = MotionToPhotonProbe(256)
    before, after = (probe._near(picture(dx, dy), (12, 130)) for dx, dy in ((0, 0), (7, -5)))
    assert displacement(before, after) == (7, -5)
    probe.pointer(GridDown("cut off", 3, 70), 0.0, picture(0, 0))
    probe.pointer(Move("cut off", 30, 70), 0.1, picture(0, 0))
    assert probe.reactions() == [], "half of what it holds is not there to be compared"


def test_noise_is_no_movement() -> None:
    probe, rng = MotionToPhotonProbe(256), np.random.default_rng(0)
    noisy = np.clip(picture(0, 0) + rng.normal(0, 12, (144, 256, 3)), 0, 255).astype(np.uint8)
    assert displacement(probe._near(picture(0, 0), (128, 72)), probe._near(noisy, (128, 72))) == (0, 0)
