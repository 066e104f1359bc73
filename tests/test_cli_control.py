"""The commands that tell control from luck, on a small model: a good run each, and wrong input."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from PIL import Image
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


def test_counterfactual_figures_are_written_and_go_on(folder: Path) -> None:
    arguments = ["evaluate", "counterfactual", "--assets", ASSETS, "-m", str(folder), "--clips", "2", "--frames", "9"]
    arguments += ["--control", "dense", "--journal", "j.jsonl"]
    assert cli.run([*arguments, "--json", "c.json", "--sheet", "c.png"]) == errors.DONE
    figures = json.loads(Path("c.json").read_text())
    assert (figures["clips"], figures["control"], figures["split"]) == (2, "dense", "heldout")
    assert len(figures["model_hash"]) == 12
    assert {"machine", "date", "tracker"} <= set(figures)
    assert set(figures["scores"]) == {"model", "warp", "still"}
    with Image.open("c.png") as sheet:
        assert sheet.height > 2 * 6 * 2 * 48
    before = Path("j.jsonl").read_text()
    assert cli.run([*arguments, "--json", "again.json"]) == errors.DONE
    assert Path("j.jsonl").read_text() == before
    assert json.loads(Path("again.json").read_text()) == figures


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
        (["counterfactual", "--assets", "nowhere"], "no assets folder at nowhere"),
        (["counterfactual", "--assets", ASSETS, "--control", "mouse"], "use dense, object, hand"),
        (["counterfactual", "--assets", ASSETS, "--frames", "10"], "10 frames"),
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


def test_another_journal_is_refused(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("j.jsonl").write_text('{"key": {"evaluation": "motion"}}\n')
    arguments = ["evaluate", "counterfactual", "--assets", ASSETS, "-m", str(folder), "--journal", "j.jsonl"]
    assert cli.run(arguments) == errors.WRONG_INPUT
    assert "the journal of another evaluation" in capsys.readouterr().err
