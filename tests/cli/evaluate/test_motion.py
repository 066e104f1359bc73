"""`motionstream evaluate motion` on real clips, from end to end on a small model."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tests.cli.program import ASSETS

from motionstream import cli, errors

pytest.importorskip("cv2", reason="the tracker needs OpenCV (extra: evaluate)")
pytest.importorskip("torchmetrics", reason="PSNR and SSIM need torchmetrics (extra: evaluate)")


def test_motion_is_measured_on_held_out_worlds(folder: Path) -> None:
    arguments = ["evaluate", "motion", "--assets", str(ASSETS), "-m", str(folder), "--clips", "2"]
    arguments += ["--frames", "9", "--controls", "dense, 5"]
    assert cli.run([*arguments, "--json", "motion.json", "--sheet", "motion.png"]) == errors.DONE
    figures = json.loads(Path("motion.json").read_text())
    assert (figures["model"], figures["split"], figures["clips"]) == (str(folder), "heldout", 2)
    assert figures["dense"]["warp"]["psnr_db"] > figures["dense"]["model"]["psnr_db"], "it is untrained"
    assert {row["control"] for row in figures["per_clip"]} == {"dense", "5"}
    assert (figures["data"], figures["missing"], figures["tracker"]["clips"]) == ("worlds", ["lpips"], 2)
    with Image.open("motion.png") as sheet:
        assert sheet.width > 64


def save_clip(folder: Path, count: int) -> None:
    """A smooth texture that moves, as numbered frames."""
    folder.mkdir(parents=True)
    texture = np.random.default_rng(1).integers(0, 256, (12, 40, 3)).astype(np.uint8)
    field = np.asarray(Image.fromarray(texture).resize((160, 48), Image.Resampling.BICUBIC))
    for number in range(count):
        Image.fromarray(field[:, 40 - number : 104 - number]).save(folder / f"{number:05d}.png")


def test_motion_is_measured_on_real_clips(folder: Path) -> None:
    save_clip(Path("clips/kite"), 10)
    save_clip(Path("clips/blink"), 4)
    arguments = ["evaluate", "motion", "-d", "clips", "-m", str(folder), "--grid", "8x6", "--controls", "dense,5"]
    arguments += ["--resume-file", "run.jsonl", "--sheet", "worst.png", "--worst", "1", "--videos", "side"]
    assert cli.run([*arguments, "--json", "motion.json"]) == errors.DONE
    figures = json.loads(Path("motion.json").read_text())
    assert (figures["data"], figures["clips"], figures["frames"], figures["size"]) == ("clips", 1, 9, "64x48")
    assert [each["name"] for each in figures["skipped"]] == ["blink"]
    assert figures["tracker"] is None
    assert figures["dense"]["still"]["epe_px"] > 2
    assert "uncovered_psnr_db" not in figures["dense"]["model"]
    assert Path("worst.png").is_file()
    assert Path("side/kite.mp4").is_file()
    written = Path("run.jsonl").read_text()
    assert cli.run([*arguments, "--json", "again.json"]) == errors.DONE
    assert Path("run.jsonl").read_text() == written, "nothing was measured twice"
    assert json.loads(Path("again.json").read_text()) == figures
