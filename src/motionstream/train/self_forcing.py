"""Stage "self-forcing": the student rolls out on its own outputs, with sink and rolling cache, and is pulled towards
what the teacher finds likely (paper Section 3.2; DMD after Self Forcing).

∇L ≈ −E[(s_real(Ψ(ẑ, t), t) − s_fake(Ψ(ẑ, t), t)) ∂ẑ/∂θ]: s_real is the teacher under joint guidance, s_fake a critic
trained on the student's clips. One critic step each step, one generator step in `critic_ratio`; the gradient
goes through one denoising call a chunk, never through the cache.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from motionstream.diffusion import clean_of, interpolate, sample_times
from motionstream.sampling import Guidance, MotionModel, frame_times, guided_velocity
from motionstream.train.motion_data import MotionSource, Sample, context_of
from motionstream.train.network import new_model, place
from motionstream.train.recipe import SelfForcingRecipe
from motionstream.train.rollout import RolloutStage, rollout_data, true_error
from motionstream.train.teacher import control_of, flow_losses


def build(recipe: SelfForcingRecipe, assets: Path, out: Path) -> SelfForcingStage:
    """The stage, ready for its first step or for `load_state_dict`."""
    data = rollout_data(recipe, assets, out)
    starts = recipe.causal, recipe.teacher, recipe.teacher
    networks = [new_model(recipe.network, data.latent_channels, out / start) for start in starts]
    return SelfForcingStage(recipe, data, *networks)


class SelfForcingStage(RolloutStage):
    betas = 0.0, 0.999  # as the field does it: student and critic chase one another
    recipe: SelfForcingRecipe

    def __init__(
        self,
        recipe: SelfForcingRecipe,
        data: MotionSource,
        student: MotionModel,
        critic: MotionModel,
        teacher: MotionModel,
    ) -> None:
        super().__init__(recipe, data, student)
        self.critic = critic
        self.teacher = teacher.requires_grad_(False).eval()
        self.critic.track_head.requires_grad_(False)
        place([self.critic, self.teacher], recipe)
        self.critic_updater = self._updater(self.critic, recipe.lr_critic, None)

    def modules(self) -> dict[str, nn.Module]:
        return {**super().modules(), "critic": self.critic}

    def optimizers(self) -> dict[str, Any]:
        return {**super().optimizers(), "critic": self.critic_updater.optimizer}

    def step(self, step: int, progress: float) -> dict[str, float]:
        losses: dict[str, float] = {}
        if step % self.recipe.critic_ratio == 0:
            losses |= self._train(self.updater, self._distribution_matching, step, progress, 1, no_motion=True)
        critic = self._train(self.critic_updater, self._critic_loss, step, progress, 0)
        skipped = max(losses.get("skipped", 0.0), critic["skipped"])
        losses |= {f"critic_{name}": value for name, value in critic.items()}
        return losses | {"loss": critic["loss"], "skipped": skipped}

    def _noised(self, clip: Tensor) -> tuple[Tensor, Tensor]:
        """Times (B, T) and Ψ(ẑ, t), the clip noised to them; the given first latent stays clean."""
        noise = torch.randn(clip.shape, generator=self.random).to(clip)
        drawn = sample_times((len(clip),), self.recipe.shift, self.random)
        t = frame_times(drawn.clamp(self.recipe.t_min, self.recipe.t_max), clip)
        return t, interpolate(clip, noise, t)

    def _distribution_matching(self, sample: Sample) -> dict[str, Tensor]:
        with self._autocast(sample.latents):
            clip = self._rollout(sample, self._exit_step()).float()
            with torch.no_grad():
                t, noisy = self._noised(clip.detach())
                real = self._real(sample, noisy, t)
                fake = self._fake(sample, noisy, t)
                direction = fake - real
                away = (clip.detach() - real)[:, 1:].abs().mean((1, 2, 3, 4), keepdim=True)
                direction = torch.nan_to_num(direction / away.clamp(min=1e-6))
        loss = 0.5 * F.mse_loss(clip[:, 1:], (clip.detach() - direction)[:, 1:])
        error = true_error(clip, sample, self.recipe.vacant_weight)
        total = loss + self.recipe.truth_weight * error
        return {"loss": total, "direction": direction.abs().mean(), "clip_error": error.detach()}

    def _real(self, sample: Sample, noisy: Tensor, t: Tensor) -> Tensor:
        guidance = Guidance(self.recipe.w_t, self.recipe.w_m)
        velocity = guided_velocity(self.teacher, noisy, t, control_of(self.teacher, sample), guidance)
        return clean_of(velocity.float(), noisy, t)

    def _fake(self, sample: Sample, noisy: Tensor, t: Tensor) -> Tensor:
        context = context_of(self.critic, sample)
        return self.critic.clean(noisy, t, sample.conditioning, context).float()

    def _critic_loss(self, sample: Sample) -> dict[str, Tensor]:
        """Flow matching on the student's clips, so that the critic's score is that of what the student makes."""
        with self._autocast(sample.latents):
            with torch.no_grad():
                clip = self._rollout(sample, self._exit_step()).float()
            t, noisy = self._noised(clip)
            guess = self._fake(sample, noisy, t)
        return flow_losses(self.critic, guess, t, replace(sample, latents=clip))
