"""Stage "self-forcing": the student rolls out on its own outputs, with sink and rolling cache, and learns what the
teacher finds likely (paper Section 3.2; DMD after Self Forcing).

∇L ≈ −E[(s_real(Ψ(ẑ, t), t) − s_fake(Ψ(ẑ, t), t)) ∂ẑ/∂θ]: s_real is the teacher under joint guidance, s_fake a critic
trained on the student's clips. Both scores are given as the clean clips that they stand for.

Legend: B clips, T latents, C channels, h w latent cells.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from motionstream.diffusion import clean_of, interpolate, sample_times
from motionstream.sampling import Guidance, MotionModel, frame_times, guided_velocity
from motionstream.train.ema import EMA
from motionstream.train.motion_data import MotionSource, Sample, context_of
from motionstream.train.motion_stage import MotionStage, student_sheet
from motionstream.train.network import new_model, place
from motionstream.train.optim import Updater
from motionstream.train.recipe import SelfForcingRecipe
from motionstream.train.rollout import exit_step, rollout_clips, student_clip, true_error
from motionstream.train.stage import Image, autocast
from motionstream.train.teacher import control_of, flow_losses

BETAS = (0.0, 0.999)
"""AdamW's of student and critic, as Self Forcing has them: each is the other's moving target."""


def build(recipe: SelfForcingRecipe, assets: Path, out: Path) -> SelfForcingStage:
    """The stage, ready for its first step or for `load_state_dict`."""
    data = rollout_clips(recipe, assets, out)
    starts = recipe.causal, recipe.teacher, recipe.teacher
    networks = [new_model(recipe.network, data.latent_channels, out / start) for start in starts]
    return SelfForcingStage(recipe, data, *networks)


class SelfForcingStage(MotionStage):
    recipe: SelfForcingRecipe

    def __init__(
        self,
        recipe: SelfForcingRecipe,
        data: MotionSource,
        student: MotionModel,
        critic: MotionModel,
        teacher: MotionModel,
    ) -> None:
        super().__init__(recipe, data, recipe.seed + 2)
        self.student, self.critic = student, critic
        self.teacher = teacher.requires_grad_(False).eval()
        for learner in (self.student, self.critic):
            learner.track_head.requires_grad_(False)  # frozen after the first stage (paper Section 3.2)
        self.ema = EMA(self.student, recipe.ema_decay, start=recipe.ema_start)
        place([self.student, self.ema.average, self.critic, self.teacher], recipe)
        self.updater = Updater.of(recipe, self.student, self.ema, betas=BETAS)
        self.critic_updater = Updater.of(recipe, self.critic, lr=recipe.lr_critic, betas=BETAS)
        self.updaters = {"student": self.updater, "critic": self.critic_updater}

    def step(self, step: int, progress: float) -> dict[str, float]:
        """The algorithm of paper Section 3.2: one critic update each step, a generator update in `critic_ratio`."""
        recipe, random = self.recipe, self.random
        generator: dict[str, float] = {}
        if step % recipe.critic_ratio == 0:
            for sample in self.samples(no_motion=True):
                with autocast(recipe):
                    # Rollout: ẑ chunk by chunk on its own past, gradient through one denoising call a chunk.
                    call = exit_step(recipe, 2 * step + 1, random)
                    clip = student_clip(self.student, sample, recipe, random, call)
                    with torch.no_grad():
                        # Noise: Ψ(ẑ, t) = (1 − t) ẑ + t ε.
                        t, noisy = noised(clip, recipe, random)
                        # Real score: the teacher under joint guidance (Section 3.1).
                        real = real_clip(self.teacher, sample, noisy, t, Guidance(recipe.w_t, recipe.w_m))
                        # Fake score: the critic, without guidance.
                        fake = fake_clip(self.critic, sample, noisy, t)
                # Direction: s_fake − s_real, normalised; the loss has it as its gradient.
                losses = dmd_losses(clip, dmd_direction(clip, real, fake))
                self.updater.backward(with_truth(losses, clip, sample, recipe))
            # Generator update.
            generator = self.updater.apply(step, progress)
        # Critic update: flow matching on the student's clips, so that its score is that of what the student makes.
        for sample in self.samples():
            with autocast(recipe):
                with torch.no_grad():
                    call = exit_step(recipe, 2 * step, random)
                    clip = student_clip(self.student, sample, recipe, random, call)
                t, noisy = noised(clip, recipe, random)
                guess = fake_clip(self.critic, sample, noisy, t)
            self.critic_updater.backward(flow_losses(self.critic, guess, t, replace(sample, latents=clip)))
        critic = self.critic_updater.apply(step, progress)
        return both_reports(generator, critic)

    def sheet(self) -> Image | None:
        """Rows: true clip, the student's rollout, the warp it starts from."""
        return student_sheet(self.ema.average, self.data, self.recipe, self.recipe.live.rollout_config)


def noised(clip: Tensor, recipe: SelfForcingRecipe, random: torch.Generator) -> tuple[Tensor, Tensor]:
    """Times (B, T), one a clip, and Ψ(ẑ, t) (B, T, C, h, w); the given first latent stays clean."""
    noise = torch.randn(clip.shape, generator=random).to(clip)
    drawn = sample_times((len(clip),), recipe.shift, random)
    t = frame_times(drawn.clamp(recipe.t_min, recipe.t_max), clip)
    return t, interpolate(clip, noise, t)


def real_clip(teacher: MotionModel, sample: Sample, noisy: Tensor, t: Tensor, guidance: Guidance) -> Tensor:
    """ẑ_0 (B, T, C, h, w) of the guided teacher."""
    velocity = guided_velocity(teacher, noisy, t, control_of(teacher, sample), guidance)
    return clean_of(velocity.float(), noisy, t)


def fake_clip(critic: MotionModel, sample: Sample, noisy: Tensor, t: Tensor) -> Tensor:
    """ẑ_0 (B, T, C, h, w) of the critic."""
    return critic.clean(noisy, t, sample.conditioning, context_of(critic, sample)).float()


@torch.no_grad()
def dmd_direction(clip: Tensor, real: Tensor, fake: Tensor) -> Tensor:
    """(fake − real) over each clip's mean distance from `real` (DMD's normaliser), all (B, T, C, h, w)."""
    away = (clip - real)[:, 1:].abs().mean((1, 2, 3, 4), keepdim=True)
    return torch.nan_to_num((fake - real) / away.clamp(min=1e-6))


def dmd_losses(clip: Tensor, direction: Tensor) -> dict[str, Tensor]:
    """½‖ẑ − sg(ẑ − direction)‖², whose gradient by ẑ is the direction; the given first latent is left out."""
    loss = 0.5 * F.mse_loss(clip[:, 1:], (clip.detach() - direction)[:, 1:])
    return {"loss": loss, "direction": direction.abs().mean()}


def with_truth(losses: dict[str, Tensor], clip: Tensor, sample: Sample, recipe: SelfForcingRecipe) -> dict[str, Tensor]:
    """The losses and, by its weight, the error from the true clip, where there is one. Beyond the paper."""
    error = true_error(clip, sample, recipe.vacant_weight)
    return {**losses, "loss": losses["loss"] + recipe.truth_weight * error, "clip_error": error.detach()}


def both_reports(generator: dict[str, float], critic: dict[str, float]) -> dict[str, float]:
    """One report of a step: "loss" is the critic's, which every step has."""
    skipped = max(generator.get("skipped", 0.0), critic["skipped"])
    named = {f"critic_{name}": value for name, value in critic.items()}
    return {**generator, **named, "loss": critic["loss"], "skipped": skipped}
