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

from motionstream.data.loader import loader
from motionstream.diffusion import clean_of, few_step_times, interpolate, sample_times
from motionstream.geometry import Geometry
from motionstream.sampling import Guidance, MotionModel, Rolling, frame_times, guided_velocity, keyed, rollout
from motionstream.train.causal_init import new_cache, roll
from motionstream.train.ema import EMA
from motionstream.train.motion_data import Drops, MotionData, MotionSource, Sample, context_of, draw, frozen_vae
from motionstream.train.network import new_model, place
from motionstream.train.optim import Schedule, Updater, make_optimizer
from motionstream.train.points import Choice
from motionstream.train.precision import autocast
from motionstream.train.recipe import SelfForcingRecipe
from motionstream.train.stage import Image
from motionstream.train.teacher import control_of, flow_losses, latent_rows
from motionstream.train.wan_data import ShardData


def build(recipe: SelfForcingRecipe, assets: Path, out: Path) -> SelfForcingStage:
    """The stage, ready for its first step or for `load_state_dict`."""
    choice = Choice(recipe.points_min, recipe.points_max, recipe.mask_probability)
    drops = Drops(idle=recipe.idle)
    data: MotionSource
    if recipe.data == "shards":
        data = ShardData.of(recipe, assets, choice, Drops())
    else:
        vae = frozen_vae(out / recipe.vae, recipe.device, getattr(torch, recipe.dtype))
        data = MotionData(loader(recipe, assets), vae, Geometry(*recipe.size), choice, drops, recipe.seed + 2)
    starts = recipe.causal, recipe.teacher, recipe.teacher
    networks = [new_model(recipe.network, data.latent_channels, out / start) for start in starts]
    return SelfForcingStage(recipe, data, *networks)


class SelfForcingStage:
    def __init__(
        self,
        recipe: SelfForcingRecipe,
        data: MotionSource,
        student: MotionModel,
        critic: MotionModel,
        teacher: MotionModel,
    ) -> None:
        self.recipe, self.data = recipe, data
        self.student, self.critic = student, critic
        self.teacher = teacher.requires_grad_(False).eval()
        for network in (self.student, self.critic):
            network.track_head.requires_grad_(False)
        self.ema = EMA(self.student, recipe.ema_decay, start=recipe.ema_start)
        place([self.student, self.ema.average, self.critic, self.teacher], recipe)
        times = few_step_times(recipe.denoising_steps, recipe.shift)
        self.rolling = Rolling(recipe.chunk, recipe.sink, recipe.window, tuple(times.tolist()))
        self.updater = self._updater(self.student, recipe.lr, self.ema)
        self.critic_updater = self._updater(self.critic, recipe.lr_critic, None)
        self.random = torch.Generator().manual_seed(recipe.seed + 2)
        self.exits = torch.Generator()

    def modules(self) -> dict[str, nn.Module]:
        return {"student": self.student, "ema": self.ema, "critic": self.critic}

    def optimizers(self) -> dict[str, Any]:
        return {"student": self.updater.optimizer, "critic": self.critic_updater.optimizer}

    def step(self, step: int, progress: float) -> dict[str, float]:
        losses: dict[str, float] = {}
        if step % self.recipe.critic_ratio == 0:
            losses |= self._train(self.updater, self._distribution_matching, step, progress)
        critic = self._train(self.critic_updater, self._critic_loss, step, progress)
        skipped = max(losses.get("skipped", 0.0), critic["skipped"])
        losses |= {f"critic_{name}": value for name, value in critic.items()}
        return losses | {"loss": critic["loss"], "skipped": skipped}

    def sheet(self) -> Image | None:
        """Rows: true clip, the student's rollout, the warp it starts from."""
        if self.data.vae is None:
            return None
        sample = self.data.probe(1)
        average: MotionModel = self.ema.average  # type: ignore[assignment]
        with torch.no_grad(), self._autocast(sample.latents):
            made = roll(average, sample, context_of(average, sample), self.rolling, seed=0)
        return latent_rows(self.data.vae, [sample.latents, made, sample.conditioning.anchor])

    def state_dict(self) -> dict[str, Any]:
        return {"data": self.data.state_dict(), "random": self.random.get_state()}

    def load_state_dict(self, state: dict[str, Any], /) -> None:
        self.data.load_state_dict(state["data"])
        self.random.set_state(torch.as_tensor(state["random"], dtype=torch.uint8))

    def _updater(self, network: MotionModel, lr: float, ema: EMA | None) -> Updater:
        recipe = self.recipe
        optimizer = make_optimizer(network, lr, recipe.weight_decay, recipe.optimizer, betas=(0.0, 0.999))
        schedule = Schedule(recipe.warmup_steps, recipe.decay_fraction)
        return Updater(network, optimizer, schedule, recipe.clip, recipe.accumulate, ema)

    def _train(self, updater: Updater, loss_of: Any, step: int, progress: float) -> dict[str, float]:
        """One update; each accumulated part on a fresh batch."""
        generator = loss_of == self._distribution_matching

        def losses() -> dict[str, Tensor]:
            self.exits.manual_seed(2 * step + generator)
            part: dict[str, Tensor] = loss_of(draw(self.data, self.random, no_motion=generator))
            return part

        return updater.accumulated(losses) | updater.apply(step, progress)

    def _rollout(self, sample: Sample, exit_step: int) -> Tensor:
        """ẑ (B, T, C, h, w): the student's clip; gradient through call `exit_step` of each chunk if enabled."""
        context = context_of(self.student, sample)
        seed = int(torch.randint(1 << 31, (), generator=self.random))
        cache = new_cache(self.student, sample.latents, self.rolling)
        drift = self._drift(sample)
        chunks = rollout(
            self.student,
            cache,
            sample.conditioning,
            context,
            self.rolling,
            keyed(seed),
            sample.first,
            exit_step,
            lambda begin, clean: clean if begin < self.rolling.sink else clean + drift.to(clean),
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
        true_error = F.mse_loss(clip[:, 1:], sample.latents[:, 1:])
        total = loss + self.recipe.truth_weight * true_error
        return {"loss": total, "direction": direction.abs().mean(), "clip_error": true_error.detach()}

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

    def _autocast(self, like: Tensor) -> torch.autocast:
        return autocast(like.device, self.recipe.dtype)
