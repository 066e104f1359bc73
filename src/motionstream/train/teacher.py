"""Stages "teacher" and "teacher-mask": flow matching with tracks, prompt and picture (paper Section 3.1).

The bidirectional network learns v at a random time of the path from clip to noise, with the prompt, the tracks, both
or the warped anchor dropped at random; the second stage masks middle frames and freezes the track head.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from motionstream.data.loader import loader
from motionstream.diffusion import interpolate, sample_times
from motionstream.geometry import Geometry
from motionstream.sampling import Control, Guidance, MotionModel, frame_times, sample_clip
from motionstream.tiny.vae import TinyVAE
from motionstream.train.ema import EMA
from motionstream.train.motion_data import (
    REANCHOR,
    DrawingStage,
    Drops,
    MotionData,
    MotionSource,
    Sample,
    context_of,
    draw,
    frozen_vae,
    unsaid_context,
)
from motionstream.train.network import new_model, place
from motionstream.train.optim import Schedule, Updater, make_optimizer
from motionstream.train.points import Choice
from motionstream.train.precision import autocast
from motionstream.train.recipe import TeacherRecipe
from motionstream.train.sheet import rows
from motionstream.train.stage import Image
from motionstream.train.wan_data import ShardData
from motionstream.vae.pixels import to_uint8

SHEET_STEPS = 8


def build(recipe: TeacherRecipe, assets: Path, out: Path) -> TeacherStage:
    """The stage, ready for its first step or for `load_state_dict`."""
    choice = Choice(recipe.points_min, recipe.points_max, recipe.mask_probability)
    drops = Drops(recipe.text_drop, recipe.track_drop, recipe.both_drop, recipe.anchor_drop, reanchor=REANCHOR)
    data: MotionSource
    if recipe.data == "shards":
        data = ShardData.of(recipe, assets, choice, drops)
    else:
        vae = frozen_vae(out / recipe.vae, recipe.device, getattr(torch, recipe.dtype))
        data = MotionData(
            loader(recipe, assets), vae, Geometry(*recipe.size), choice, drops, recipe.seed, recipe.network.anchored
        )
    start = out / recipe.init_from if recipe.init_from else None
    return TeacherStage(recipe, data, new_model(recipe.network, data.latent_channels, start))


class TeacherStage(DrawingStage):
    def __init__(self, recipe: TeacherRecipe, data: MotionSource, model: MotionModel) -> None:
        self.recipe, self.data = recipe, data
        self.model = model
        self.model.track_head.requires_grad_(recipe.mask_probability == 0)
        self.ema = EMA(self.model, recipe.ema_decay)
        place([self.model, self.ema.average], recipe)
        self.optimizer = make_optimizer(self.model, recipe.lr, recipe.weight_decay, recipe.optimizer)
        schedule = Schedule(recipe.warmup_steps, recipe.decay_fraction)
        self.updater = Updater(self.model, self.optimizer, schedule, recipe.clip, recipe.accumulate, self.ema)
        self.random = torch.Generator().manual_seed(recipe.seed)

    def modules(self) -> dict[str, nn.Module]:
        return {"model": self.model, "ema": self.ema}

    def optimizers(self) -> dict[str, Any]:
        return {"model": self.optimizer}

    def step(self, step: int, progress: float) -> dict[str, float]:
        means = self.updater.accumulated(lambda: self._losses(draw(self.data, self.random)))
        return means | self.updater.apply(step, progress)

    def sheet(self) -> Image | None:
        """Rows: true clip, the teacher's sample, the warp it starts from."""
        if self.data.vae is None:
            return None
        sample = self.data.probe(1)
        average: MotionModel = self.ema.average  # type: ignore[assignment]
        with torch.no_grad(), autocast(sample.latents.device, self.recipe.dtype):
            control = control_of(average, sample)
            noise = torch.randn(sample.latents.shape, generator=torch.Generator().manual_seed(0)).to(sample.latents)
            made = sample_clip(
                average, sample.first, control, noise, SHEET_STEPS, self.recipe.shift, Guidance(0.0, 0.0)
            )
        return latent_rows(self.data.vae, [sample.latents, made, sample.conditioning.prior()])

    def _losses(self, sample: Sample) -> dict[str, Tensor]:
        clean = sample.latents
        noise = torch.randn(clean.shape, generator=self.random).to(clean)
        t = frame_times(sample_times((len(clean),), self.recipe.shift, self.random), clean)
        noisy = interpolate(clean, noise, t)
        with autocast(clean.device, self.recipe.dtype):
            guess = self.model.clean(noisy, t, sample.conditioning, context_of(self.model, sample))
        return flow_losses(self.model, guess.float(), t, sample)


TIME_FLOOR, ANCHORED_TIME_FLOOR = 1e-3, 0.5
"""Of the paper's networks, and of those that correct a warped anchor: from this time on an error of the clean guess
counts as the velocity error that it makes.

A network that guesses the clean latents would otherwise spend itself on times near 0, where the noisy latents almost
are the answer and which a few-step student never visits."""


def time_floor(model: MotionModel) -> float:
    """See `TIME_FLOOR`."""
    return ANCHORED_TIME_FLOOR if model.config.conditioning.anchored else TIME_FLOOR


def flow_losses(model: MotionModel, guess: Tensor, t: Tensor, sample: Sample) -> dict[str, Tensor]:
    """Flow-matching loss of a clean guess (B, T, C, h, w) over the latents that are not given.

    ‖v̂ − v‖² = ‖ẑ_0 − z_0‖² / t², with t bounded from below. "gain": error of the guess over the warp's own; below 1
    the network knows more than the warp.
    """
    unknown, clean = t > 0, sample.latents
    error = (guess - clean)[unknown]
    weight = t[unknown].clamp(min=time_floor(model))[:, None, None, None]
    with torch.no_grad():
        mean = error.square().mean()
        warp_error = F.mse_loss(sample.conditioning.prior()[unknown], clean[unknown])
    return {"loss": (error / weight).square().mean(), "clean_error": mean, "gain": mean / warp_error}


def control_of(model: MotionModel, sample: Sample) -> Control:
    """A sample's control with its null forms; the sample must have been drawn with `no_motion`."""
    if sample.no_motion is None:
        raise ValueError("draw the sample with no_motion=True for guidance")
    return Control(
        sample.conditioning,
        context_of(model, sample),
        sample.no_motion,
        unsaid_context(model, sample),
    )


@torch.no_grad()
def latent_rows(vae: TinyVAE, clips: list[Tensor]) -> Image:
    """Decoded clips (1, T, C, h, w), one a row, every third frame."""
    decoded = (vae.decode(clip.to(vae.mean.dtype))[0, ::3] for clip in clips)
    return rows([to_uint8(video) for video in decoded])
