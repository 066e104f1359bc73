"""Small prepared clips, converted weights and stages with the structure of Wan's."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from safetensors.torch import save_file
from tests.small import randomised

from motionstream.data.clip_shards import ClipShardWriter, EncodedClip, Prepared
from motionstream.sampling import MotionModel
from motionstream.tracks import Tracks
from motionstream.train import named, train
from motionstream.train.network import model_config
from motionstream.train.recipe import Recipe
from motionstream.train.recipes_wan import REDUCED, START
from motionstream.train.run import builder
from motionstream.train.stage import Stage
from motionstream.wan.conversion import NETWORK_FILE

PREPARED = Prepared("wan2.1", (64, 48), 17, latent_channels=16, text_dim=32, image_dim=48)
STAGES = ("teacher", "teacher-mask", "causal", "self-forcing")
S = TypeVar("S", bound=Stage)


def a_clip(number: int) -> EncodedClip:
    random, numbers = np.random.default_rng(number), torch.Generator().manual_seed(number)
    start = random.uniform((2, 2), (62, 46), (1, 50, 2))
    xy = (start + random.normal(0, 1, (17, 50, 2)).cumsum(0)).astype(np.float32)
    return EncodedClip(
        latents=torch.randn(5, 16, 6, 8, generator=numbers).bfloat16(),
        tracks=Tracks(xy, random.random((17, 50)) < 0.9),
        text=torch.randn(3 + number % 3, 32, generator=numbers).bfloat16(),
        seen=torch.randn(4, 48, generator=numbers).bfloat16(),
        caption=f"clip {number}",
    )


def write_clips(folder: Path, clips: int = 7) -> Path:
    null_prompt = torch.randn(1, 32, generator=torch.Generator().manual_seed(99))
    with ClipShardWriter(folder, PREPARED, null_prompt, clips_a_shard=3) as writer:
        for number in range(clips):
            writer.add(a_clip(number))
    return folder


def write_start(out: Path, seed: int = 0) -> Path:
    """Random weights as `motionstream convert` leaves published ones."""
    torch.manual_seed(seed)
    model = MotionModel(model_config(REDUCED, 16), text=False)
    randomised(model)
    folder = out / START
    folder.mkdir(parents=True)
    save_file({name: weight.bfloat16() for name, weight in model.state_dict().items()}, folder / "a.safetensors")
    (folder / NETWORK_FILE).write_text("{}")
    return folder


def recipe(stage: str, **changes: object) -> Recipe:
    return replace(named(stage, "wan_reduced"), device="cpu", **changes)  # type: ignore[arg-type]


def make(kind: type[S], stage: str, clips: Path, out: Path, **changes: object) -> S:
    """A fresh stage on top of what is in `out`."""
    made = builder(stage)(recipe(stage, **changes), clips, out)
    assert isinstance(made, kind)
    return made


def run_chain(out: Path, clips: Path) -> None:
    write_start(out)
    for stage in STAGES:
        train(stage, recipe(stage), out, clips)
