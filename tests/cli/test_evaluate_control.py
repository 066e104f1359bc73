"""`motionstream evaluate text` on a small model: a good run, and wrong input."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tests.cli.program import ASSETS, error_line

from motionstream import cli, errors

pytest.importorskip("cv2", reason="the tracker needs OpenCV (extra: evaluate)")


def test_text_figures_are_written(folder: Path) -> None:
    arguments = ["evaluate", "text", "--assets", str(ASSETS), "-m", str(folder), "--clips", "1", "--probe-clips", "2"]
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
        (["text", "--assets", str(ASSETS), "--frames", "9"], "'--frames'"),
        (["text", "--assets", str(ASSETS), "--split", "sunday"], "sunday"),
    ],
)
def test_wrong_input_is_one_line_and_two(
    folder: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], says: str
) -> None:
    assert says in error_line(capsys, ["evaluate", *arguments, "--model", str(folder)])
