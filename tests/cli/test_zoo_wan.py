"""`motionstream zoo wan`: a converted network and published parts become a model; what is missing is named."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from tests.wan.wan_folder import save_reduced

from motionstream import cli, model_folder, zoo
from motionstream.wan.conversion import NETWORK_FILE

pytest.importorskip("diffusers")
pytest.importorskip("transformers")


@pytest.fixture
def parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Published parts, and beside them a converted network."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    folder = save_reduced(tmp_path / "parts", "wan2.1")
    header = json.loads((folder / model_folder.HEADER).read_text())
    (folder / model_folder.HEADER).unlink()
    converted = tmp_path / "converted"
    converted.mkdir()
    for shard in folder.glob("network-*"):
        shutil.move(shard, converted)
    network = {"format": 1, "family": "a test's", "network": header["network"], "sha256": header["sha256"]}
    (converted / NETWORK_FILE).write_text(json.dumps(network))
    return folder


def arguments(parts: Path, *without: str) -> list[str]:
    places = {"vae": "vae", "text": "text", "picture": "clip", "decoder": "tiny.safetensors"}
    options = [f"--{part}={parts / place}" for part, place in places.items() if part not in without]
    return ["zoo", "wan", str(parts.parent / "converted"), *options, "--size=64x48", "--steps=2"]


def test_a_converted_network_becomes_a_model(parts: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(arguments(parts)) == 0
    assert "a model on Wan" in capsys.readouterr().out
    model = zoo.load(parts.parent / "converted", "cpu")
    assert (model.name, model.size, model.fps) == ("converted", (64, 48), 16.0)
    assert (model.rollout_config.chunk, len(model.rollout_config.times)) == (3, 2)
    frames = model.open(np.zeros((48, 64, 3), np.uint8), "a boat sails").step()
    assert frames.shape == (9, 48, 64, 3)


@pytest.mark.parametrize(
    ("without", "message"),
    [("picture", "reads CLIP tokens"), ("decoder", "")],
)
def test_a_part_may_be_needed(parts: Path, without: str, message: str, capsys: pytest.CaptureFixture[str]) -> None:
    code = cli.run(arguments(parts, without))
    said = capsys.readouterr().err
    assert (code, message in said) == ((2, True) if message else (0, True))


def test_a_part_that_is_not_there_is_named(parts: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.rmtree(parts / "text" / "text_encoder")
    assert cli.run(arguments(parts)) == 2
    assert "text: nothing at" in capsys.readouterr().err


def test_an_unconverted_folder_is_refused(parts: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (parts.parent / "converted" / NETWORK_FILE).unlink()
    assert cli.run(arguments(parts)) == 2
    assert "motionstream convert" in capsys.readouterr().err
