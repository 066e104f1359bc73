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

from motionstream.evaluate import external
from motionstream.evaluate.external import Fvd, NotInstalled, VBench
from motionstream.stream.video import read_video

RNG = np.random.default_rng(0)
TRUE = RNG.integers(0, 255, (9, 32, 48, 3), np.uint8)
MADE = RNG.integers(0, 255, (9, 32, 48, 3), np.uint8)


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
        assert videos.shape == (1, *TRUE.shape)
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


@pytest.mark.usefixtures("cdfvd")
def test_fvd_is_over_all_clips(weights: Path, capsys: pytest.CaptureFixture[str]) -> None:
    measure = Fvd(weights, "cpu")
    measure.add("a", MADE, TRUE, 24)
    assert measure.figures() == ({}, ["fvd"]), "one clip is no distribution"
    measure.add("b", TRUE, TRUE, 24)
    figures, missing = measure.figures()
    assert missing == []
    assert figures["fvd"]["clips"] == 2
    assert figures["fvd"]["value"] == pytest.approx(((MADE.mean() - TRUE.mean()) / 2) ** 2)
    assert capsys.readouterr().out == "", "stdout is for figures"
    with pytest.raises(ValueError, match="c: FVD needs clips of at least 9 frames"):
        measure.add("c", MADE[:5], TRUE[:5], 24)


@pytest.mark.usefixtures("vbench")
def test_vbench_measures_what_it_has_weights_for(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for file in ("pyiqa_model/musiq_spaq_ckpt-358bb6af.pth", "clip_model/ViT-L-14.pt"):
        (tmp_path / file).parent.mkdir(exist_ok=True)
        (tmp_path / file).write_bytes(b"weights")
    measure = VBench(tmp_path, "cpu")
    assert os.environ["VBENCH_CACHE_DIR"] == str(tmp_path)
    dark, light = np.full_like(MADE, 60), np.full_like(MADE, 180)
    measure.add("a", dark, TRUE, 24)
    measure.add("b", light, TRUE, 24)
    figures, missing = measure.figures()
    assert set(figures["vbench"]) == {"clips", "temporal_flickering", "imaging_quality"}
    assert figures["vbench"]["temporal_flickering"] == pytest.approx(120, abs=2)
    assert missing == [
        *("vbench.subject_consistency", "vbench.background_consistency", "vbench.motion_smoothness"),
        *("vbench.dynamic_degree", "vbench.aesthetic_quality"),
    ]
    assert dict(Bench.asked)["imaging_quality"] == {"imaging_quality_preprocessing_mode": "longer"}
    assert capsys.readouterr().out == ""
    assert not Path(measure._folder.name).exists()


def test_a_package_that_is_not_there_is_named_with_its_licence(
    weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VBENCH_CACHE_DIR", "")
    for name in ("cdfvd", "vbench"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    monkeypatch.setattr(external.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(NotInstalled, match=r"pip install cd-fvd \(licence: MIT"):
        Fvd(weights, "cpu")
    said: list[str] = []
    measures, missing = external.asked(weights, tmp_path, "cpu", said.append)
    assert (measures, missing) == ([], ["fvd", "vbench"])
    assert "Apache-2.0" in said[1]
    assert external.asked(None, None, "auto", said.append) == ([], [])


def test_weights_that_are_not_there_are_the_user_s_mistake(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"--fvd .*no such file"):
        Fvd(tmp_path / "none.pt", "cpu")
    with pytest.raises(ValueError, match=r"--vbench .*no such folder"):
        VBench(tmp_path / "none", "cpu")
