"""`motionstream evaluate text` on a small model: a good run, and wrong input."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tests.small import small_model, small_vae

from motionstream import cli, errors, model_folder
from motionstream.tiny import bundle

pytest.importorskip("cv2", reason="the tracker needs OpenCV (extra: evaluate)")

ASSETS = str(Path(__file__).parent / "data" / "assets")
LIVE = model_folder.Live((64, 48), 24.0, chunk=1, sink=1, window=1, steps=1, shift=3.0)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model")
    bundle.save_bundle(folder, "small", small_model(), small_vae(), LIVE, origin={})
    return folder


@pytest.fixture(autouse=True)
def elsewhere(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("MOTIONSTREAM_DEBUG", "")
    monkeypatch.chdir(tmp_path)


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
