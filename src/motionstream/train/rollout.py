"""Stage "rollout": the student rolls out on its own outputs, with sink and rolling cache, and learns the true clip,
which synthetic worlds have. There is no teacher and no critic, so a step costs a third of Self Forcing's
(`self_forcing.py` rolls out the same way), and an anchored student needs none to begin with: it starts as the warp.

The gradient goes through one denoising call a chunk, never through the cache. Beyond the paper.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from motionstream.sampling import MotionModel
from motionstream.tiny.conditioner import AnchoredConditioning
from motionstream.tiny.warp import vacancy
from motionstream.train.ema import EMA
from motionstream.train.motion_data import Drops, MotionSource, Sample
from motionstream.train.motion_stage import MotionStage, motion_source, roll_out, student_sheet
from motionstream.train.network import new_model, place
from motionstream.train.optim import Updater
from motionstream.train.recipe import RolloutRecipe
from motionstream.train.stage import Image, autocast


def build(recipe: RolloutRecipe, assets: Path, out: Path) -> RolloutStage:
    """The stage, ready for its first step or for `load_state_dict`."""
    data = rollout_clips(recipe, assets, out)
    start = out / recipe.causal if recipe.causal else None
    return RolloutStage(recipe, data, new_model(recipe.network, data.latent_channels, start))


def rollout_clips(recipe: RolloutRecipe, assets: Path, out: Path) -> MotionSource:
    """The clips whose pictures, prompts and tracks are rolled out."""
    return motion_source(recipe, assets, out, Drops(idle=recipe.idle), recipe.seed + 2)


class RolloutStage(MotionStage):
    recipe: RolloutRecipe

    def __init__(self, recipe: RolloutRecipe, data: MotionSource, student: MotionModel) -> None:
        super().__init__(recipe, data, recipe.seed + 2)
        self.student = student
        self.student.track_head.requires_grad_(not recipe.causal)  # a student's is frozen (paper Section 3.2)
        self.ema = EMA(self.student, recipe.ema_decay, start=recipe.ema_start)
        place([self.student, self.ema.average], recipe)
        self.updater = Updater.of(recipe, self.student, self.ema)
        self.updaters = {"student": self.updater}

    def step(self, step: int, progress: float) -> dict[str, float]:
        recipe = self.recipe
        for sample in self.samples():
            with autocast(recipe):
                call = exit_step(recipe, 2 * step + 1, self.random)
                clip = student_clip(self.student, sample, recipe, self.random, call)
            self.updater.backward(true_clip_losses(clip, sample, recipe.vacant_weight))
        return self.updater.apply(step, progress)

    def sheet(self) -> Image | None:
        """Rows: true clip, the student's rollout, the warp it starts from."""
        return student_sheet(self.ema.average, self.data, self.recipe, self.recipe.live.rollout_config)


def exit_step(recipe: RolloutRecipe, key: int, random: torch.Generator) -> int:
    """The denoising call of each chunk that has the gradient, drawn anew for each pass (Self Forcing).

    On prepared clips ranks may share one network, so all must make the same number of calls: there it follows from
    `key`, which all ranks and passes of an update share.
    """
    generator = torch.Generator().manual_seed(key) if recipe.data == "shards" else random
    return int(torch.randint(recipe.denoising_steps, (), generator=generator))


def student_clip(
    student: MotionModel, sample: Sample, recipe: RolloutRecipe, random: torch.Generator, exit_step: int
) -> Tensor:
    """ẑ (B, T, C, h, w): a training rollout; the gradient, if enabled, through call `exit_step` of each chunk."""
    seed = int(torch.randint(1 << 31, (), generator=random))
    noise = history_noise(sample.latents, recipe.history_noise, random) if recipe.history_noise else None
    return roll_out(student, sample, recipe.live.rollout_config, seed, exit_step, noise).float()


def history_noise(latents: Tensor, largest: float, random: torch.Generator) -> Tensor:
    """(B, 1, C, 1, 1): a shift of each channel, by a normal draw whose deviation is drawn from 0 … largest per clip."""
    clips, _, channels = latents.shape[:3]
    deviation = largest * torch.rand(clips, 1, generator=random)
    return (deviation * torch.randn(clips, channels, generator=random))[:, None, :, None, None]


def true_clip_losses(clip: Tensor, sample: Sample, vacant_weight: float) -> dict[str, Tensor]:
    """The clip's error, and that over the error of the prior (the warp itself): below 1 the student improves on it."""
    with torch.no_grad():
        over_prior = true_error(clip, sample, 0) / true_error(sample.conditioning.prior(), sample, 0)
    return {"loss": true_error(clip, sample, vacant_weight), "error_over_prior": over_prior}


def true_error(clip: Tensor, sample: Sample, vacant_weight: float) -> Tensor:
    """Mean squared error of a rollout (B, T, C, h, w) from the true clip, its given first latent left out.

    vacant_weight: of cells where nothing of the anchor's picture has landed, beside 1 of the others.
    """
    square = (clip - sample.latents)[:, 1:].square().mean(2, keepdim=True)
    if not isinstance(sample.conditioning, AnchoredConditioning):
        return square.mean()
    vacant = vacancy(sample.conditioning.support[:, 1:, :-1]).mean(2, keepdim=True)
    return (square * (1 + vacant_weight * vacant)).mean()
