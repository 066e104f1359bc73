"""LLFF: the last frame is compared with the target's photograph; COLMAP's points show the depth's error."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tests.benchmarks.llff.llff_folder import write
from tests.small import small_model, small_vae

from benchmarks.__main__ import app
from benchmarks.llff.evaluation import Setup, evaluate_llff
from benchmarks.llff.scenes import read_scene, scenes
from motionstream import cli, errors, model_folder
from motionstream.camera.depth import DepthMap, estimator
from motionstream.camera.path import MOVES
from motionstream.data.assets import AssetLibrary
from motionstream.data.scenes import CameraScene, CameraScenes
from motionstream.evaluate.baselines import still, warp
from motionstream.evaluate.pictures.sheets import Example
from motionstream.tiny import bundle

pytest.importorskip("cv2", reason="the tracker needs OpenCV (extra: evaluate)")
pytest.importorskip("torchmetrics", reason="PSNR and SSIM need torchmetrics (extra: evaluate)")

ASSETS = Path(__file__).parents[2] / "data" / "assets"
SIZE, FRAMES = (96, 64), 9
PLANE = estimator("plane")
LIVE = model_folder.Live((64, 48), 24.0, chunk=3, sink=3, window=3, steps=2, shift=3.0)


def scene(move: str, seed: int = 1) -> CameraScene:
    return CameraScenes(AssetLibrary(ASSETS), SIZE, FRAMES, seed).scene(list(MOVES).index(move))


@pytest.fixture(scope="module")
def orbit() -> CameraScene:
    return scene("orbit")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory, orbit: CameraScene) -> Path:
    folder = tmp_path_factory.mktemp("llff")
    write(folder / "fern", orbit, range(FRAMES))
    write(folder / "leaves", scene("truck", seed=2), range(FRAMES), sparse=False)
    (folder / "nothing").mkdir()
    return folder


def truth_of(data: Path, name: str) -> DepthMap:
    found = scene("orbit") if name == "fern" else scene("truck", seed=2)
    middle = read_scene(data / name).pairs(1)[0][0]
    return DepthMap(found.depth_map(middle), "truth", "")


def test_llff_compares_the_last_frame_with_the_target(data: Path) -> None:
    found, skipped = scenes(data)
    fern = [each for each in found if each.name == "fern"]
    shown: list[Example] = []
    exact = truth_of(data, "fern")
    setup = Setup(warp, lambda picture: exact, SIZE, 5, grid=(24, 16), examples=shown)
    figures = evaluate_llff(setup, fern, skipped)
    json.dumps(figures, allow_nan=False)
    assert figures["skipped"].keys() == {"nothing"}
    assert (figures["scenes"], figures["pairs"]) == (1, 2)
    assert (figures["size"], figures["compared_at"], figures["paper_size"]) == ("96x64", "96x64", False)
    assert figures["by_scene"]["fern"]["poses"] == "colmap"
    assert figures["tracks"]["epe_px"] < 0.5
    assert figures["scores"]["model"] == figures["scores"]["warp"]
    assert figures["scores"]["warp"]["psnr_db"] > figures["scores"]["still"]["psnr_db"] + 1
    assert list(shown[0].videos) == ["target", "model", "warp", "still"]


def test_a_poor_depth_shows_against_the_cloud(data: Path) -> None:
    found, _ = scenes(data)
    figures = evaluate_llff(Setup(still, PLANE, SIZE, 5, (512, 288), (12, 8)), found, {}, pairs=1)
    assert (figures["compared_at"], figures["paper_size"]) == ("512x288", True)
    assert figures["tracks"]["epe_px"] > 0.5
    assert figures["by_scene"]["leaves"]["tracks"]["epe_px"] is None, "no cloud, no truth"
    assert figures["by_scene"]["leaves"]["poses"] == "poses_bounds.npy"


def test_an_unreadable_photograph_leaves_out_its_pair(data: Path, tmp_path: Path, orbit: CameraScene) -> None:
    folder = write(tmp_path / "fern", orbit, range(FRAMES))
    (folder / "images" / "008.png").write_text("words")
    found, _ = scenes(folder)
    setup = Setup(still, PLANE, SIZE, 5, grid=(6, 4))
    figures = evaluate_llff(setup, found, {})
    assert figures["pairs"] == 1
    assert "008.png" in next(iter(figures["skipped"].values()))
    for picture in (folder / "images").iterdir():
        picture.write_text("words")
    with pytest.raises(ValueError, match="no pair of views could be measured"):
        evaluate_llff(setup, found, {})


def test_the_command_measures_draws_and_says_what_is_wrong(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], orbit: CameraScene
) -> None:
    monkeypatch.setenv("MOTIONSTREAM_DEBUG", "")
    monkeypatch.chdir(tmp_path)
    bundle.save_bundle(Path("model"), "small", small_model(), small_vae(), LIVE, origin={})
    write(Path("llff/fern"), orbit, range(FRAMES))
    arguments = ["llff", "llff", "-m", "model", "--frames", "5", "--pairs", "1", "--grid", "8x6"]
    written = ["--compare-at", "128x96", "--json", "llff.json", "--sheet", "llff.png"]
    assert cli.run([*arguments, *written], app) == errors.DONE
    figures = json.loads(Path("llff.json").read_text())
    assert (figures["size"], figures["compared_at"], figures["paper_size"]) == ("64x48", "128x96", False)
    assert figures["skipped"] == {}
    assert Path("llff.png").exists()
    capsys.readouterr()
    for wrong, says in (
        (["llff", "nowhere"], "no folder at nowhere"),
        (["llff", "model"], "no LLFF scene in model"),
        ([*arguments, "--compare-at", "big"], "--compare-at"),
    ):
        assert cli.run(wrong, app) == errors.WRONG_INPUT
        assert says in capsys.readouterr().err
