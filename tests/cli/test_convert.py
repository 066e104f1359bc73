"""`motionstream convert`: the plan, the folder, and wrong input."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tests.cli.program import error_line
from tests.wan.published_sources import random_dit, ship, sizes

from motionstream import cli, errors
from motionstream.dit import CONFIGS
from motionstream.wan.families import FAMILIES
from motionstream.wan.weight_files import open_weights


@pytest.fixture(autouse=True)
def weights(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """control.safetensors in the working folder: a small Fun-Control network."""
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setitem(CONFIGS, "reduced", sizes("wan2.1-fun-control"))
    ship(random_dit(sizes("wan2.1-fun-control")), tmp_path / "control.safetensors")


def test_the_plan_writes_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["convert", "control.safetensors", "--plan", "--json", "plan.json"]) == errors.DONE
    said = capsys.readouterr().out
    assert "wan2.1-fun-control" in said
    assert "tracks ← the source's 16–31" in said
    assert "mask ← zero" in said
    assert json.loads(Path("plan.json").read_text())["weights"]["dropped"] == {}
    assert sorted(path.name for path in Path().iterdir()) == ["control.safetensors", "plan.json"]


def test_a_network_is_written(capsys: pytest.CaptureFixture[str]) -> None:
    options = ["--tracks", "20", "--dtype", "float32", "--track-init", "0.01", "--seed", "3"]
    assert cli.run(["convert", "control.safetensors", "--to", "out/wan", *options]) == errors.DONE
    said = capsys.readouterr().out
    assert "out/wan: " in said
    assert "tracks ← drawn, 0.01" in said
    header = json.loads(Path("out/wan/network.json").read_text())
    assert header["network"]["conditioning"]["track_channels"] == 20
    assert (header["dtype"], header["seed"], header["track_init"]) == ("float32", 3, 0.01)
    assert header["family"] == "wan2.1-fun-control"
    shapes = open_weights("out/wan").shapes
    assert shapes["track_head.project.weight"] == (20, 256)
    assert shapes["dit.patch_embedding.weight"][1] == header["network"]["dit"]["in_channels"] == 16 + 20 + 20


def test_the_help_names_every_family(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["convert", "--help"]) == errors.DONE
    said = " ".join(capsys.readouterr().out.split())
    assert [family for family in FAMILIES if family not in said] == []
    assert "motionstream convert Wan2.1-Fun-V1.1-1.3B-Control --to" in said


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["control.safetensors"], "with --to FOLDER, or use --plan"),
        (["nowhere", "--plan"], "no safetensors file at nowhere"),
        (["control.safetensors", "--plan", "--family", "wan3"], "no family 'wan3'"),
        (["control.safetensors", "--plan", "--family", "wan2.1-t2v"], "is not wan2.1-t2v"),
        (["control.safetensors", "--to", "out", "--dtype", "int8"], "--dtype int8: use bfloat16"),
        (["control.safetensors", "--to", "."], "has weights already"),
        (["control.safetensors", "--to", "out", "--tracks", "0"], "'--tracks'"),
        (["words.pt", "--plan"], "without running code"),
    ],
)
def test_wrong_input_is_one_line_and_two(capsys: pytest.CaptureFixture[str], arguments: list[str], says: str) -> None:
    Path("words.pt").write_text("not weights")
    assert says in error_line(capsys, ["convert", *arguments])
    assert not Path("out").exists() or not list(Path("out").iterdir())
