"""The README quotes at most ten figures, all of the weights that ship, and nothing else."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from benchmarks.__main__ import app
from benchmarks.report import readme
from benchmarks.report.readme import BEGIN, END
from motionstream import cli, errors, zoo

ROOT = Path(__file__).parents[3]
WEIGHTS = "0123456789ab"
STAMP = {"model": "tiny", "model_hash": WEIGHTS, "machine": {"processor": "Some CPU", "cores": 2, "gpu": "none"}}
LIVE = {**STAMP, "seconds": 60, "fps": 31.41592, "gesture_to_frame_ms": {"p50": 150.0, "p95": 240.5}}
SCORE = {"epe_px": 0.5, "psnr_db": 39.0}
CONTROLS = ("dense", "20", "object")
MOTION = {**STAMP, **{name: {"model": SCORE, "warp": {**SCORE, "psnr_db": 27.0}} for name in CONTROLS}}
DRAGS = {"large": {"share_over_2": 0.0312}, "small": {"share_over_2": 0.0}}
FILES: dict[str, dict[str, Any]] = {
    "live_tiny.json": LIVE,
    "motion_tiny.json": MOTION,
    "counterfactual_tiny.json": {**STAMP, "scores": {"model": {"control_ratio": 64.5}}},
    "long_tiny.json": {**STAMP, "c3s3w3": {"moving": {"colour_drift_levels": 0.25}}},
    "text_tiny.json": {**STAMP, "scores": {"model": {"recognised_effects": 0.75}}},
    "vae_tiny.json": {**STAMP, "psnr_db": 32.25},
    "contribution_tiny.json": {**STAMP, "drags": DRAGS},
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "results").mkdir()
    for name, figures in FILES.items():
        (tmp_path / "results" / name).write_text(json.dumps(figures))
    return tmp_path / "results"


def document(folder: Path) -> Path:
    path = folder / "README.md"
    path.write_text(f"before\n{BEGIN}\nold\n{END}\nafter\n")
    return path


def rows(text: str) -> list[str]:
    return [line for line in text.splitlines() if line.startswith("| ")][2:]


def test_one_table_has_at_most_ten_figures(folder: Path) -> None:
    text = readme.markdown(folder, folder.parent, WEIGHTS)
    assert len(rows(text)) == len(readme.FIGURES) == 10
    assert "| 31.42 | FPS ↑ | [live_tiny.json](results/live_tiny.json) |" in text
    assert "| model 39, warp 27 | dB ↑ |" in text
    assert "| 0.25 | of 255 ↓ |" in text
    assert f"All of the weights that ship, `{WEIGHTS}`. Times: Some CPU, 2 cores, 60 s." in text
    assert "3.1 % of the pixel values change by more than 2 of 255 on a large drag, under 0.1 % on a small" in text


def test_figures_of_other_weights_are_left_out_not_shown(folder: Path) -> None:
    for name in ("text_tiny.json", "contribution_tiny.json", "live_tiny.json"):
        (folder / name).write_text(json.dumps({**FILES[name], "model_hash": "ba9876543210"}))
    text = readme.markdown(folder, folder.parent, WEIGHTS)
    assert len(rows(text)) == 7
    assert not any(word in text for word in ("text_tiny", "contributes", "live_tiny", "Times"))
    assert readme.markdown(folder, folder.parent, "other weights") == readme.NOTHING


def test_a_row_needs_all_of_its_numbers(folder: Path) -> None:
    (folder / "motion_tiny.json").write_text(json.dumps({**MOTION, "dense": {"model": SCORE}}))
    text = readme.markdown(folder, folder.parent, WEIGHTS)
    assert (len(rows(text)), "39" in text) == (9, False)


def test_the_shipped_weights_are_those_that_are_loaded() -> None:
    assert readme.shipped_hash() == zoo.load("tiny", "cpu").hash


def test_figures_are_put_between_the_markers_once(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(readme, "shipped_hash", lambda: WEIGHTS)
    path = document(folder.parent)
    assert readme.update(path, folder, write=False)
    assert "old" in path.read_text(), "asking changes nothing"
    assert readme.update(path, folder)
    text = path.read_text()
    assert text.startswith("before\n")
    assert text.endswith("after\n")
    assert "old" not in text
    assert not readme.update(path, folder)
    (folder / readme.REPORT).write_text("# Figures")
    readme.update(path, folder)
    assert "what is missing: [README.md](results/README.md)." in path.read_text()


def test_nothing_measured_is_said(tmp_path: Path) -> None:
    assert readme.markdown(tmp_path) == readme.NOTHING


@pytest.mark.parametrize("content", ["{", "[1, 2]"])
def test_a_broken_file_is_named(tmp_path: Path, content: str) -> None:
    (tmp_path / "live.json").write_text(content)
    with pytest.raises(ValueError, match=r"live\.json: not"):
        readme.update(document(tmp_path), tmp_path)


def test_a_document_without_markers_is_named(tmp_path: Path) -> None:
    path = tmp_path / "README.md"
    path.write_text("nothing")
    with pytest.raises(ValueError, match="put both where the figures belong"):
        readme.update(path, tmp_path)


def test_the_command_writes_and_checks(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(readme, "shipped_hash", lambda: WEIGHTS)
    monkeypatch.setenv("MOTIONSTREAM_DEBUG", "")
    arguments = ["figures", str(document(folder.parent)), "--results", str(folder)]
    assert cli.run([*arguments, "--check"], app) == errors.WRONG_INPUT
    assert "run `make figures`" in capsys.readouterr().err
    assert cli.run(arguments, app) == errors.DONE
    assert cli.run([*arguments, "--check"], app) == errors.DONE
    assert "up to date" in capsys.readouterr().out
    monkeypatch.chdir(folder)
    assert cli.run(["figures"], app) == errors.WRONG_INPUT
    assert "README.md: No such file" in capsys.readouterr().err


@pytest.mark.parametrize("document", readme.DOCUMENTS, ids=str)
def test_the_documents_are_up_to_date(document: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    assert not readme.update(document, Path("docs/results"), write=False), "run: make figures"
