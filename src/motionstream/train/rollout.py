"""Stage "rollout": the student rolls out on its own outputs, with sink and rolling cache, and is pulled towards the
true clip, which synthetic worlds know. No teacher and no critic are asked, so a step costs a third of Self Forcing's
(`self_forcing.py` rolls out the same way), and an anchored student needs none to begin with: it starts as the warp.

The gradient goes through one denoising call a chunk, never through the cache. Beyond the paper.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from motionstream.data.loader import loader
from motionstream.diffusion import few_step_times
from motionstream.geometry import Geometry
from motionstream.sampling import MotionModel, RolloutConfig, keyed, rollout
from motionstream.tiny.conditioner import AnchoredConditioning
from motionstream.tiny.warp import vacancy
from motionstream.train.causal_init import new_cache, roll
from motionstream.train.ema import EMA
from motionstream.train.motion_data import (
    DrawingStage,
    Drops,
    MotionData,
    MotionSource,
    Sample,
    context_of,
    draw,
    frozen_vae,
)
from motionstream.train.network import new_model, place
from motionstream.train.optim import Schedule, Updater, make_optimizer
from motionstream.train.points import Choice
from motionstream.train.precision import autocast
from motionstream.train.recipe import RolloutRecipe
from motionstream.train.stage import Image
from motionstream.train.teacher import latent_rows
from motionstream.train.wan_data import ShardData


def build(recipe: RolloutRecipe, assets: Path, out: Path) -> RolloutStage:
    """The stage, ready for its first step or for `load_state_dict`."""
    data = rollout_data(recipe, assets, out)
    start = out / recipe.causal if recipe.causal else None
    return RolloutStage(recipe, data, new_model(recipe.network, data.latent_channels, start))


def rollout_data(recipe: RolloutRecipe, assets: Path, out: Path) -> MotionSource:
    """The clips that are rolled out."""
    choice = Choice(recipe.points_min, recipe.points_max, recipe.mask_probability)
    if recipe.data == "shards":
        return ShardData.of(recipe, assets, choice, Drops())
    vae = frozen_vae(out / recipe.vae, recipe.device, getattr(torch, recipe.dtype))
    drops = Drops(idle=recipe.idle)
    return MotionData(
        loader(recipe, assets), vae, Geometry(*recipe.size), choice, drops, recipe.seed + 2, recipe.network.anchored
    )


def true_error(clip: Tensor, sample: Sample, vacant_weight: float) -> Tensor:
    """Mean squared error of a rollout (B, T, C, h, w) from the true clip, its given first latent left out.

    vacant_weight: of cells where nothing of the anchor's picture has landed, beside 1 of the others.
    """
    square = (clip - sample.latents)[:, 1:].square().mean(2, keepdim=True)
    if not isinstance(sample.conditioning, AnchoredConditioning):
        return square.mean()
    vacant = vacancy(sample.conditioning.support[:, 1:, :-1]).mean(2, keepdim=True)
    return (square * (1 + vacant_weight * vacant)).mean()


class RolloutStage(DrawingStage):
    betas: ClassVar[tuple[float, float]] = 0.9, 0.99
    """Of the optimiser: the truth stands still, so its gradients may be averaged."""

    def __init__(self, recipe: RolloutRecipe, data: MotionSource, student: MotionModel) -> None:
        self.recipe, self.data, self.student = recipe, data, student
        self.student.track_head.requires_grad_(not recipe.causal)  # a student's is frozen (paper Section 3.2)
        self.ema = EMA(self.student, recipe.ema_decay, start=recipe.ema_start)
        place([self.student, self.ema.average], recipe)
        times = few_step_times(recipe.denoising_steps, recipe.shift)
        self.rollout_config = RolloutConfig(
            recipe.chunk, recipe.sink, recipe.window, tuple(times.tolist()), recipe.clean_pass
        )
        self.updater = self._updater(self.student, recipe.lr, self.ema)
        self.random = torch.Generator().manual_seed(recipe.seed + 2)
        self.exits = torch.Generator()

    def modules(self) -> dict[str, nn.Module]:
        return {"student": self.student, "ema": self.ema}

    def optimizers(self) -> dict[str, Any]:
        return {"student": self.updater.optimizer}

    def step(self, step: int, progress: float) -> dict[str, float]:
        return self._train(self.updater, self._towards_truth, step, progress)

    def sheet(self) -> Image | None:
        """Rows: true clip, the student's rollout, the warp it starts from."""
        if self.data.vae is None:
            return None
        sample = self.data.probe(1)
        average: MotionModel = self.ema.average  # type: ignore[assignment]
        with torch.no_grad(), self._autocast(sample.latents):
            made = roll(average, sample, context_of(average, sample), self.rollout_config, seed=0)
        return latent_rows(self.data.vae, [sample.latents, made, sample.conditioning.prior()])

    def _towards_truth(self, sample: Sample) -> dict[str, Tensor]:
        with self._autocast(sample.latents):
            clip = self._rollout(sample, self._exit_step()).float()
        loss = true_error(clip, sample, self.recipe.vacant_weight)
        with torch.no_grad():
            gain = true_error(clip, sample, 0) / true_error(sample.conditioning.prior(), sample, 0)
        return {"loss": loss, "gain": gain}

    def _rollout(self, sample: Sample, exit_step: int) -> Tensor:
        """ẑ (B, T, C, h, w): the student's clip; gradient through call `exit_step` of each chunk if enabled."""
        context = context_of(self.student, sample)
        seed = int(torch.randint(1 << 31, (), generator=self.random))
        cache = new_cache(self.student, sample.latents, self.rollout_config)
        drift = self._drift(sample)
        chunks = rollout(
            self.student,
            cache,
            sample.conditioning,
            context,
            self.rollout_config,
            keyed(seed),
            sample.first,
            exit_step,
            lambda begin, clean: clean if begin < self.rollout_config.sink else clean + drift.to(clean),
        )
        return torch.cat(list(chunks), 1)

    def _drift(self, sample: Sample) -> Tensor:
        """(B, 1, C, 1, 1): what is added to each channel of a clip's past."""
        if not self.recipe.drift:
            return torch.zeros(())
        clips, _, channels = sample.latents.shape[:3]
        much = self.recipe.drift * torch.rand(clips, 1, generator=self.random)
        return (much * torch.randn(clips, channels, generator=self.random))[:, None, :, None, None]

    def _exit_step(self) -> int:
        """The call with the gradient. Where ranks share one network, all must make the same number of calls."""
        generator = self.exits if self.recipe.data == "shards" else self.random
        return int(torch.randint(self.recipe.denoising_steps, (), generator=generator))

    def _updater(self, network: MotionModel, lr: float, ema: EMA | None) -> Updater:
        recipe = self.recipe
        optimizer = make_optimizer(network, lr, recipe.weight_decay, recipe.optimizer, betas=self.betas)
        schedule = Schedule(recipe.warmup_steps, recipe.decay_fraction)
        return Updater(network, optimizer, schedule, recipe.clip, recipe.accumulate, ema)

    def _train(
        self, updater: Updater, loss_of: Any, step: int, progress: float, key: int = 1, no_motion: bool = False
    ) -> dict[str, float]:
        """One update; each accumulated part on a fresh batch. key: of the draws that all ranks must share."""

        def losses() -> dict[str, Tensor]:
            self.exits.manual_seed(2 * step + key)
            part: dict[str, Tensor] = loss_of(draw(self.data, self.random, no_motion=no_motion))
            return part

        return updater.accumulated(losses) | updater.apply(step, progress)

    def _autocast(self, like: Tensor) -> torch.autocast:
        return autocast(like.device, self.recipe.dtype)
