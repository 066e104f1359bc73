"""Stages "teacher" and "teacher-mask": flow matching with tracks, prompt and picture (paper Section 3.1).

The bidirectional network learns v at a random time of the path from clip to noise, with the prompt, the tracks, both
or the warped anchor dropped at random; the second stage masks middle frames and freezes the track head.
"""

from __future__ import annotations

from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from motionstream.diffusion import interpolate, sample_times
from motionstream.sampling import Control, Guidance, MotionModel, frame_times, sample_clip
from motionstream.train.ema import EMA
from motionstream.train.motion_data import MotionSource, Sample, context_of, null_prompt_context
from motionstream.train.motion_stage import MotionStage, guidance_drops, latent_sheet, motion_source
from motionstream.train.network import new_model, place
from motionstream.train.optim import Updater
from motionstream.train.recipe import TeacherRecipe
from motionstream.train.stage import Image, autocast

SHEET_STEPS = 8


def build(recipe: TeacherRecipe, assets: Path, out: Path) -> TeacherStage:
    """The stage, ready for its first step or for `load_state_dict`."""
    data = motion_source(recipe, assets, out, guidance_drops(recipe), recipe.seed)
    start = out / recipe.init_from if recipe.init_from else None
    return TeacherStage(recipe, data, new_model(recipe.network, data.latent_channels, start))


class TeacherStage(MotionStage):
    recipe: TeacherRecipe

    def __init__(self, recipe: TeacherRecipe, data: MotionSource, model: MotionModel) -> None:
        super().__init__(recipe, data, recipe.seed)
        self.model = model
        self.model.track_head.requires_grad_(recipe.mask_probability == 0)
        self.ema = EMA(self.model, recipe.ema_decay)
        place([self.model, self.ema.average], recipe)
        self.updater = Updater.of(recipe, self.model, self.ema)
        self.updaters = {"model": self.updater}

    def step(self, step: int, progress: float) -> dict[str, float]:
        for sample in self.samples():
            self.updater.backward(flow_matching(self.model, sample, self.recipe, self.random))
        return self.updater.apply(step, progress)

    def sheet(self) -> Image | None:
        """Rows: true clip, the teacher's sample, the warp it starts from."""
        if self.data.vae is None:
            return None
        sample, teacher = self.data.probe(1), self.ema.average
        noise = torch.randn(sample.latents.shape, generator=torch.Generator().manual_seed(0)).to(sample.latents)
        with torch.no_grad(), autocast(self.recipe):
            control, guidance = control_of(teacher, sample), Guidance(0.0, 0.0)
            made = sample_clip(teacher, sample.first, control, noise, SHEET_STEPS, self.recipe.shift, guidance)
        return latent_sheet(self.data.vae, [sample.latents, made, sample.conditioning.prior()])


def flow_matching(
    model: MotionModel, sample: Sample, recipe: TeacherRecipe, random: torch.Generator
) -> dict[str, Tensor]:
    """Noise the clips to a time each, let the model guess them clean, compare."""
    clean = sample.latents
    noise = torch.randn(clean.shape, generator=random).to(clean)
    t = frame_times(sample_times((len(clean),), recipe.shift, random), clean)
    noisy = interpolate(clean, noise, t)
    with autocast(recipe):
        guess = model.clean(noisy, t, sample.conditioning, context_of(model, sample))
    return flow_losses(model, guess.float(), t, sample)


TIME_FLOOR, ANCHORED_TIME_FLOOR = 1e-3, 0.5
"""Of the paper's networks, and of those that correct a warped anchor: from this time on an error of the clean guess
counts as the velocity error that it makes.

A network that guesses the clean latents would otherwise spend itself on times near 0, where the noisy latents almost
are the answer and which a few-step student never visits."""


def flow_losses(model: MotionModel, guess: Tensor, t: Tensor, sample: Sample) -> dict[str, Tensor]:
    """Flow-matching loss of a clean guess (B, T, C, h, w) over the latents that are not given.

    ‖v̂ − v‖² = ‖ẑ_0 − z_0‖² / t², with t bounded from below. "error_over_prior": error of the guess over that
    of the prior (of anchored networks: the warp); below 1 the network improves on it.
    """
    unknown, clean = t > 0, sample.latents
    error = (guess - clean)[unknown]
    floor = ANCHORED_TIME_FLOOR if model.config.conditioning.anchored else TIME_FLOOR
    weight = t[unknown].clamp(min=floor)[:, None, None, None]
    with torch.no_grad():
        mean = error.square().mean()
        prior_error = F.mse_loss(sample.conditioning.prior()[unknown], clean[unknown])
    return {"loss": (error / weight).square().mean(), "clean_error": mean, "error_over_prior": mean / prior_error}


def control_of(model: MotionModel, sample: Sample) -> Control:
    """A sample's control with its null forms; the sample must have been drawn with `no_motion`."""
    if sample.no_motion is None:
        raise ValueError("draw the sample with no_motion=True for guidance")
    context, null_context = context_of(model, sample), null_prompt_context(model, sample)
    return Control(sample.conditioning, context, sample.no_motion, null_context)
