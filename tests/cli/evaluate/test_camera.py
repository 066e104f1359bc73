"""`motionstream evaluate camera` from end to end on a small model."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from PIL import Image

from motionstream import cli, errors

pytest.importorskip("cv2", reason="the tracker needs OpenCV (extra: evaluate)")
pytest.importorskip("torchmetrics", reason="PSNR and SSIM need torchmetrics (extra: evaluate)")

ASSETS = Path(__file__).parents[2] / "data" / "assets"


def test_synthetic_scenes_are_measured_drawn_and_resumed(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["evaluate", "camera", "--assets", str(ASSETS), "-m", str(folder), "--count", "2", "--frames", "9"]
    arguments += ["--grid", "8x6", "--resume-file", "r.jsonl", "--json", "camera.json", "--sheet", "camera.png"]
    assert cli.run(arguments) == errors.DONE
    figures = json.loads(Path("camera.json").read_text())
    assert (figures["scenes"], figures["data"], figures["depth"], figures["grid"]) == (2, "scenes", "plane", "8x6")
    assert len(figures["model_hash"]) == 12
    assert figures["true_depth"]["warp"]["psnr_db"] > figures["true_depth"]["model"]["psnr_db"], "it is untrained"
    with Image.open("camera.png") as sheet:
        assert sheet.width > 4 * 64
    assert cli.run(arguments) == errors.DONE
    assert "not drawn" in capsys.readouterr().err
    assert json.loads(Path("camera.json").read_text()) == figures
