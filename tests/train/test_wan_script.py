"""Wan's whole recipe on a page runs, on reduced parts in their published layouts: from videos to a live model."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from tests.small import randomised
from tests.train.wan import STAGES
from tests.wan.published_sources import ship
from tests.wan.random_vae import save_vae
from tests.wan.wan_folder import save_clip, save_text

from motionstream import zoo
from motionstream.data.clip_shards import ClipShards
from motionstream.data.encode import Cut, captions, prepared_video
from motionstream.dit import CONFIGS, VideoDiT
from motionstream.stream.video import write_mp4
from motionstream.train.recipe import NETWORK_SIZES, load
from motionstream.train.recipes_wan import REDUCED
from motionstream.wan.conversion import convert, plan_conversion

ROOT = Path(__file__).parents[2]


def save_start(folder: Path) -> None:
    """Converted from an image-to-video transformer as Wan publishes it, in the reduced sizes, which the command that
    the page calls does not know."""
    torch.manual_seed(0)
    sizes = {name: getattr(REDUCED, name) for name in NETWORK_SIZES}
    config = replace(CONFIGS["wan2.1-1.3b-i2v"], image_dim=REDUCED.image_dim, **sizes)
    model = VideoDiT(config)
    randomised(model, 0.05)
    source = ship(model, folder.with_suffix(".safetensors"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(CONFIGS, "reduced", config)
        convert(plan_conversion(source, track_channels=REDUCED.track_channels), folder)


def save_videos(folder: Path) -> None:
    folder.mkdir()
    texture = np.random.default_rng(0).integers(0, 255, (128, 160, 3)).astype(np.uint8)
    for number, frames in enumerate((26, 12)):
        views = (texture[moved : moved + 96, moved : moved + 128] for moved in range(frames))
        write_mp4(folder / f"{number}.mp4", views, 24.0)
        (folder / f"{number}.txt").write_text("a boat sails in the rain\n")


@pytest.fixture(scope="module")
def parts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("parts")
    save_vae(folder / "wan" / "vae", "wan2.1")
    save_text(folder / "wan")
    save_clip(folder / "wan")
    save_videos(folder / "videos")
    return folder


def test_frames_are_taken_at_the_clips_rate_and_size(parts: Path) -> None:
    assert captions(parts / "videos") == {"0": "a boat sails in the rain", "1": "a boat sails in the rain"}
    made = prepared_video(parts / "videos" / "0.mp4", Cut((64, 48), 17, 16.0))
    assert made is not None
    assert made.frames.shape == (17, 48, 64, 3)
    assert made.kept.tolist() == [n * 3 // 2 for n in range(17)], "24 frames a second to 16"
    assert prepared_video(parts / "videos" / "1.mp4", Cut((64, 48), 17, 16.0)) is None


def test_wrong_folders_of_videos_are_explained(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="holds no clip"):
        captions(tmp_path)
    (tmp_path / "clips.jsonl").write_text('{"name": "a"}\n')
    with pytest.raises(ValueError, match='with "clip" and "caption"'):
        captions(tmp_path)


def test_the_page_runs_from_converted_weights_and_videos_to_a_live_model(parts: Path, tmp_path: Path) -> None:
    save_start(tmp_path / "init")
    environment = {
        **os.environ,
        "RECIPE": "wan_reduced",
        "WAN": str(parts / "wan"),
        "SOURCE": "converted before",
        "CLIPS": str(parts / "videos"),
        "OUT": str(tmp_path),
        "SIZE": "64x48",
        "FRAMES": "17",
        "TRACKER": "lucas-kanade",
        "EXTRA": "--dtype float32 --grid 10x8",
        "ACCUMULATE": "1",
        "LAUNCH": "",
        "MOTIONSTREAM": str(Path(sys.executable).with_name("motionstream")),
        "XDG_CACHE_HOME": str(tmp_path / "cache"),
    }
    command = ["bash", str(ROOT / "runs" / "wan_1_3b.sh")]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=280)
    assert done.returncode == 0, done.stderr
    clips = ClipShards(tmp_path / "clips")
    assert (len(clips), clips.prepared.vae, clips.prepared.image_dim) == (1, "wan2.1", REDUCED.image_dim)
    assert clips[0].tracks.points == 80
    for stage in STAGES:
        assert f"{stage}: step 4 (done)" in done.stdout
        assert load(tmp_path / stage / "recipe.json").accumulate == 1
    model = zoo.load(tmp_path / "model", "cpu")
    stream = model.open(np.zeros((48, 64, 3), np.uint8), prompt="a boat")
    assert stream.step(None).shape[1:] == (48, 64, 3)


@pytest.mark.parametrize("script", ["wan_1_3b.sh", "wan_5b.sh"])
def test_what_is_missing_is_named(script: str) -> None:
    bare = {name: value for name, value in os.environ.items() if name not in ("WAN", "SOURCE", "CLIPS")}
    done = subprocess.run(["bash", str(ROOT / "runs" / script)], env=bare, capture_output=True, text=True, timeout=60)
    assert done.returncode != 0
    assert "WAN: a folder, see above" in done.stderr
