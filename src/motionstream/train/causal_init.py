"""Stage "causal": from a teacher that sees the whole clip to a few-step student that sees only the past.

Two phases (Causal Forcing's alternative to the paper's ODE pairs): teacher-forced flow matching makes the network
causal, then consistency distillation makes it few-step: its clean guess at t_i must equal the averaged network's
at t_{i+1}, one Euler step of the frozen causal teacher further on. Both run one pass over [clean copy | noisy copy]
under a mask with random sink, window and chunk (paper Section 3.2).
"""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from motionstream.conditioning import Conditioning
from motionstream.data.loader import loader
from motionstream.diffusion import euler, few_step_times, interpolate, ode_times, sample_times
from motionstream.dit import ChunkMask, RollingCache, TextContext
from motionstream.geometry import Geometry
from motionstream.sampling import Control, Guidance, MotionModel, RolloutConfig, guided_velocity, keyed, rollout
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
)
from motionstream.train.network import new_model, place
from motionstream.train.optim import Schedule, Updater, make_optimizer
from motionstream.train.points import Choice
from motionstream.train.precision import autocast
from motionstream.train.recipe import CausalInitRecipe
from motionstream.train.stage import Image
from motionstream.train.teacher import control_of, flow_losses, latent_rows
from motionstream.train.wan_data import ShardData


def build(recipe: CausalInitRecipe, assets: Path, out: Path) -> CausalInitStage:
    """The stage, ready for its first step or for `load_state_dict`."""
    choice = Choice(recipe.points_min, recipe.points_max, recipe.mask_probability)
    drops = Drops(recipe.text_drop, recipe.track_drop, recipe.both_drop, recipe.anchor_drop, reanchor=REANCHOR)
    data: MotionSource
    if recipe.data == "shards":
        data = ShardData.of(recipe, assets, choice, drops)
    else:
        vae = frozen_vae(out / recipe.vae, recipe.device, getattr(torch, recipe.dtype))
        data = MotionData(
            loader(recipe, assets), vae, Geometry(*recipe.size), choice, drops, recipe.seed + 1, recipe.network.anchored
        )
    return CausalInitStage(recipe, data, new_model(recipe.network, data.latent_channels, out / recipe.teacher))


