"""`motionstream evaluate`: a good run of each command on a small model, and wrong input."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tests.cli.program import ASSETS, error_line

from motionstream import cli, errors


def test_motion_is_measured_on_held_out_worlds(folder: Path) -> None:
    arguments = ["evaluate", "motion", "--assets", str(ASSETS), "-m", str(folder), "--clips", "2"]
    arguments += ["--frames", "9", "--controls", "dense, 5"]
    assert cli.run([*arguments, "--json", "motion.json", "--sheet", "motion.png"]) == errors.DONE
    figures = json.loads(Path("motion.json").read_text())
    assert (figures["model"], figures["split"], figures["clips"]) == (str(folder), "heldout", 2)
    assert figures["dense"]["warp"]["psnr_db"] > figures["dense"]["model"]["psnr_db"], "it is untrained"
    assert {row["control"] for row in figures["per_clip"]} == {"dense", "5"}
    assert (figures["layout"], figures["missing"], figures["tracker"]["clips"]) == ("worlds", ["lpips"], 2)
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
    assert (figures["layout"], figures["clips"], figures["frames"], figures["size"]) == ("clips", 1, 9, "64x48")
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


def test_long_streams_are_measured_and_drawn(folder: Path, picture: Path) -> None:
    arguments = ["evaluate", "long", str(picture), "-m", str(folder), "--frames", "100", "--every", "100"]
    files = ["--json", "long.json", "--sheet", "sheet.png", "--plot", "plot.png", "--resume-file", "long.jsonl"]
    assert cli.run([*arguments, *files, "--patterns", "idle,moving", "--variants", "c3s3w3,c3s0w3"]) == errors.DONE
    figures = json.loads(Path("long.json").read_text())
    assert (figures["frames"], figures["pictures"], figures["missing"]) == (100, 1, ["lpips"])
    assert len(figures["model_hash"]) == 12
    for sizes in ("c3s3w3", "c3s0w3"):
        assert set(figures[sizes]) == set(figures["curves"][sizes]) == {"idle", "moving"}
        assert all(scene["sharpness_vs_100"] == 1 for scene in figures[sizes].values())
    assert len(Path("long.jsonl").read_text().splitlines()) == 5
    with Image.open("sheet.png") as sheet:
        assert sheet.height > 4 * 48
    with Image.open("plot.png") as plot:
        assert plot.width > 500
    assert cli.run([*arguments, "--json", "own.json", "--patterns", "idle", "--sink", "1"]) == errors.DONE
    assert set(json.loads(Path("own.json").read_text())["curves"]) == {"c3s1w3"}


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["evaluate", "long"], "Missing argument 'pictures'"),
        (["evaluate", "long", "nowhere.png"], "nowhere.png: No such file"),
        (["evaluate", "long", "words.txt"], "words.txt: not a picture"),
        (["evaluate", "long", "words.txt", "--frames", "50"], "'--frames'"),
        (["evaluate", "long", "words.txt", "--every", "150"], "multiple of 100"),
        (["evaluate", "long", "words.txt", "--plot", "long.pdf"], "ends in .png"),
        (["evaluate", "long", "boat.png", "boat.png"], "same name"),
        (["evaluate", "long", "boat.png", "--variants", "c1"], "such as c1s3w3"),
        (["evaluate", "long", "boat.png", "--variants", "c1s1w1", "--sink", "0"], "leave out"),
        (["evaluate", "long", "boat.png", "--patterns", "dancing"], "use moving, idle"),
    ],
)
def test_wrong_input_is_one_line_and_two(
    folder: Path, picture: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], says: str
) -> None:
    Path("words.txt").write_text("not a picture")
    assert says in error_line(capsys, [*arguments, "--model", str(folder)])


def test_an_unknown_model_is_named(capsys: pytest.CaptureFixture[str], picture: Path) -> None:
    assert "no model named 'huge'" in error_line(capsys, ["evaluate", "long", "boat.png", "--model", "huge"])
