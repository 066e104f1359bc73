"""`motionstream evaluate camera` from end to end on a small model folder."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from PIL import Image
from tests.cli.program import ASSETS
from tests.evaluate.views.llff_folder import write

from motionstream import cli, errors
from motionstream.data.assets import AssetLibrary
from motionstream.data.scenes import CameraScenes

pytest.importorskip("cv2", reason="the tracker needs OpenCV (extra: evaluate)")
pytest.importorskip("torchmetrics", reason="PSNR and SSIM need torchmetrics (extra: evaluate)")


def test_synthetic_scenes_are_measured_drawn_and_resumed(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["evaluate", "camera", "--assets", str(ASSETS), "-m", str(folder), "--count", "2", "--frames", "9"]
    arguments += ["--grid", "8x6", "--journal", "j.jsonl", "--json", "camera.json", "--sheet", "camera.png"]
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


def test_llff_is_measured(folder: Path) -> None:
    write(Path("llff/fern"), CameraScenes(AssetLibrary(ASSETS), (96, 64), 9, seed=1).scene(0), range(9))
    arguments = ["evaluate", "camera", "--data", "llff", "-m", str(folder), "--frames", "5", "--pairs", "1"]
    arguments += ["--grid", "8x6", "--compare-at", "128x96", "--json", "llff.json", "--sheet", "llff.png"]
    assert cli.run(arguments) == errors.DONE
    figures = json.loads(Path("llff.json").read_text())
    assert (figures["size"], figures["compared_at"], figures["paper_size"]) == ("64x48", "128x96", False)
    assert figures["skipped"] == {}
    assert Path("llff.png").exists()
