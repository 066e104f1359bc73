"""`motionstream evaluate text` on a small model: a good run, and wrong input."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from motionstream import cli, errors

pytest.importorskip("cv2", reason="the tracker needs OpenCV (extra: evaluate)")

ASSETS = str(Path(__file__).parents[2] / "data" / "assets")


def test_text_figures_are_written(folder: Path) -> None:
    arguments = ["evaluate", "text", "--assets", ASSETS, "-m", str(folder), "--clips", "1", "--probe-clips", "2"]
    arguments += ["--frames", "17", "--points", "20", "--resume-file", "t.jsonl"]
    assert cli.run([*arguments, "--json", "t.json", "--sheet", "t.png"]) == errors.DONE
    figures = json.loads(Path("t.json").read_text())
    assert (figures["worlds"], figures["probe_worlds"], figures["chance"]) == (1, 2, 0.125)
    assert 0 <= figures["scores"]["model"]["recognised"] <= 1
    assert figures["scores"]["model"]["midstream_recognised"] is not None
    assert {"model_hash", "machine", "date", "probe"} <= set(figures)
    assert Path("t.png").is_file()


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["text", "--assets", "nowhere"], "no assets folder at nowhere"),
        (["text", "--assets", ASSETS, "--frames", "9"], "'--frames'"),
        (["text", "--assets", ASSETS, "--split", "sunday"], "sunday"),
    ],
)
def test_wrong_input_is_one_line_and_two(
    folder: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], says: str
) -> None:
    assert cli.run(["evaluate", *arguments, "--model", str(folder)]) == errors.WRONG_INPUT
    said = capsys.readouterr().err
    assert says in said
    assert said.count("\n") == 1, said
