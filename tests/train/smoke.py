"""The smoke recipes' chain on the tests' own pictures, made without background processes."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TypeVar
from unittest.mock import patch

import numpy as np
import torch
from torch import Tensor, nn

from motionstream.data.loader import loader
from motionstream.geometry import Geometry
from motionstream.train import motion_stage, named, tiny_decoder, tiny_vae, train
from motionstream.train.causal_init import CausalInitStage
from motionstream.train.detail import DetailStage
from motionstream.train.motion_data import Drops, MotionData, Sample, frozen_vae
from motionstream.train.points import Choice
from motionstream.train.prompt_filter import PromptFilterStage
from motionstream.train.recipe import Recipe
from motionstream.train.run import BUILDERS, builder
from motionstream.train.self_forcing import SelfForcingStage
from motionstream.train.stage import Stage
from motionstream.train.teacher import TeacherStage
from motionstream.train.tiny_vae import TinyVAEStage

S = TypeVar("S", bound=Stage)
ASSETS = Path(__file__).parents[1] / "data" / "assets"
STEPS = 4
NO_DROPS = Drops()


@contextmanager
def in_this_process() -> Iterator[None]:
    """Every stage makes its batches itself: what is tested is the stage, not the start of a process."""
    with ExitStack() as patches:
        for module in (motion_stage, tiny_vae, tiny_decoder):
            patches.enter_context(patch.object(module, "loader", partial(loader, workers=0)))
        yield


def run_chain(out: Path) -> None:
    with in_this_process():
        for stage in BUILDERS:
            train(stage, "smoke", out, ASSETS)


def recipe(stage: str, **changes: object) -> Recipe:
    return replace(named(stage, "smoke"), device="cpu", **changes)  # type: ignore[arg-type]


def make(stage: str, out: Path, **changes: object) -> Stage:
    """A fresh stage on top of a finished chain."""
    torch.manual_seed(0)
    with in_this_process():
        return builder(stage)(recipe(stage, **changes), ASSETS, out)


def made(kind: type[S], name: str, out: Path, **changes: object) -> S:
    stage = make(name, out, **changes)
    assert isinstance(stage, kind)
    return stage


def vae_stage(out: Path, **changes: object) -> TinyVAEStage:
    return made(TinyVAEStage, "vae", out, **changes)


def teacher_stage(out: Path, name: str = "teacher", **changes: object) -> TeacherStage:
    return made(TeacherStage, name, out, **changes)


def causal_stage(out: Path, **changes: object) -> CausalInitStage:
    return made(CausalInitStage, "causal", out, **changes)


def forcing_stage(out: Path, **changes: object) -> SelfForcingStage:
    return made(SelfForcingStage, "self-forcing", out, **changes)


def detail_stage(out: Path, **changes: object) -> DetailStage:
    return made(DetailStage, "detail", out, **changes)


def prompt_filter_stage(out: Path, **changes: object) -> PromptFilterStage:
    return made(PromptFilterStage, "prompt-filter", out, **changes)


def motion_data(out: Path, drops: Drops = NO_DROPS, seed: int = 0, frames: int = 21) -> MotionData:
    """Clips of several chunks, in float32."""
    data = loader(recipe("teacher", frames=frames), ASSETS, workers=0)
    vae = frozen_vae(out / "vae", "cpu", torch.float32)
    return MotionData(data, vae, Geometry(64, 48), Choice(20, 100), drops, seed)


def one_sample(stage: TeacherStage | CausalInitStage | SelfForcingStage) -> Sample:
    return stage.data.next(no_motion=True)


def weights(module: nn.Module) -> dict[str, Tensor]:
    return {name: tensor.detach().clone() for name, tensor in module.state_dict().items()}


def changed(before: dict[str, Tensor], module: nn.Module) -> set[str]:
    """Names of the tensors that are no longer what they were."""
    return {name for name, tensor in module.state_dict().items() if not torch.equal(tensor, before[name])}


def finite(scalars: dict[str, float]) -> bool:
    return all(math.isfinite(value) for value in scalars.values())


def without_gradient(module: nn.Module) -> set[str]:
    """Names of the parameters that no gradient has reached."""
    return {name for name, p in module.named_parameters() if p.grad is None or not np.any(p.grad.numpy())}


def track_head(module: nn.Module) -> set[str]:
    """Names of the track head's tensors."""
    return {name for name in module.state_dict() if name.startswith("track_head.")}
