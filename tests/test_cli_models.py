"""The program's commands that measure a model folder: one good run each on a small one, and wrong input."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tests.small import small_model, small_vae

from motionstream import cli, errors, zoo

ASSETS = Path(__file__).parent / "data" / "assets"
LIVE = zoo.Live((64, 48), 24.0, chunk=3, sink=3, window=3, steps=2, shift=3.0)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model")
    zoo.save_bundle(folder, "small", small_model(), small_vae(), LIVE, origin={})
    return folder


@pytest.fixture(autouse=True)
def elsewhere(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("MOTIONSTREAM_DEBUG", "")
    monkeypatch.chdir(tmp_path)


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


def test_a_vae_is_measured_on_held_out_worlds(folder: Path) -> None:
    arguments = ["evaluate", "vae", "--assets", str(ASSETS), "-m", str(folder), "--clips", "1", "--frames", "21"]
    assert cli.run([*arguments, "--json", "vae.json"]) == errors.DONE
    figures = json.loads(Path("vae.json").read_text())
    assert (figures["clips"], figures["split"], figures["model"]) == (1, "heldout", str(folder))
    assert len(figures["model_hash"]) == 12
    assert 0 < figures["psnr_db"] < 40
    assert figures["ssim"] < 1
    assert figures["seam_ratio"] > 0
    assert figures["decoder_gflop"] > 0


def test_long_streams_are_measured_and_drawn(folder: Path, picture: Path) -> None:
    arguments = ["evaluate", "endurance", str(picture), "-m", str(folder), "--frames", "121"]
    assert cli.run([*arguments, "--json", "long.json", "--sheet", "long.png"]) == errors.DONE
    figures = json.loads(Path("long.json").read_text())
    assert (figures["frames"], figures["pictures"]) == (121, 1)
    assert set(figures["scenes"]) == {"idle", "pinned", "dragged"}
    assert all(scene["sharpness_kept"] > 0 for scene in figures["scenes"].values())
    with Image.open("long.png") as sheet:
        assert sheet.width > 6 * 64
        assert sheet.height > 3 * 48


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["evaluate", "vae", "--assets", "nowhere"], "no assets folder at nowhere"),
        (["evaluate", "vae", "--assets", str(ASSETS), "--frames", "5"], "'--frames'"),
        (["evaluate", "vae", "--assets", str(ASSETS), "--frames", "22"], "22 frames"),
        (["evaluate", "vae", "--assets", str(ASSETS), "--split", "sunday"], "sunday"),
        (["evaluate", "endurance"], "Missing argument 'pictures'"),
        (["evaluate", "endurance", "nowhere.png"], "nowhere.png: No such file"),
        (["evaluate", "endurance", "words.txt"], "words.txt: not a picture"),
        (["evaluate", "endurance", "words.txt", "--frames", "50"], "'--frames'"),
    ],
)
def test_wrong_input_is_one_line_and_two(
    folder: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], says: str
) -> None:
    Path("words.txt").write_text("not a picture")
    assert says in complaint(capsys, [*arguments, "--model", str(folder)])


@pytest.mark.parametrize(
    "arguments", [["evaluate", "vae", "--assets", str(ASSETS)], ["evaluate", "endurance", "boat.png"]]
)
def test_an_unknown_model_is_named(capsys: pytest.CaptureFixture[str], picture: Path, arguments: list[str]) -> None:
    assert "no model named 'huge'" in complaint(capsys, [*arguments, "--model", "huge"])


def test_the_models_of_the_package_are_listed(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(zoo, "_HERE", folder.parent)
    assert cli.run(["zoo", "list"]) == errors.DONE
    said = capsys.readouterr().out
    assert f"{folder.name}.size" in said
    assert "(64, 48)" in said or "[64, 48]" in said


def test_the_list_takes_no_names(capsys: pytest.CaptureFixture[str]) -> None:
    assert "unexpected extra argument" in complaint(capsys, ["zoo", "list", "tiny"])
