"""The commands of `python -m benchmarks` on a small model: a good run each, and wrong input."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from PIL import Image

from benchmarks.__main__ import app
from motionstream import cli, errors

pytest.importorskip("cv2", reason="the tracker needs OpenCV (extra: evaluate)")
pytest.importorskip("torchmetrics", reason="PSNR and SSIM need torchmetrics (extra: evaluate)")

ASSETS = str(Path(__file__).parents[1] / "data" / "assets")


def test_counterfactual_figures_are_written_and_go_on(folder: Path) -> None:
    arguments = ["counterfactual", "--assets", ASSETS, "-m", str(folder), "--clips", "2", "--frames", "9"]
    arguments += ["--control", "dense", "--resume-file", "j.jsonl"]
    assert cli.run([*arguments, "--json", "c.json", "--sheet", "c.png"], app) == errors.DONE
    figures = json.loads(Path("c.json").read_text())
    assert (figures["clips"], figures["control"], figures["split"]) == (2, "dense", "heldout")
    assert len(figures["model_hash"]) == 12
    assert {"machine", "date", "tracker"} <= set(figures)
    assert set(figures["scores"]) == {"model", "warp", "still"}
    with Image.open("c.png") as sheet:
        assert sheet.height > 2 * 6 * 2 * 48
    before = Path("j.jsonl").read_text()
    assert cli.run([*arguments, "--json", "again.json"], app) == errors.DONE
    assert Path("j.jsonl").read_text() == before
    assert json.loads(Path("again.json").read_text()) == figures


def test_a_vae_is_measured_on_held_out_worlds(folder: Path) -> None:
    arguments = ["vae", "--assets", ASSETS, "-m", str(folder), "--clips", "1", "--frames", "21"]
    assert cli.run([*arguments, "--json", "vae.json"], app) == errors.DONE
    figures = json.loads(Path("vae.json").read_text())
    assert (figures["clips"], figures["split"], figures["model"]) == (1, "heldout", str(folder))
    assert len(figures["model_hash"]) == 12
    assert 0 < figures["psnr_db"] < 40
    assert figures["ssim"] < 1
    assert figures["seam_ratio"] > 0
    assert figures["decoder_gflop"] > 0


def test_a_trackers_own_error_is_measured_and_resumed() -> None:
    arguments = ["tracker", "--assets", ASSETS, "--clips", "2", "--frames", "5", "--size", "96x64"]
    for clips in ("1", "2"):
        assert (
            cli.run([*arguments, "--clips", clips, "--resume-file", "t.jsonl", "--json", "t.json"], app) == errors.DONE
        )
    figures = json.loads(Path("t.json").read_text())
    assert (figures["model"], figures["split"], figures["clips"]) == ("lucas-kanade", "heldout", 2)
    assert figures["epe_px"] < 5
    assert {"model_hash", "machine", "date", "epe_median_px", "within_1px", "by_speed", "tap_vid_256"} <= set(figures)
    assert len(Path("t.jsonl").read_text().splitlines()) == 3


def test_the_contribution_is_measured_on_given_pictures(folder: Path) -> None:
    for name in ("a.png", "b.png"):
        Image.effect_noise((64, 48), 60).convert("RGB").save(name)
    arguments = ["contribution", "a.png", "b.png", "-m", str(folder), "--frames", "9", "--json", "c.json"]
    assert cli.run(arguments, app) == errors.DONE
    figures = json.loads(Path("c.json").read_text())
    assert (figures["pictures"], figures["frames"], len(figures["model_hash"])) == (2, 9, 12)
    assert set(figures["drags"]) == {"large", "small"}


def test_the_ablation_is_measured_and_drawn(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("matplotlib", reason="plots need Matplotlib (extra: evaluate)")
    arguments = ["ablation", "--assets", ASSETS, "-m", str(folder), "--recipe", "sink", "--clips", "1", "--frames", "9"]
    arguments += ["--untimed", "--resume-file", "a.jsonl", "--plots", "drawn", "--json", "a.json"]
    assert cli.run(arguments, app) == errors.DONE
    figures = json.loads(Path("a.json").read_text())
    assert set(figures["sink"]) == {"c3s0w3, 2 steps", "c3s3w3, 2 steps"}
    assert figures["missing"] == ["lpips", "chunk_ms_p50"]
    assert Path("drawn/time.png").is_file()
    assert "Ablation:" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["counterfactual", "--assets", "nowhere"], "no assets folder at nowhere"),
        (["counterfactual", "--assets", ASSETS, "--control", "mouse"], "use dense, object, hand"),
        (["counterfactual", "--assets", ASSETS, "--frames", "10"], "10 frames"),
        (["ablation", "--assets", ASSETS, "--recipe", "everything"], "use one of all, rollout"),
        (["ablation", "--assets", ASSETS, "--w-t", "many"], "--w-t many: write numbers from 0 up"),
        (["ablation", "--assets", ASSETS, "--recipe", "guidance"], "--runs"),
        (["vae", "--assets", "nowhere"], "no assets folder at nowhere"),
        (["contribution", "nowhere.png"], "nowhere.png: No such file"),
    ],
)
def test_wrong_input_is_one_line_and_two(
    folder: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], says: str
) -> None:
    assert cli.run([*arguments, "--model", str(folder)], app, "python -m benchmarks") == errors.WRONG_INPUT
    said = capsys.readouterr().err
    assert said.startswith("python -m benchmarks: ")
    assert says in said
    assert said.count("\n") == 1, said


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--assets", "nowhere"], "no assets folder at nowhere"),
        (["--assets", ASSETS, "--size", "wide"], "such as 256x144"),
        (["--assets", ASSETS, "--tracker", "flow"], "tracker 'flow' is unknown"),
    ],
)
def test_a_tracker_that_cannot_be_measured_is_named(
    capsys: pytest.CaptureFixture[str], arguments: list[str], says: str
) -> None:
    assert cli.run(["tracker", *arguments], app) == errors.WRONG_INPUT
    assert says in capsys.readouterr().err


def test_every_command_teaches_with_an_example(capsys: pytest.CaptureFixture[str]) -> None:
    for command in app.registered_commands:
        assert cli.run([str(command.name), "--help"], app) == errors.DONE
        said = " ".join(capsys.readouterr().out.partition("Options ─")[0].split())
        assert f"python -m benchmarks {command.name} " in said


def test_results_of_another_evaluation_are_refused(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("j.jsonl").write_text('{"settings": {"evaluation": "motion"}}\n')
    arguments = ["counterfactual", "--assets", ASSETS, "-m", str(folder), "--resume-file", "j.jsonl"]
    assert cli.run(arguments, app) == errors.WRONG_INPUT
    assert "j.jsonl holds results of another evaluation" in capsys.readouterr().err
