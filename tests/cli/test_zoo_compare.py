"""`motionstream zoo compare`: is a model better, measured now or before; other input is refused with a reason."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from tests.cli.program import ASSETS, error_line
from tests.stream.small_bundle import save_small

from motionstream import cli


def figures(file: Path, epe: float, **settings: Any) -> Path:
    rows = [
        {"name": f"world-{n}", "control": "dense", "model": {"epe_px": epe + n, "psnr_db": 20.0 + n}} for n in range(8)
    ]
    same = {"size": "256x144", "frames": 45, "seed": 0, "data": "worlds", "split": "heldout"}
    file.write_text(json.dumps({**same, **settings, "per_clip": rows}))
    return file


def test_figures_measured_before_are_compared(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    files = figures(tmp_path / "a.json", 1.0), figures(tmp_path / "b.json", 0.9)
    out = tmp_path / "comparison.json"
    assert cli.run(["zoo", "compare", *map(str, files), "--json", str(out)]) == 0
    said = capsys.readouterr().out
    assert "prefer the second: better in dense, epe_px" in said
    written = json.loads(out.read_text())
    assert [one["result"] for one in written["differences"]] == ["better", "no difference"]
    assert written["differences"][0]["change"] == pytest.approx(-0.1)


def test_models_are_measured_on_the_same_worlds(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A model is no better than itself."""
    model = str(save_small(tmp_path / "model"))
    arguments = ["zoo", "compare", model, model, "--clips=4", "--frames=9", "--controls=dense", "--split=train"]
    assert cli.run([*arguments, f"--assets={ASSETS}"]) == 0
    said = capsys.readouterr().out
    assert "no difference that so many clips could show" in said
    assert "+0.000" in said


@pytest.mark.parametrize(
    ("second", "message"),
    [
        ("{}", "it has no per_clip"),
        ('{"per_clip": [{"name": "world-0", "psnr_db": {"whole": 20}}]}', "its clips have no control"),
        ("not JSON", "cannot be read as JSON"),
        (None, "cannot be read as JSON"),
    ],
)
def test_other_files_are_refused(
    tmp_path: Path, second: str | None, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    other = tmp_path / "b.json"
    if second is not None:
        other.write_text(second)
    assert message in error_line(capsys, ["zoo", "compare", str(figures(tmp_path / "a.json", 1.0)), str(other)])


def test_other_clips_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    files = figures(tmp_path / "a.json", 1.0), figures(tmp_path / "b.json", 0.9, frames=21)
    line = error_line(capsys, ["zoo", "compare", *map(str, files)])
    assert "not the same clips: frames is 45 and 21" in line


def test_a_model_needs_pictures_to_be_measured_on(capsys: pytest.CaptureFixture[str]) -> None:
    assert "--assets" in error_line(capsys, ["zoo", "compare", "tiny", "tiny"])
