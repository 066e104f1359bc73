"""Generators: a model of the public contract, and the warp of the first frame."""

from __future__ import annotations

import numpy as np
import pytest
from tests.evaluate.discs import CLIPS, HEIGHT, WIDTH, texture

from motionstream.evaluate.baselines import by_model, still, warp
from motionstream.evaluate.metrics import Video
from motionstream.tracks import Tracks

pytest.importorskip("cv2", reason="the tracker needs OpenCV (extra: evaluate)")

pytest.importorskip("torchmetrics", reason="PSNR and SSIM need torchmetrics (extra: evaluate)")


def test_a_model_of_the_public_contract_generates() -> None:
    class Stream:
        def __init__(self, image: Video) -> None:
            self.image, self.chunks = image, 0

        @property
        def chunk_frames(self) -> int:
            return 4 if self.chunks else 1

        def step(self, tracks: Tracks | None) -> Video:
            assert tracks is not None
            made = still(self.image, tracks)
            self.chunks += 1
            return made

    class Model:
        def open(self, image: Video, prompt: str, seed: int) -> Stream:
            assert (prompt, seed) == ("a disc", 3)
            return Stream(image)

    made = by_model(Model())(CLIPS[0].video[0], CLIPS[0].tracks, "a disc", 3)
    np.testing.assert_array_equal(made, still(CLIPS[0].video[0], CLIPS[0].tracks))


def test_the_warp_moves_pixels_as_far_as_the_points() -> None:
    y, x = np.mgrid[:HEIGHT, :WIDTH] + 0.5
    whole = [texture(x - 2 * frame, y + frame, 5).clip(0, 255).round().astype(np.uint8) for frame in range(5)]
    grid = np.stack(np.meshgrid(np.arange(4, WIDTH, 8), np.arange(4, HEIGHT, 8)), -1).reshape(1, -1, 2)
    moved = Tracks(grid + np.arange(5)[:, None, None] * np.array([2.0, -1.0]), np.ones((5, grid.shape[1]), bool))
    made = warp(whole[0], moved)
    np.testing.assert_array_equal(made[0], whole[0])
    middle = (slice(16, -16), slice(16, -16))
    apart = np.abs(made[4][middle].astype(int) - whole[4][middle]).mean()
    standing = np.abs(whole[0][middle].astype(int) - whole[4][middle]).mean()
    assert apart < 0.2 * standing
    np.testing.assert_array_equal(warp(whole[0], Tracks.empty(3)), still(whole[0], Tracks.empty(3)))
