"""The README quotes what was measured, in few words, and nothing else."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from motionstream import figures

ROOT = Path(__file__).parents[1]
LIVE = {
    "model": "tiny",
    "seconds": 60,
    "fps": 31.41592,
    "chunk_ms": {"p50": 300.0, "p95": 333.3},
    "gesture_to_frame_ms": {"p50": 150.0, "p95": 240.5},
    "model_hash": "0123456789abcdef",
    "machine": {"processor": "Some CPU", "cores": 2, "gpu": "none", "torch": "2.13.0"},
    "date": "2026-01-02",
}
MOTION = {
    "model": "tiny",
    "clips": 16,
    "pictures": 1,
    "missing": ["lpips"],
    "skipped": [{"name": "short", "reason": "4 frames"}],
    "dense": {
        "clips": 15,
        "model": {"psnr_db": 20.0, "epe_px": 3.5, "tracker_kept": 0.5},
        "still": {"psnr_db": 15.0, "epe_px": None, "tracker_kept": 1.0},
        "still_ratio": 6.25,
    },
    "per_clip": [{"name": "one clip"}] * 100,
    "date": "2026-01-02",
}


def document(folder: Path) -> Path:
    path = folder / "README.md"
    path.write_text(f"before\n{figures.BEGIN}\nold\n{figures.END}\nafter\n")
    return path


def results(folder: Path) -> Path:
    (folder / "results").mkdir()
    return folder / "results"


def test_figures_are_put_between_the_markers_once(tmp_path: Path) -> None:
    readme, folder = document(tmp_path), results(tmp_path)
    (folder / "live_tiny.json").write_text(json.dumps(LIVE))
    assert figures.update(readme, folder)
    text = readme.read_text()
    assert text.startswith("before\n")
    assert text.endswith("after\n")
    assert "old" not in text
    assert "**Live** ([live_tiny.json](results/live_tiny.json))" in text
    assert "| in this process | 31.42 | 150 | 240.5 |" in text
    assert "tiny 0123456789ab, 60 s, Some CPU, 2 cores, torch 2.13.0, 2026-01-02" in text
    assert not figures.update(readme, folder)


def test_asking_changes_nothing(tmp_path: Path) -> None:
    readme = document(tmp_path)
    before = readme.read_text()
    assert figures.update(readme, tmp_path, write=False)
    assert readme.read_text() == before


def test_compared_methods_share_a_short_table(tmp_path: Path) -> None:
    (tmp_path / "motion_tiny.json").write_text(json.dumps(MOTION))
    text = figures.markdown(tmp_path)
    assert "tiny, 16 clips, 1 picture, 2026-01-02" in text
    assert (
        "| Motion transfer | PSNR, dB ↑ | EPE, px ↓ | still ratio ↑ |\n| --- | --- | --- | --- |\n"
        "| model, dense | 20 | 3.5 | 6.25 |\n| still, dense | 15 | – | – |" in text
    )
    assert "Not measured: lpips." in text
    assert not any(word in text for word in ("one clip", "short", "tracker", "0.5"))


def test_a_file_of_no_known_kind_is_only_linked(tmp_path: Path) -> None:
    (tmp_path / "other.json").write_text(json.dumps({"model": "tiny", "samples": [1, 2, 3], "value": 5}))
    assert figures.markdown(tmp_path, tmp_path) == "**other** ([other.json](other.json))\n\ntiny"


def test_the_report_is_pointed_to_where_there_is_one(tmp_path: Path) -> None:
    readme, folder = document(tmp_path), results(tmp_path)
    (folder / "live.json").write_text(json.dumps(LIVE))
    assert "All figures" not in figures.markdown(folder, tmp_path)
    (folder / figures.REPORT).write_text("# Figures")
    figures.update(readme, folder)
    assert "what is missing: [README.md](results/README.md)." in readme.read_text()


def test_nothing_measured_is_said(tmp_path: Path) -> None:
    assert figures.markdown(tmp_path) == figures.NOTHING


@pytest.mark.parametrize("content", ["{", "[1, 2]"])
def test_a_broken_file_is_named(tmp_path: Path, content: str) -> None:
    (tmp_path / "live.json").write_text(content)
    with pytest.raises(ValueError, match=r"live\.json: not"):
        figures.update(document(tmp_path), tmp_path)


def test_a_document_without_markers_is_named(tmp_path: Path) -> None:
    path = tmp_path / "README.md"
    path.write_text("nothing")
    with pytest.raises(ValueError, match="put both where the figures belong"):
        figures.update(path, tmp_path)


@pytest.mark.parametrize("document", figures.DOCUMENTS, ids=str)
def test_the_documents_are_up_to_date(document: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    assert not figures.update(document, Path("docs/results"), write=False), "run: make figures"
