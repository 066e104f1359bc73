"""Camera figures: a model that goes where its camera goes is told from one that does not, and depth from model."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from motionstream import cli, errors
from motionstream.camera.depth import DepthMap, estimator
from motionstream.camera.path import MOVES
from motionstream.data.assets import AssetLibrary
from motionstream.data.scenes import CameraScene, CameraScenes
from motionstream.evaluate.baselines import still
from motionstream.evaluate.camera import Setting, evaluate_scenes
from motionstream.evaluate.harness import Results
from motionstream.evaluate.metrics import Video
from motionstream.evaluate.pictures.sheets import Example
from motionstream.tracks import Tracks, io

pytest.importorskip("cv2", reason="the tracker needs OpenCV (extra: evaluate)")
pytest.importorskip("torchmetrics", reason="PSNR and SSIM need torchmetrics (extra: evaluate)")

ASSETS = Path(__file__).parents[1] / "data" / "assets"
SIZE, FRAMES = (96, 64), 9
PLANE = estimator("plane")


def scene(move: str, seed: int = 1) -> CameraScene:
    return CameraScenes(AssetLibrary(ASSETS), SIZE, FRAMES, seed).scene(list(MOVES).index(move))


@pytest.fixture(scope="module")
def orbit() -> CameraScene:
    return scene("orbit")


def test_a_perfect_model_is_perfect_and_depth_shows_in_the_tracks_only(orbit: CameraScene) -> None:
    video = orbit.video()
    setting = Setting(lambda *given: video, PLANE, grid=(12, 8))
    shown: list[Example] = []
    figures = evaluate_scenes(setting, [("one", lambda: orbit)], examples=shown)
    json.dumps(figures, allow_nan=False)
    assert figures["scenes"] == 1
    assert figures["tracks"]["true_depth"]["epe_px"] < 0.3
    assert figures["tracks"]["true_depth"]["visibility_agreement"] > 0.95
    assert figures["tracks"]["estimated_depth"]["epe_px"] > 3 * figures["tracks"]["true_depth"]["epe_px"]
    model, standing = figures["true_depth"]["model"], figures["still"]
    assert model["psnr_db"] > 90
    assert model["epe_px"] < 0.5
    assert standing["epe_px"] > 2
    assert figures["true_depth"]["warp"]["epe_px"] < 0.5 * standing["epe_px"]
    assert figures["estimated_depth"]["model"]["epe_given_px"] > 2 * model["epe_given_px"]
    assert {"machine", "date", "grid", "prompt"} <= set(figures)
    assert figures["by_move"].keys() == {"orbit"}
    assert figures["by_move"]["orbit"]["model_epe_px"]["true_depth"] == model["epe_px"]
    assert list(shown[0].videos) == ["true", "model", "estimated"]


def test_a_model_that_ignores_its_camera_is_found_out(orbit: CameraScene) -> None:
    figures = evaluate_scenes(Setting(still, PLANE, grid=(12, 8)), [("one", lambda: orbit)])
    assert figures["true_depth"]["model"]["epe_px"] == figures["still"]["epe_px"]
    assert figures["true_depth"]["model"]["psnr_db"] == figures["still"]["psnr_db"]


def test_true_depth_as_the_estimate_has_no_error_of_depth(orbit: CameraScene) -> None:
    """Up to its scale, which is found."""
    exact = DepthMap(orbit.depth_map() * 0.2, "truth", "")
    figures = evaluate_scenes(Setting(still, lambda picture: exact, grid=(12, 8)), [("one", lambda: orbit)])
    assert figures["tracks"]["estimated_depth"]["epe_px"] == pytest.approx(
        figures["tracks"]["true_depth"]["epe_px"], abs=1e-3
    )


def test_the_prompt_is_the_papers(orbit: CameraScene) -> None:
    prompts: list[str] = []

    def watch(first: Video, tracks: Tracks, caption: str, seed: int) -> Video:
        prompts.append(caption)
        return still(first, tracks)

    evaluate_scenes(Setting(watch, PLANE, grid=(6, 4)), [("one", lambda: orbit)])
    assert prompts == [f"static scene, only camera motion, no object is moving, {orbit.caption}"] * 2


def test_a_turning_camera_needs_no_depth() -> None:
    figures = evaluate_scenes(
        Setting(still, PLANE, grid=(12, 8)),
        [("one", lambda: scene("pan")), ("two", lambda: scene("truck"))],
    )
    assert figures["by_move"]["pan"]["tracks_epe_px"]["estimated_depth"] < 1e-3
    assert figures["by_move"]["truck"]["tracks_epe_px"]["estimated_depth"] > 0.2


def test_an_evaluation_goes_on_where_it_was_cut(tmp_path: Path, orbit: CameraScene) -> None:
    made: list[str] = []

    def making(name: str) -> CameraScene:
        made.append(name)
        return orbit

    def run(names: str) -> dict[str, object]:
        worlds = [(name, lambda name=name: making(name)) for name in names]
        return evaluate_scenes(Setting(still, PLANE, grid=(6, 4)), worlds, Results(tmp_path / "r.jsonl", {"a": 1}))

    run("a")
    figures = run("ab")
    assert made == ["a", "b"]
    assert figures["scenes"] == 2


def test_nothing_to_measure_is_an_error() -> None:
    with pytest.raises(ValueError, match="at least one scene"):
        evaluate_scenes(Setting(still, PLANE), [])


# --- the program ------------------------------------------------------------------------------------------------------


@pytest.fixture(autouse=True)
def elsewhere(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("MOTIONSTREAM_DEBUG", "")
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (90, 160, 3)).astype(np.uint8)).save("boat.png")
    return tmp_path / "boat.png"


def complaint(capsys: pytest.CaptureFixture[str], arguments: list[str]) -> str:
    assert cli.run(arguments) == errors.WRONG_INPUT
    said = capsys.readouterr().err
    assert said.startswith("motionstream: ")
    assert said.count("\n") == 1, said
    return said


def test_a_camera_becomes_tracks(picture: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["camera", "-i", "boat.png", "--path", "pan", "--amount", "5", "--seconds", "0.5", "--grid", "8x5"]
    assert cli.run([*arguments, "-o", "pan.npz", "--preview", "pan.png"]) == errors.DONE
    tracks, size = io.load_sized("pan.npz")
    assert (tracks.frames, tracks.points, size) == (12, 40, (160, 90))
    focal = 80 / np.tan(np.radians(30))
    turned = np.arctan((tracks.xy[0, :, 0] - 80) / focal) - np.radians(5)
    seen = tracks.visible[-1]
    np.testing.assert_allclose(tracks.xy[-1, seen, 0], 80 + focal * np.tan(turned[seen]), atol=1e-3)
    assert "depth: plane (licence: none needed)" in capsys.readouterr().out
    with Image.open("pan.png") as sheet:
        assert sheet.width == 4 * 160


def test_a_camera_in_a_models_frame_by_a_depth_file_and_poses(picture: Path) -> None:
    np.save("depth.npy", np.full((45, 80), 2.0))
    poses = np.tile(np.eye(4), (3, 1, 1))
    poses[:, 0, 3] = (0, 0.1, 0.2)
    Path("path.json").write_text(json.dumps(poses.tolist()))
    arguments = ["camera", "-i", "boat.png", "--path", "path.json", "--depth", "depth.npy", "--size", "64x48"]
    assert cli.run([*arguments, "--view", "60", "--seconds", "0.25", "-o", "t.npz"]) == errors.DONE
    tracks, size = io.load_sized("t.npz")
    assert (tracks.frames, size) == (6, (64, 48))
    focal = 80 / np.tan(np.radians(30)) * 48 / 90
    np.testing.assert_allclose(tracks.xy[-1, :, 0] - tracks.xy[0, :, 0], -focal * 0.2 / 2, atol=1e-3)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (["-i", "nowhere.png"], "nowhere.png: No such file"),
        (["-o", "t.txt"], "ends in .npz"),
        (["--preview", "t.jpg"], "ends in .png"),
        (["--path", "swim"], "camera path 'swim': use one of orbit"),
        (["--path", "nowhere.json"], "nowhere.json: No such file"),
        (["--path", "zoom", "--amount", "-1"], "amount -1 of zoom"),
        (["--seconds", "0"], "at least two frames"),
        (["--seconds", "nan"], "at least two frames"),
        (["--depth", "sonar"], "use plane, depth-anything, moge"),
        (["--depth", "moge"], "--depth-weights"),
        (["--depth", "nowhere.npy"], "nowhere.npy: No such file"),
        (["--depth", "square.npy"], "a depth map of 4×4 for a picture of 160×90"),
        (["--grid", "many"], "such as 50x50"),
        (["--size", "wide"], "such as 256x144"),
        (["--view", "0.5"], "degrees"),
    ],
)
def test_wrong_input_is_one_line_and_two(
    picture: Path, capsys: pytest.CaptureFixture[str], change: list[str], says: str
) -> None:
    np.save("square.npy", np.ones((4, 4)))
    assert says in complaint(capsys, ["camera", "-i", "boat.png", "-o", "t.npz", *change])
    assert not Path("t.npz").exists()


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ([], "--assets"),
        (["--assets", "nowhere"], "no assets folder at nowhere"),
        (["--assets", ".", "--depth", "sonar"], "use plane"),
    ],
)
def test_an_evaluation_says_what_is_wrong(capsys: pytest.CaptureFixture[str], arguments: list[str], says: str) -> None:
    assert says in complaint(capsys, ["evaluate", "camera", *arguments])


def test_help_shows_examples(capsys: pytest.CaptureFixture[str]) -> None:
    for command in (["camera"], ["evaluate", "camera"]):
        assert cli.run([*command, "--help"]) == errors.DONE
        said = " ".join(capsys.readouterr().out.partition("Options ─")[0].split())
        assert said.count(f"motionstream {' '.join(command)} ") >= 2
