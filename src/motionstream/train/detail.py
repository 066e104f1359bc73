"""Stage "detail": what the student's frames lack is taken from the warped anchor (see `tiny.detail`).

The finished student rolls out on its own outputs, as it does live; its decoded frames and the warp go in, the true
clip is wanted. So the network learns to trust each where it is right, with the faults this student really makes.
Loss: absolute error and that of the spatial differences, as for the tiny VAE. Where nothing of the picture lands, which
is little of a clip, the first counts for more and the second not at all: nobody knows the edges there.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from motionstream.data.loader import loader
from motionstream.diffusion import few_step_times
from motionstream.geometry import Geometry
from motionstream.sampling import MotionModel, RolloutConfig
from motionstream.tiny.detail import CELL, Detail
from motionstream.tiny.warp import vacancy
from motionstream.train.causal_init import roll
from motionstream.train.ema import EMA
from motionstream.train.motion_data import (
    REANCHOR,
    DrawingStage,
    Drops,
    MotionData,
    WorldSample,
    context_of,
    frozen_vae,
)
from motionstream.train.network import finished, new_model
from motionstream.train.optim import Schedule, Updater, make_optimizer
from motionstream.train.points import Choice
from motionstream.train.precision import autocast
from motionstream.train.recipe import DetailRecipe
from motionstream.train.sheet import rows
from motionstream.train.stage import Image
from motionstream.train.tiny_vae import edge_error
from motionstream.vae.pixels import to_uint8


def build(recipe: DetailRecipe, assets: Path, out: Path) -> DetailStage:
    """The stage, ready for its first step or for `load_state_dict`."""
    vae = frozen_vae(out / recipe.vae, recipe.device, getattr(torch, recipe.dtype))
    choice = Choice(recipe.points_min, recipe.points_max, recipe.mask_probability)
    drops = Drops(text=recipe.text_drop, reanchor=REANCHOR)
    data = MotionData(loader(recipe, assets), vae, Geometry(*recipe.size), choice, drops, recipe.seed + 3)
    student = new_model(recipe.network, vae.latent_channels, out / recipe.student)
    detail = finished_detail(out / recipe.init_from) if recipe.init_from else Detail(recipe.detail)
    return DetailStage(recipe, data, student, detail)


def finished_detail(run_dir: Path) -> Detail:
    """The averaged network of a finished run of stage "detail"."""
    recipe, weights = finished(run_dir, DetailRecipe, "the detail")
    detail = Detail(recipe.detail)
    detail.load_state_dict(weights)
    return detail


class DetailStage(DrawingStage):
    data: MotionData

    def __init__(self, recipe: DetailRecipe, data: MotionData, student: MotionModel, detail: Detail) -> None:
        self.recipe, self.data = recipe, data
        self.student = student.to(recipe.device).requires_grad_(False).eval()
        self.detail = detail.to(recipe.device)
        self.ema = EMA(self.detail, recipe.ema_decay)
        self.optimizer = make_optimizer(self.detail, recipe.lr, recipe.weight_decay, recipe.optimizer)
        schedule = Schedule(recipe.warmup_steps, recipe.decay_fraction)
        self.updater = Updater(self.detail, self.optimizer, schedule, recipe.clip, recipe.accumulate, self.ema)
        times = few_step_times(recipe.denoising_steps, recipe.shift)
        self.rollout_config = RolloutConfig(
            recipe.chunk, recipe.sink, recipe.window, tuple(times.tolist()), recipe.clean_pass
        )
        self.random = torch.Generator().manual_seed(recipe.seed + 3)

    def modules(self) -> dict[str, nn.Module]:
        return {"detail": self.detail, "ema": self.ema}

    def optimizers(self) -> dict[str, Any]:
        return {"detail": self.optimizer}

    def step(self, step: int, progress: float) -> dict[str, float]:
        means = self.updater.accumulated(lambda: self._losses(self.data.next()))
        return means | self.updater.apply(step, progress)

    def sheet(self) -> Image | None:
        """Rows: true clip, frames shown, decoded frames, warp."""
        sample = self.data.probe(1)
        average: Detail = self.ema.average  # type: ignore[assignment]
        with torch.no_grad(), autocast(sample.latents.device, self.recipe.dtype):
            decoded = self._decoded(sample, seed=0)
            shown = average(decoded, sample.warp().frames, sample.warp().support)
        return rows([to_uint8(clip[0, ::3]) for clip in (sample.video, shown, decoded, sample.warp().frames)])

    @torch.no_grad()
    def _decoded(self, sample: WorldSample, seed: int) -> Tensor:
        """The student's own clip in pixels (B, F, 3, H, W)."""
        made = roll(self.student, sample, context_of(self.student, sample), self.rollout_config, seed)
        return self.data.vae.decode(made.to(self.data.vae.mean.dtype)).float()

    def _losses(self, sample: WorldSample) -> dict[str, Tensor]:
        video, warped = sample.video[:, 1:].float(), sample.warp().frames[:, 1:]
        support = sample.warp().support[:, 1:]
        with autocast(video.device, self.recipe.dtype):
            seed = int(torch.randint(1 << 31, (), generator=self.random))
            decoded = self._decoded(sample, seed)[:, 1:]
            shown = self.detail(decoded, warped, support).float()
        vacant = vacancy(support).repeat_interleave(CELL, -1).repeat_interleave(CELL, -2)
        weight = 1 + self.recipe.vacant_weight * vacant
        parts = {"l1": ((shown - video).abs() * weight).mean(), "edges": edge_error(shown, video, 1 - vacant)}
        loss = parts["l1"] + self.recipe.edge_weight * parts["edges"]
        quality = {f"psnr_{name}": psnr(made, video) for name, made in _named(shown, decoded, warped)}
        return {"loss": loss, **parts, **quality}


def _named(shown: Tensor, decoded: Tensor, warped: Tensor) -> tuple[tuple[str, Tensor], ...]:
    return ("shown", shown.detach()), ("decoded", decoded), ("warp", warped.float())


def psnr(made: Tensor, true: Tensor) -> Tensor:
    """Peak signal-to-noise ratio in dB of pixels in [−1, 1]."""
    return 10 * torch.log10(4 / F.mse_loss(made.clamp(-1, 1), true).clamp(min=1e-9))
