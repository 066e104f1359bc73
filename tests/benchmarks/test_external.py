"""The adaptors call the packages as published (stand-ins with the same signatures), and miss them by name."""

from __future__ import annotations

import importlib.machinery
import json
import os
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from benchmarks import external
from benchmarks.__main__ import app
from motionstream import cli, errors
from motionstream.evaluate.pictures.sheets import CRF
from motionstream.stream.video import read_video, write_mp4


def module(name: str, monkeypatch: pytest.MonkeyPatch, **content: Any) -> None:
    made = ModuleType(name)
    made.__spec__ = importlib.machinery.ModuleSpec(name, None)
    made.__dict__.update(content)
    monkeypatch.setitem(sys.modules, name, made)


class Cdfvd:
    """As in cd-fvd 0.1: videos (B, T, H, W, C) of bytes; here the distance of mean levels."""

    def __init__(
        self,
        model: str = "i3d",
        n_real: str = "full",
        n_fake: str | int = 2048,
        ckpt_path: str | None = None,
        seed: int = 42,
        compute_feats: bool = False,
        device: str = "cuda",
    ) -> None:
        assert (model, n_real, n_fake, device) == ("i3d", "full", "full", "cpu")
        assert ckpt_path is not None
        print("Loading i3d model ...")
        self.real: list[float] = []
        self.fake: list[float] = []

    def add_real_stats(self, videos: np.ndarray) -> None:
        assert videos.shape == (1, 9, 32, 48, 3)
        self.real.append(float(videos.mean()))

    def add_fake_stats(self, videos: np.ndarray) -> None:
        assert videos.dtype == np.uint8
        self.fake.append(float(videos.mean()))

    def compute_fvd_from_stats(self) -> np.float64:
        return np.square(np.mean(self.real) - np.mean(self.fake))


class Bench:
    """As in vbench 0.1.5, custom input: reads the videos of a folder and writes NAME_eval_results.json."""

    asked: list[tuple[str, dict[str, Any]]]

    def __init__(self, device: str, full_info_dir: str, output_path: str) -> None:
        assert device == "cpu"
        self.output = Path(output_path)
        self.output.mkdir(exist_ok=True)

    def evaluate(
        self,
        videos_path: str,
        name: str,
        prompt_list: tuple[str, ...] = (),
        dimension_list: list[str] | None = None,
        local: bool = False,
        read_frame: bool = False,
        mode: str = "vbench_standard",
        **kwargs: Any,
    ) -> None:
        assert (local, mode, dimension_list) == (True, "custom_input", [name])
        Bench.asked.append((name, kwargs))
        levels = [float(read_video(file)[0].mean()) for file in sorted(Path(videos_path).glob("*.mp4"))]
        print(f"Evaluation results of {len(levels)} videos")
        results = {name: [float(np.mean(levels)), [{"video_path": "", "video_results": level} for level in levels]]}
        (self.output / f"{name}_eval_results.json").write_text(json.dumps(results))


@pytest.fixture
def cdfvd(monkeypatch: pytest.MonkeyPatch) -> None:
    module("cdfvd", monkeypatch)
    module("cdfvd.fvd", monkeypatch, cdfvd=Cdfvd)


@pytest.fixture
def vbench(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VBENCH_CACHE_DIR", "")
    Bench.asked = []
    module("vbench", monkeypatch, VBench=Bench)


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    (tmp_path / "i3d.pt").write_bytes(b"weights")
    return tmp_path / "i3d.pt"


@pytest.fixture
def videos(tmp_path: Path) -> list[Path]:
    """Two clips as `evaluate motion --videos` writes them: true, model and warp side by side, of one level each."""
    levels = {"a": (60, 100, 0), "b": (100, 180, 0)}
    for name, parts in levels.items():
        frame = np.concatenate([np.full((32, 48, 3), level, np.uint8) for level in parts], 1)
        write_mp4(tmp_path / f"{name}.mp4", [frame] * 9, 24, CRF)
    return [tmp_path / f"{name}.mp4" for name in levels]


@pytest.mark.usefixtures("cdfvd")
def test_fvd_is_over_all_clips(weights: Path, videos: list[Path], capsys: pytest.CaptureFixture[str]) -> None:
    figures = external.fvd(videos, weights, "cpu")
    assert figures == {"clips": 2, "value": pytest.approx((140 - 80) ** 2, rel=0.05)}
    assert capsys.readouterr().out == "", "stdout is for figures"
    with pytest.raises(ValueError, match="1 clips: a Fréchet distance needs two"):
        external.fvd(videos[:1], weights, "cpu")
    short = videos[0].with_name("c.mp4")
    write_mp4(short, np.zeros((5, 32, 144, 3), np.uint8), 24)
    with pytest.raises(ValueError, match=r"c\.mp4: FVD needs at least 9 frames, this has 5"):
        external.fvd([*videos, short], weights, "cpu")


@pytest.mark.usefixtures("vbench")
def test_vbench_measures_what_it_has_weights_for(
    tmp_path: Path, videos: list[Path], capsys: pytest.CaptureFixture[str]
) -> None:
    for file in ("pyiqa_model/musiq_spaq_ckpt-358bb6af.pth", "clip_model/ViT-L-14.pt"):
        (tmp_path / file).parent.mkdir(exist_ok=True)
        (tmp_path / file).write_bytes(b"weights")
    figures, missing = external.vbench(videos, tmp_path, "cpu")
    assert os.environ["VBENCH_CACHE_DIR"] == str(tmp_path)
    assert set(figures) == {"clips", "temporal_flickering", "imaging_quality"}
    assert figures["temporal_flickering"] == pytest.approx(140, abs=2), "the model's videos alone"
    assert missing == [
        *("vbench.subject_consistency", "vbench.background_consistency", "vbench.motion_smoothness"),
        *("vbench.dynamic_degree", "vbench.aesthetic_quality"),
    ]
    assert dict(Bench.asked)["imaging_quality"] == {"imaging_quality_preprocessing_mode": "longer"}
    assert capsys.readouterr().out == ""


@pytest.mark.usefixtures("cdfvd", "vbench")
def test_both_are_written(tmp_path: Path, weights: Path, videos: list[Path]) -> None:
    arguments = ["external", str(videos[0].parent), "--fvd", str(weights), "--vbench", str(tmp_path)]
    assert cli.run([*arguments, "--json", str(tmp_path / "figures.json")], app) == errors.DONE
    figures = json.loads((tmp_path / "figures.json").read_text())
    assert figures["fvd"]["clips"] == figures["vbench"]["clips"] == 2
    assert len(figures["missing"]) == 6
    assert cli.run(["external", str(videos[0].parent)], app) == errors.WRONG_INPUT


def test_a_package_that_is_not_there_is_named_with_its_licence(
    weights: Path, tmp_path: Path, videos: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VBENCH_CACHE_DIR", "")
    for name in ("cdfvd", "vbench"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(ValueError, match=r"pip install cd-fvd \(licence: MIT"):
        external.fvd(videos, weights, "cpu")
    with pytest.raises(ValueError, match=r"pip install vbench \(licence: Apache-2\.0"):
        external.vbench(videos, tmp_path, "cpu")


def test_weights_that_are_not_there_are_the_user_s_mistake(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"--fvd .*no such file"):
        external.fvd([], tmp_path / "none.pt", "cpu")
    with pytest.raises(ValueError, match=r"--vbench .*no such folder"):
        external.vbench([], tmp_path / "none", "cpu")
