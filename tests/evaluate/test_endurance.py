"""A stream that holds scores as holding; one that blurs, fades or drifts is seen to."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from motionstream.evaluate.endurance import SCENES, evaluate_endurance

SIZE = (64, 48)
RNG = np.random.default_rng(0)
PICTURE = RNG.integers(40, 200, (48, 64, 3)).astype(np.uint8)


class Fading:
    """A stream that shows its picture, changed by `change(frame number)`."""

    size = SIZE
    chunk_frames = 4

    def __init__(self, change: Any) -> None:
        self.change, self.done = change, 0

    def step(self, tracks: Any) -> np.ndarray:
        assert tracks.frames == self.chunk_frames
        frames = [self.change(PICTURE.astype(np.float32), self.done + i) for i in range(4)]
        self.done += 4
        return np.clip(np.stack(frames), 0, 255).astype(np.uint8)


def _figures(change: Any) -> dict[str, Any]:
    model: Any = SimpleNamespace(open=lambda picture: Fading(change))
    figures, rows = evaluate_endurance(model, {"noise": PICTURE}, frames=240)
    assert set(rows) == {f"noise, {name}" for name in SCENES}
    scenes: dict[str, Any] = figures["scenes"]
    return scenes


def test_a_still_picture_is_kept_whole() -> None:
    for scene in _figures(lambda picture, _: picture).values():
        assert scene["sharpness_kept"] == pytest.approx(1)
        assert scene["contrast_kept"] == pytest.approx(1)
        assert scene["colour_drift"] == 0


def test_blur_shows_as_lost_sharpness() -> None:
    def blurred(picture: np.ndarray, frame: int) -> np.ndarray:
        mean = picture.mean((0, 1), keepdims=True)
        return picture + (mean - picture) * min(0.9, frame / 240)

    for scene in _figures(blurred).values():
        assert scene["sharpness_kept"] < 0.5
        assert scene["contrast_kept"] < 0.5


def test_a_tint_shows_as_colour_drift() -> None:
    def tinted(picture: np.ndarray, frame: int) -> np.ndarray:
        return picture + np.array([frame / 8, 0, 0], np.float32)

    for scene in _figures(tinted).values():
        assert scene["colour_drift"] > 10
