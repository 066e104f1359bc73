"""The tracker finds known motion, forgets what is hidden, and does not take light for motion."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

from motionstream.trackers.lucas_kanade import Settings, track, tracker

pytest.importorskip("cv2", reason="the tracker needs OpenCV (extra: evaluate)")

Video = npt.NDArray[np.uint8]
SIDE, FRAMES = 96, 17
QUERIES = np.stack(np.meshgrid(np.arange(24, 73, 12), np.arange(24, 73, 12)), -1).reshape(-1, 2) + 0.5


def texture(x: npt.NDArray[np.float64], y: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """A smooth picture without end, 0…255, at any coordinates."""
    waves = [(0.31, 0.12, 0.4), (-0.17, 0.26, 1.3), (0.08, -0.41, 2.2), (0.52, 0.37, 0.1), (0.11, 0.19, 4.0)]
    return 128 + 24 * np.sum([np.sin(a * x + b * y + c) for a, b, c in waves], axis=0)


def moving(path: npt.NDArray[np.float64], light: npt.NDArray[np.float64] | None = None) -> Video:
    """(F, 2) displacement → a video of the texture moved by it, with a light a frame."""
    y, x = np.mgrid[:SIDE, :SIDE] + 0.5
    frames = [texture(x - dx, y - dy) for dx, dy in path]
    lit = np.stack(frames) * (1 if light is None else light[:, None, None])
    return np.repeat(lit.clip(0, 255).round().astype(np.uint8)[..., None], 3, -1)


def errors(video: Video, path: npt.NDArray[np.float64], settings: Settings | None = None) -> npt.NDArray[np.float64]:
    found = tracker(settings or Settings()).track(video, QUERIES)
    return np.linalg.norm(found.xy - (QUERIES + path[:, None]), axis=-1)


TURN = np.stack([8 * np.sin(np.arange(FRAMES) / 4), 0.5 * np.arange(FRAMES)], -1)


def test_known_motion_is_found_to_a_fifth_of_a_pixel() -> None:
    assert errors(moving(TURN), TURN).max() < 0.2


def test_standing_still_is_not_mistaken_for_that_motion() -> None:
    still = np.zeros_like(TURN)
    assert errors(moving(still), TURN)[-1].min() > 3


def test_a_falling_light_is_not_motion() -> None:
    light = np.linspace(1, 0.4, FRAMES)
    assert errors(moving(TURN, light), TURN).max() < 0.3


def test_settling_on_the_patch_of_birth_keeps_from_drifting() -> None:
    rng = np.random.default_rng(0)
    long = np.cumsum(rng.normal(0, 0.7, (60, 2)), 0)
    long -= long[0]
    noisy = moving(long).astype(np.float64) + rng.normal(0, 10, (60, SIDE, SIDE, 1))
    video = noisy.clip(0, 255).astype(np.uint8)
    drifting = errors(video, long, Settings(settle=0))[-10:].mean()
    settled = errors(video, long)[-10:].mean()
    assert settled < 0.7 * drifting


def test_hidden_points_are_lost() -> None:
    video = moving(np.zeros_like(TURN))
    noise = np.random.default_rng(0).integers(0, 255, (FRAMES, SIDE, 48, 3), dtype=np.uint8)
    video[8:, :, :48] = noise[8:]
    found = track(video, QUERIES)
    left = QUERIES[:, 0] < 36
    assert found.visible[:8].all()
    assert found.visible[-1, left].mean() < 0.1
    assert found.visible[-1, QUERIES[:, 0] > 60].all()


def test_points_that_leave_the_frame_are_invisible() -> None:
    away = np.stack([np.arange(FRAMES) * 3.0, np.zeros(FRAMES)], -1)
    found = track(moving(away), np.array([[80.5, 48.5], [20.5, 48.5]]))
    assert not found.visible[8:, 0].any()
    assert found.visible[8, 1]


def test_points_can_be_born_later() -> None:
    births = np.arange(len(QUERIES)) % FRAMES
    found = track(moving(TURN), QUERIES, births)
    assert (found.visible.argmax(0) == births).all()
    path = TURN[:, None] - TURN[births]
    assert np.linalg.norm(found.xy - (QUERIES + path), axis=-1)[found.visible].max() < 0.2


def test_frames_one_by_one_are_the_same_as_the_whole() -> None:
    video = moving(TURN)
    whole = track(video, QUERIES)
    for number, (xy, kept) in enumerate(tracker().track_frames(iter(video), QUERIES)):
        np.testing.assert_array_equal(xy, whole.xy[number])
        np.testing.assert_array_equal(kept, whole.visible[number])
    assert number == FRAMES - 1


@pytest.mark.parametrize(
    ("video", "queries", "births"),
    [
        (np.zeros((3, 32, 32), np.uint8), QUERIES, None),
        (np.zeros((3, 32, 32, 3), np.float32), QUERIES, None),
        (np.zeros((0, 32, 32, 3), np.uint8), QUERIES, None),
        (np.zeros((3, 32, 32, 3), np.uint8), QUERIES[:, 0], None),
        (np.zeros((3, 32, 32, 3), np.uint8), QUERIES, np.full(len(QUERIES), 3)),
        (np.zeros((3, 32, 32, 3), np.uint8), np.full((1, 2), np.nan), None),
    ],
)
def test_wrong_shapes_are_refused(video: Video, queries: npt.NDArray[np.float64], births: object) -> None:
    with pytest.raises(ValueError, match=r"send|one frame number"):
        track(video, queries, births)  # type: ignore[arg-type]
