"""`motionstream evaluate long` from end to end on a small model, and wrong input."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from motionstream import cli, errors

pytest.importorskip("cv2", reason="the tracker needs OpenCV (extra: evaluate)")
pytest.importorskip("torchmetrics", reason="PSNR and SSIM need torchmetrics (extra: evaluate)")


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    pixels = np.random.default_rng(0).integers(0, 256, (48, 64, 3)).astype(np.uint8)
    Image.fromarray(pixels).save(tmp_path / "boat.png")
    return tmp_path / "boat.png"


def complaint(capsys: pytest.CaptureFixture[str], arguments: list[str]) -> str:
    assert cli.run(arguments) == errors.WRONG_INPUT
    said = capsys.readouterr().err
    assert said.startswith("motionstream: ")
    assert said.count("\n") == 1, said
    return said


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
        ([], "Missing argument 'pictures'"),
        (["nowhere.png"], "nowhere.png: No such file"),
        (["words.txt"], "words.txt: not a picture"),
        (["words.txt", "--frames", "50"], "'--frames'"),
        (["words.txt", "--every", "150"], "multiple of 100"),
        (["words.txt", "--plot", "long.pdf"], "ends in .png"),
        (["boat.png", "boat.png"], "same name"),
        (["boat.png", "--variants", "c1"], "such as c1s3w3"),
        (["boat.png", "--variants", "c1s1w1", "--sink", "0"], "leave out"),
        (["boat.png", "--patterns", "dancing"], "use moving, idle"),
    ],
)
def test_wrong_input_is_one_line_and_two(
    folder: Path, picture: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], says: str
) -> None:
    Path("words.txt").write_text("not a picture")
    assert says in complaint(capsys, ["evaluate", "long", *arguments, "--model", str(folder)])


def test_an_unknown_model_is_named(capsys: pytest.CaptureFixture[str], picture: Path) -> None:
    assert "no model named 'huge'" in complaint(capsys, ["evaluate", "long", "boat.png", "--model", "huge"])
