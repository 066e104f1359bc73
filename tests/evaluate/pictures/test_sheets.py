"""Contact sheets of examples, and videos of the clips that are wanted."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tests.evaluate.discs import FRAMES, HEIGHT, SOURCES, WIDTH, perfect

from motionstream.evaluate.baselines import still
from motionstream.evaluate.motion import examples
from motionstream.evaluate.pictures import sheets
from motionstream.stream.video import read_video
from motionstream.tracks import Tracks

pytest.importorskip("cv2", reason="the tracker needs OpenCV (extra: evaluate)")

pytest.importorskip("torchmetrics", reason="PSNR and SSIM need torchmetrics (extra: evaluate)")


def test_a_sheet_has_a_row_for_each_video(tmp_path: Path) -> None:
    shown = list(examples(perfect, SOURCES[:1]))
    assert [(each.name, list(each.videos)) for each in shown] == [("clip 0", ["true", "model", "warp"])]
    sheets.draw(shown, tmp_path / "sheet.png", columns=3)
    with Image.open(tmp_path / "sheet.png") as sheet:
        assert sheet.width == 3 * (WIDTH + sheets.GAP)
        assert sheet.height > 3 * HEIGHT
        drawn = np.asarray(sheet)
    sheets.draw([replace(shown[0], tracks=Tracks.empty(FRAMES))], tmp_path / "plain.png", columns=3)
    assert (drawn != np.asarray(Image.open(tmp_path / "plain.png"))).any(-1).sum() > 50
    with pytest.raises(ValueError, match="no examples"):
        sheets.draw([], tmp_path / "none.png")


def test_pictures_are_made_of_those_clips_that_are_wanted(tmp_path: Path) -> None:
    assert sheets.Pictures().needed(SOURCES) == []
    assert sheets.Pictures(drawn=["clip 1"]).needed(SOURCES) == []
    worst = sheets.Pictures(tmp_path / "worst.png", ["clip 1"])
    assert worst.needed(SOURCES) == SOURCES[1:]
    worst.take(examples(still, SOURCES[1:]), 24)
    every = sheets.Pictures(tmp_path / "sheet.png", ["clip 1"], tmp_path / "side")
    assert every.needed(SOURCES) == SOURCES
    every.take(examples(still, SOURCES), 12)
    assert (tmp_path / "worst.png").read_bytes() == (tmp_path / "sheet.png").read_bytes()
    assert [file.name for file in sorted((tmp_path / "side").iterdir())] == ["clip 0.mp4", "clip 1.mp4"]
    video, fps = read_video(tmp_path / "side" / "clip 0.mp4")
    assert (video.shape, fps) == ((FRAMES, HEIGHT, 3 * WIDTH, 3), 12)
