"""The program's commands that measure a model folder: one good run each on a small one, and wrong input."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from safetensors.torch import save_file
from tests.small import small_model, small_vae

from motionstream import cli, errors, model_folder, zoo
from motionstream.lpips import LpipsNetwork
from motionstream.tiny import bundle
from motionstream.tiny.vae import TinyVAE
from motionstream.train import recipe, recipes
from motionstream.train.checkpoint import Checkpoints
from motionstream.train.ema import EMA
from motionstream.train.network import new_model

ASSETS = Path(__file__).parent / "data" / "assets"
LIVE = model_folder.Live((64, 48), 24.0, chunk=3, sink=3, window=3, steps=2, shift=3.0)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model")
    bundle.save_bundle(folder, "small", small_model(), small_vae(), LIVE, origin={})
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


def save_clip(folder: Path, count: int) -> None:
    """A smooth texture that moves, as numbered frames."""
    folder.mkdir(parents=True)
    texture = np.random.default_rng(1).integers(0, 256, (12, 40, 3)).astype(np.uint8)
    field = np.asarray(Image.fromarray(texture).resize((160, 48), Image.Resampling.BICUBIC))
    for number in range(count):
        Image.fromarray(field[:, 40 - number : 104 - number]).save(folder / f"{number:05d}.png")


def test_motion_is_measured_on_real_clips(folder: Path) -> None:
    save_clip(Path("clips/kite"), 10)
    save_clip(Path("clips/blink"), 4)
    arguments = ["evaluate", "motion", "-d", "clips", "-m", str(folder), "--grid", "8x6", "--controls", "dense,5"]
    arguments += ["--resume-file", "run.jsonl", "--sheet", "worst.png", "--worst", "1", "--videos", "side"]
    assert cli.run([*arguments, "--json", "motion.json"]) == errors.DONE
    figures = json.loads(Path("motion.json").read_text())
    assert (figures["layout"], figures["clips"], figures["frames"], figures["size"]) == ("clips", 1, 9, "64x48")
    assert [each["name"] for each in figures["skipped"]] == ["blink"]
    assert figures["tracker"] is None
    assert figures["dense"]["still"]["epe_px"] > 2
    assert "uncovered_psnr_db" not in figures["dense"]["model"]
    assert Path("worst.png").is_file()
    assert Path("side/kite.mp4").is_file()
    written = Path("run.jsonl").read_text()
    assert cli.run([*arguments, "--json", "again.json"]) == errors.DONE
    assert Path("run.jsonl").read_text() == written, "nothing was measured twice"
    assert json.loads(Path("again.json").read_text()) == figures


def test_long_streams_are_measured_and_drawn(folder: Path, picture: Path) -> None:
    arguments = ["evaluate", "long", str(picture), "-m", str(folder), "--frames", "100", "--every", "100"]
    files = ["--json", "long.json", "--sheet", "sheet.png", "--plot", "plot.png", "--resume-file", "long.jsonl"]
    assert cli.run([*arguments, *files, "--patterns", "idle,moving", "--variants", "c3s3w3,c3s0w3"]) == errors.DONE
    figures = json.loads(Path("long.json").read_text())
    assert (figures["frames"], figures["pictures"], figures["missing"]) == (100, 1, ["lpips"])
    assert len(figures["model_hash"]) == 12
    for sizes in ("c3s3w3", "c3s0w3"):
        assert set(figures[sizes]) == set(figures["curves"][sizes]) == {"idle", "moving"}
        assert all(scene["sharpness_vs_100"] == 1 for scene in figures[sizes].values())
    assert len(Path("long.jsonl").read_text().splitlines()) == 5
    with Image.open("sheet.png") as sheet:
        assert sheet.height > 4 * 48
    with Image.open("plot.png") as plot:
        assert plot.width > 500
    assert cli.run([*arguments, "--json", "own.json", "--patterns", "idle", "--sink", "1"]) == errors.DONE
    assert set(json.loads(Path("own.json").read_text())["curves"]) == {"c3s1w3"}


def test_choices_are_ablated_on_held_out_worlds(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["evaluate", "ablate", "--assets", str(ASSETS), "-m", str(folder), "--clips", "1", "--frames", "9"]
    files = ["--json", "ablate.json", "--markdown", "out/table.md", "--plots", "out", "--journal", "ablate.jsonl"]
    assert cli.run([*arguments, *files, "--recipe", "sink"]) == errors.DONE
    figures = json.loads(Path("ablate.json").read_text())
    assert set(figures["sink"]) == {"c3s0w3, 2 steps", "c3s3w3, 2 steps"}
    assert (figures["clips"], figures["frames"], figures["split"]) == (1, 9, "heldout")
    assert figures["missing"] == ["lpips"]
    assert len(figures["model_hash"]) == 12
    assert Path("out/table.md").read_text() in capsys.readouterr().out + "\n"
    assert Path("out/time.png").is_file()
    assert not Path("out/guidance.png").exists()


def save_run(out: Path) -> None:
    """The folder of a chain whose VAE and teacher are finished, with random weights."""
    vae, teacher = recipes.named("vae", "smoke"), recipes.named("teacher", "smoke")
    assert isinstance(vae, recipe.TinyVAERecipe)
    assert isinstance(teacher, recipe.TeacherRecipe)
    parts = {"vae": TinyVAE(vae.vae), "teacher": new_model(teacher.network, vae.vae.latent_channels)}
    for (stage, module), one in zip(parts.items(), (vae, teacher), strict=True):
        Checkpoints(out / stage / "checkpoints").save(1, {"ema": EMA(module, 0.9).state_dict()}, {}, "")
        recipe.save(one, out / stage / recipe.RECIPE_FILE)


def test_guidance_is_ablated_on_a_runs_teacher(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    save_run(Path("run"))
    save_file(LpipsNetwork().state_dict(), "lpips.safetensors")
    model = ["evaluate", "ablate", "--assets", str(ASSETS), "-m", str(folder), "--clips", "1", "--recipe", "guidance"]
    arguments = [*model, "--runs", "run", "--w-t", "0,3", "--w-m", "1.5", "--teacher-steps", "1"]
    files = ["--lpips", "lpips.safetensors", "--json", "out.json", "--plots", "out"]
    assert cli.run([*arguments, "--stage", "teacher", *files]) == errors.DONE
    figures = json.loads(Path("out.json").read_text())
    assert list(figures["guidance"]) == ["w_t 0, w_m 1.5", "w_t 3, w_m 1.5"]
    assert (figures["teacher"]["stage"], figures["teacher"]["steps"]) == ("teacher", 1)
    assert len(figures["teacher"]["hash"]) == 12
    assert figures["missing"] == []
    assert Path("out/guidance.png").is_file()
    capsys.readouterr()
    assert "teacher-mask" in complaint(capsys, arguments)
    assert "use teacher or teacher-mask" in complaint(capsys, [*arguments, "--stage", "vae"])


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["evaluate", "vae", "--assets", "nowhere"], "no assets folder at nowhere"),
        (["evaluate", "vae", "--assets", str(ASSETS), "--frames", "5"], "'--frames'"),
        (["evaluate", "vae", "--assets", str(ASSETS), "--frames", "22"], "22 frames"),
        (["evaluate", "vae", "--assets", str(ASSETS), "--split", "sunday"], "sunday"),
        (["evaluate", "long"], "Missing argument 'pictures'"),
        (["evaluate", "long", "nowhere.png"], "nowhere.png: No such file"),
        (["evaluate", "long", "words.txt"], "words.txt: not a picture"),
        (["evaluate", "long", "words.txt", "--frames", "50"], "'--frames'"),
        (["evaluate", "long", "words.txt", "--every", "150"], "multiple of 100"),
        (["evaluate", "long", "words.txt", "--plot", "long.pdf"], "ends in .png"),
        (["evaluate", "long", "boat.png", "boat.png"], "same name"),
        (["evaluate", "long", "boat.png", "--variants", "c1"], "such as c1s3w3"),
        (["evaluate", "long", "boat.png", "--variants", "c1s1w1", "--sink", "0"], "leave out"),
        (["evaluate", "long", "boat.png", "--patterns", "dancing"], "use moving, idle"),
        (["evaluate", "ablate", "--assets", str(ASSETS), "--recipe", "everything"], "use one of all"),
        (["evaluate", "ablate", "--assets", str(ASSETS), "--recipe", "guidance"], "give --runs"),
        (["evaluate", "ablate", "--assets", str(ASSETS), "--w-t", "a,b"], "--w-t a,b: write numbers"),
        (["evaluate", "ablate", "--assets", str(ASSETS), "--runs", "nowhere"], "nowhere"),
        (["evaluate", "ablate", "--assets", str(ASSETS), "--frames", "10"], "10 frames"),
    ],
)
def test_wrong_input_is_one_line_and_two(
    folder: Path, picture: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], says: str
) -> None:
    Path("words.txt").write_text("not a picture")
    assert says in complaint(capsys, [*arguments, "--model", str(folder)])


@pytest.mark.parametrize("arguments", [["evaluate", "vae", "--assets", str(ASSETS)], ["evaluate", "long", "boat.png"]])
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
