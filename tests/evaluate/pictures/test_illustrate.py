"""Sheets, videos and other packages' measures of the clips that are wanted."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.evaluate.discs import FRAMES, HEIGHT, SOURCES, WIDTH

from motionstream.evaluate.baselines import still
from motionstream.evaluate.metrics import Video
from motionstream.evaluate.motion import examples
from motionstream.evaluate.pictures.illustrate import Pictures
from motionstream.stream.video import read_video

pytest.importorskip("cv2", reason="the tracker needs OpenCV (extra: evaluate)")

pytest.importorskip("torchmetrics", reason="PSNR and SSIM need torchmetrics (extra: evaluate)")


class Counting:
    """A measure of another package: how many clips, and how bright."""

    name = "brightness"

    def __init__(self) -> None:
        self.seen: list[tuple[str, float]] = []

    def add(self, name: str, made: Video, true: Video, fps: float) -> None:
        self.seen.append((name, fps))

    def figures(self) -> tuple[dict[str, object], list[str]]:
        return {"brightness": len(self.seen)}, ["brightness.colour"]


def test_pictures_are_made_of_those_clips_that_are_wanted(tmp_path: Path) -> None:
    assert Pictures().needed(SOURCES) == []
    assert Pictures(drawn=["clip 1"]).needed(SOURCES) == []
    worst = Pictures(tmp_path / "worst.png", ["clip 1"])
    assert worst.needed(SOURCES) == SOURCES[1:]
    assert worst.take(examples(still, SOURCES[1:]), 24) == ({}, [])
    measure = Counting()
    every = Pictures(tmp_path / "sheet.png", ["clip 1"], tmp_path / "side", [measure])
    assert every.needed(SOURCES) == SOURCES
    assert every.take(examples(still, SOURCES), 12) == ({"brightness": 2}, ["brightness.colour"])
    assert measure.seen == [("clip 0", 12), ("clip 1", 12)]
    assert (tmp_path / "worst.png").read_bytes() == (tmp_path / "sheet.png").read_bytes()
    video, fps = read_video(tmp_path / "side" / "clip 0.mp4")
    assert (video.shape, fps) == ((FRAMES, HEIGHT, 3 * WIDTH, 3), 12)
