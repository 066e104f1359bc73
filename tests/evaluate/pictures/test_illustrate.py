"""Sheets and videos of the clips that are wanted."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.evaluate.discs import FRAMES, HEIGHT, SOURCES, WIDTH

from motionstream.evaluate.baselines import still
from motionstream.evaluate.motion import examples
from motionstream.evaluate.pictures.illustrate import Pictures
from motionstream.stream.video import read_video

pytest.importorskip("cv2", reason="the tracker needs OpenCV (extra: evaluate)")

pytest.importorskip("torchmetrics", reason="PSNR and SSIM need torchmetrics (extra: evaluate)")


def test_pictures_are_made_of_those_clips_that_are_wanted(tmp_path: Path) -> None:
    assert Pictures().needed(SOURCES) == []
    assert Pictures(drawn=["clip 1"]).needed(SOURCES) == []
    worst = Pictures(tmp_path / "worst.png", ["clip 1"])
    assert worst.needed(SOURCES) == SOURCES[1:]
    worst.take(examples(still, SOURCES[1:]), 24)
    every = Pictures(tmp_path / "sheet.png", ["clip 1"], tmp_path / "side")
    assert every.needed(SOURCES) == SOURCES
    every.take(examples(still, SOURCES), 12)
    assert (tmp_path / "worst.png").read_bytes() == (tmp_path / "sheet.png").read_bytes()
    assert [file.name for file in sorted((tmp_path / "side").iterdir())] == ["clip 0.mp4", "clip 1.mp4"]
    video, fps = read_video(tmp_path / "side" / "clip 0.mp4")
    assert (video.shape, fps) == ((FRAMES, HEIGHT, 3 * WIDTH, 3), 12)
