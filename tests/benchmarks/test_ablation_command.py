"""`python -m benchmarks ablation`: guidance on a teacher of a training run, and wrong input."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from safetensors.torch import save_file
from tests.small import small_model, small_vae

from benchmarks.__main__ import app
from motionstream import cli, errors, model_folder
from motionstream.lpips import LpipsNetwork
from motionstream.tiny import bundle
from motionstream.tiny.vae import TinyVAE
from motionstream.train import recipe, recipes
from motionstream.train.checkpoint import Checkpoints
from motionstream.train.ema import EMA
from motionstream.train.network import new_model

pytest.importorskip("cv2", reason="the tracker needs OpenCV (extra: evaluate)")
pytest.importorskip("torchmetrics", reason="PSNR and SSIM need torchmetrics (extra: evaluate)")

ASSETS = str(Path(__file__).parents[1] / "data" / "assets")
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


def complaint(capsys: pytest.CaptureFixture[str], arguments: list[str]) -> str:
    assert cli.run(arguments, app) == errors.WRONG_INPUT
    said = capsys.readouterr().err
    assert said.startswith("motionstream: ")
    assert said.count("\n") == 1, said
    return said


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
    model = ["ablation", "--assets", ASSETS, "-m", str(folder), "--clips", "1", "--recipe", "guidance"]
    arguments = [*model, "--runs", "run", "--w-t", "0,3", "--w-m", "1.5", "--teacher-steps", "1"]
    files = ["--lpips", "lpips.safetensors", "--json", "out.json", "--plots", "out"]
    assert cli.run([*arguments, "--stage", "teacher", *files], app) == errors.DONE
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
        (["--recipe", "everything"], "use one of all"),
        (["--recipe", "guidance"], "give --runs"),
        (["--w-t", "a,b"], "--w-t a,b: write numbers"),
        (["--runs", "nowhere"], "nowhere"),
        (["--frames", "10"], "10 frames"),
    ],
)
def test_wrong_input_is_one_line_and_two(
    folder: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], says: str
) -> None:
    assert says in complaint(capsys, ["ablation", "--assets", ASSETS, *arguments, "--model", str(folder)])