class CausalInitStage(DrawingStage):
    def __init__(self, recipe: CausalInitRecipe, data: MotionSource, model: MotionModel) -> None:
        self.recipe, self.data = recipe, data
        self.model = model
        self.model.track_head.requires_grad_(False)
        self.ema = EMA(self.model, recipe.ema_decay)
        self.target = EMA(self.model, recipe.target_decay)
        self.causal_teacher = copy.deepcopy(self.model).requires_grad_(False).eval()
        place([self.model, self.ema.average, self.target.average, self.causal_teacher], recipe)
        self.optimizer = make_optimizer(self.model, recipe.lr, recipe.weight_decay, recipe.optimizer)
        schedule = Schedule(recipe.warmup_steps, recipe.decay_fraction)
        self.updater = Updater(self.model, self.optimizer, schedule, recipe.clip, recipe.accumulate, self.ema)
        self.random = torch.Generator().manual_seed(recipe.seed + 1)

    def modules(self) -> dict[str, nn.Module]:
        return {
            "model": self.model,
            "ema": self.ema,
            "target": self.target,
            "causal_teacher": self.causal_teacher,
        }

    def optimizers(self) -> dict[str, Any]:
        return {"model": self.optimizer}

    def step(self, step: int, progress: float) -> dict[str, float]:
        distilling = step >= self.recipe.diffusion_steps
        if step == self.recipe.diffusion_steps:
            self._freeze_teacher()
        losses_of = self._consistency if distilling else self._teacher_forcing
        means = self.updater.accumulated(lambda: losses_of(draw(self.data, self.random, no_motion=distilling)))
        done = self.updater.apply(step, progress)
        if not done["skipped"]:
            self.target.update(self.model)
        return {"distilling": float(distilling)} | means | done

    def sheet(self) -> Image | None:
        """Rows: true clip, the student's rollout, the warp it starts from."""
        if self.data.vae is None:
            return None
        sample = self.data.probe(1)
        average: MotionModel = self.ema.average  # type: ignore[assignment]
        rollout_config = RolloutConfig(3, 3, 3, tuple(few_step_times(3, self.recipe.shift).tolist()))
        with torch.no_grad(), autocast(sample.latents.device, self.recipe.dtype):
            made = roll(average, sample, context_of(average, sample), rollout_config, seed=0)
        return latent_rows(self.data.vae, [sample.latents, made, sample.conditioning.prior()])

    def _freeze_teacher(self) -> None:
        self.ema.copy_to(self.causal_teacher)
        self.target.restart(self.model)

    def _mask(self, latents: int) -> ChunkMask:
        chunk, sink, window = (self._draw(options) for options in self._options())
        return ChunkMask.regular(latents, chunk, sink, window, teacher_forcing=True)

    def _options(self) -> tuple[tuple[int, ...], ...]:
        return self.recipe.chunks, self.recipe.sinks, self.recipe.windows

    def _draw(self, options: tuple[int, ...]) -> int:
        return options[int(torch.randint(len(options), (), generator=self.random))]

    def _teacher_forcing(self, sample: Sample) -> dict[str, Tensor]:
        """Flow matching of each chunk at a time of its own, given the clean chunks before it."""
        clean, mask = sample.latents, self._mask(sample.latents.shape[1])
        noise = torch.randn(clean.shape, generator=self.random).to(clean)
        t = self._chunk_times(clean, mask)
        noisy = interpolate(clean, noise, t)
        with self._autocast(clean):
            guess = self._guess(self.model, sample, noisy, t, mask)
        return flow_losses(self.model, guess, t, sample)

    def _chunk_times(self, clean: Tensor, mask: ChunkMask) -> Tensor:
        batch = clean.shape[0]
        times = [
            sample_times((batch, 1), self.recipe.shift, self.random).expand(-1, length) for _, length in mask.spans
        ]
        t = torch.cat(times, 1).to(clean.device)
        return torch.cat([torch.zeros_like(t[:, :1]), t[:, 1:]], 1)

    def _consistency(self, sample: Sample) -> dict[str, Tensor]:
        """Equal clean guesses at two neighbouring times of the guided causal teacher's path."""
        clean, mask = sample.latents, self._mask(sample.latents.shape[1])
        noise = torch.randn(clean.shape, generator=self.random).to(clean)
        clock = ode_times(self.recipe.ode_steps, self.recipe.shift).to(clean.device)
        index = torch.randint(self.recipe.ode_steps, (len(clean),), generator=self.random).to(clean.device)
        t, t_next = (given_first(times[:, None].expand(clean.shape[:2])) for times in (clock[index], clock[index + 1]))
        noisy = interpolate(clean, noise, t)
        with self._autocast(clean):
            with torch.no_grad():
                nearer = self._teacher_step(sample, noisy, t, t_next, mask)
                target: MotionModel = self.target.average  # type: ignore[assignment]
                wanted = self._guess(target, sample, nearer, t_next, mask)
                # at the end of the path the guess is the point itself: what holds all other guesses to the teacher's
                wanted = torch.where(t_next[..., None, None, None] > 0, wanted, nearer)
            guess = self._guess(self.model, sample, noisy, t, mask)
        loss = F.mse_loss(guess[:, 1:].float(), wanted[:, 1:].float())
        error = F.mse_loss(guess[:, 1:].detach().float(), clean[:, 1:])
        return {"loss": loss, "clean_error": error}

    def _teacher_step(self, sample: Sample, noisy: Tensor, t: Tensor, t_next: Tensor, mask: ChunkMask) -> Tensor:
        """One guided Euler step, clean chunks before each noisy one."""
        control = control_of(self.causal_teacher, sample)
        twice = Control(doubled(control.conditioning), control.context, doubled(control.no_motion), control.no_text)
        guidance = Guidance(self.recipe.w_t, self.recipe.w_m)
        both = torch.cat([sample.latents, noisy], 1)
        velocity = guided_velocity(self.causal_teacher, both, forced_times(t), twice, guidance, mask)
        return euler(noisy, velocity[:, noisy.shape[1] :].float(), t, t_next)

    def _guess(self, model: MotionModel, sample: Sample, noisy: Tensor, t: Tensor, mask: ChunkMask) -> Tensor:
        context = context_of(model, sample)
        return forced_guess(model, sample.latents, noisy, t, sample.conditioning, context, mask).float()

    def _autocast(self, like: Tensor) -> torch.autocast:
        return autocast(like.device, self.recipe.dtype)


def given_first(t: Tensor) -> Tensor:
    """Times (B, T) with the first latent, which is given, at 0."""
    return torch.cat([torch.zeros_like(t[:, :1]), t[:, 1:]], 1)


def doubled(conditioning: Conditioning) -> Conditioning:
    """For [clean copy | noisy copy]: both copies are steered alike."""
    return Conditioning.join([conditioning, conditioning])


def forced_times(t: Tensor) -> Tensor:
    """Times of [clean copy | noisy copy]."""
    return torch.cat([torch.zeros_like(t), t], 1)


def forced_guess(
    model: MotionModel,
    clean: Tensor,
    noisy: Tensor,
    t: Tensor,
    conditioning: Conditioning,
    context: TextContext,
    mask: ChunkMask,
) -> Tensor:
    """ẑ_0 of the noisy copy (B, T, C, h, w), each chunk given the clean chunks in its sink and window."""
    both = torch.cat([clean, noisy], 1)
    guess = model.clean(both, forced_times(t), doubled(conditioning), context, mask)
    return guess[:, clean.shape[1] :]


def roll(model: MotionModel, sample: Sample, context: TextContext, rollout_config: RolloutConfig, seed: int) -> Tensor:
    """The student's own rollout of a sample, from its picture on."""
    cache = new_cache(model, sample.latents, rollout_config)
    chunks = rollout(model, cache, sample.conditioning, context, rollout_config, keyed(seed), sample.first)
    return torch.cat(list(chunks), 1)


def new_cache(model: MotionModel, latents: Tensor, rollout_config: RolloutConfig) -> RollingCache:
    """An empty cache for these latents."""
    rows, columns = model.dit.grid(*latents.shape[-2:])
    half = torch.is_autocast_enabled(latents.device.type)
    dtype = torch.get_autocast_dtype(latents.device.type) if half else latents.dtype
    return RollingCache(
        model.dit.config,
        batch=latents.shape[0],
        tokens=rows * columns,
        sink=rollout_config.sink,
        window=rollout_config.window,
        dtype=dtype,
        device=latents.device,
    )
