"""Stage "causal": from a teacher that sees the whole clip to a few-step student that sees only the past.

Two phases (Causal Forcing's alternative to the paper's ODE pairs): teacher-forced flow matching makes the network
causal, then consistency distillation makes it few-step: its clean guess at t_i must equal the averaged network's
at t_{i+1}, one Euler step of the frozen causal teacher further on. Both run one pass over [clean copy | noisy copy]
under a mask with random sink, window and chunk (paper Section 3.2).
"""

from __future__ import annotations

import copy
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from motionstream.conditioning import Conditioning
from motionstream.diffusion import euler, interpolate, ode_times, sample_times
from motionstream.dit import ChunkMask
from motionstream.sampling import Control, Guidance, MotionModel, guided_velocity
from motionstream.train.ema import EMA
from motionstream.train.motion_data import MotionSource, Sample, context_of
from motionstream.train.motion_stage import MotionStage, guidance_drops, motion_source, student_sheet
from motionstream.train.network import new_model, place
from motionstream.train.optim import Updater
from motionstream.train.recipe import CausalInitRecipe
from motionstream.train.stage import Image, autocast
from motionstream.train.teacher import control_of, flow_losses


def build(recipe: CausalInitRecipe, assets: Path, out: Path) -> CausalInitStage:
    """The stage, ready for its first step or for `load_state_dict`."""
    data = motion_source(recipe, assets, out, guidance_drops(recipe), recipe.seed + 1)
    return CausalInitStage(recipe, data, new_model(recipe.network, data.latent_channels, out / recipe.teacher))


class CausalInitStage(MotionStage):
    recipe: CausalInitRecipe

    def __init__(self, recipe: CausalInitRecipe, data: MotionSource, model: MotionModel) -> None:
        super().__init__(recipe, data, recipe.seed + 1)
        self.model = model
        self.model.track_head.requires_grad_(False)
        self.ema = EMA(self.model, recipe.ema_decay)
        self.target = EMA(self.model, recipe.target_decay)
        self.causal_teacher = copy.deepcopy(self.model).requires_grad_(False).eval()
        place([self.model, self.ema.average, self.target.average, self.causal_teacher], recipe)
        self.updater = Updater.of(recipe, self.model, self.ema)
        self.updaters = {"model": self.updater}

    def modules(self) -> dict[str, nn.Module]:
        return {**super().modules(), "target": self.target, "causal_teacher": self.causal_teacher}

    def step(self, step: int, progress: float) -> dict[str, float]:
        recipe, random = self.recipe, self.random
        distilling = step >= recipe.diffusion_steps
        if step == recipe.diffusion_steps:
            self.freeze_teacher()
        for sample in self.samples(no_motion=distilling):
            mask = random_mask(recipe, sample.latents.shape[1], random)
            if distilling:
                teacher, target = self.causal_teacher, self.target.average
                losses = consistency(self.model, target, teacher, sample, mask, recipe, random)
            else:
                losses = teacher_forcing(self.model, sample, mask, recipe, random)
            self.updater.backward(losses)
        done = self.updater.apply(step, progress)
        if not done["skipped"]:
            self.target.update(self.model)
        return {"distilling": float(distilling), **done}

    def freeze_teacher(self) -> None:
        """From flow matching to distillation: the average becomes the teacher, the target starts anew."""
        self.ema.copy_to(self.causal_teacher)
        self.target.restart(self.model)

    def sheet(self) -> Image | None:
        """Rows: true clip, the student's rollout, the warp it starts from."""
        return student_sheet(self.ema.average, self.data, self.recipe, self.recipe.live.rollout_config)


def random_mask(recipe: CausalInitRecipe, latents: int, random: torch.Generator) -> ChunkMask:
    """Chunk, sink and window drawn from the recipe's (paper Section 3.2: random sinks, windows and masks)."""
    chunk, sink, window = (
        options[int(torch.randint(len(options), (), generator=random))]
        for options in (recipe.chunks, recipe.sinks, recipe.windows)
    )
    return ChunkMask.regular(latents, chunk, sink, window, teacher_forcing=True)


def teacher_forcing(
    model: MotionModel, sample: Sample, mask: ChunkMask, recipe: CausalInitRecipe, random: torch.Generator
) -> dict[str, Tensor]:
    """Flow matching of each chunk at a time of its own, given the clean chunks before it."""
    clean = sample.latents
    noise = torch.randn(clean.shape, generator=random).to(clean)
    t = chunk_times(clean, mask, recipe.shift, random)
    noisy = interpolate(clean, noise, t)
    with autocast(recipe):
        guess = guess_after_clean(model, sample, noisy, t, mask)
    return flow_losses(model, guess, t, sample)


def chunk_times(clean: Tensor, mask: ChunkMask, shift: float, random: torch.Generator) -> Tensor:
    """(B, T): one time for each chunk of each clip."""
    times = [sample_times((len(clean), 1), shift, random).expand(-1, length) for _, length in mask.spans]
    return given_first(torch.cat(times, 1).to(clean.device))


def consistency(
    student: MotionModel,
    target: MotionModel,
    teacher: MotionModel,
    sample: Sample,
    mask: ChunkMask,
    recipe: CausalInitRecipe,
    random: torch.Generator,
) -> dict[str, Tensor]:
    """Equal clean guesses at two neighbouring times of the guided causal teacher's path."""
    clean = sample.latents
    noise = torch.randn(clean.shape, generator=random).to(clean)
    clock = ode_times(recipe.ode_steps, recipe.shift).to(clean.device)
    index = torch.randint(recipe.ode_steps, (len(clean),), generator=random).to(clean.device)
    t, t_next = (given_first(times[:, None].expand(clean.shape[:2])) for times in (clock[index], clock[index + 1]))
    noisy = interpolate(clean, noise, t)
    with autocast(recipe):
        with torch.no_grad():
            nearer = teacher_step(teacher, sample, noisy, t, t_next, mask, Guidance(recipe.w_t, recipe.w_m))
            wanted = guess_after_clean(target, sample, nearer, t_next, mask)
            # at the end of the path the guess is the point itself: what holds all other guesses to the teacher's
            wanted = torch.where(t_next[..., None, None, None] > 0, wanted, nearer)
        guess = guess_after_clean(student, sample, noisy, t, mask)
    loss = F.mse_loss(guess[:, 1:], wanted[:, 1:])
    error = F.mse_loss(guess[:, 1:].detach(), clean[:, 1:])
    return {"loss": loss, "clean_error": error}


def teacher_step(
    teacher: MotionModel,
    sample: Sample,
    noisy: Tensor,
    t: Tensor,
    t_next: Tensor,
    mask: ChunkMask,
    guidance: Guidance,
) -> Tensor:
    """One guided Euler step, clean chunks before each noisy one."""
    control = control_of(teacher, sample)
    twice = Control(doubled(control.conditioning), control.context, doubled(control.no_motion), control.no_text)
    both = torch.cat([sample.latents, noisy], 1)
    velocity = guided_velocity(teacher, both, forced_times(t), twice, guidance, mask)
    return euler(noisy, velocity[:, noisy.shape[1] :].float(), t, t_next)


def guess_after_clean(model: MotionModel, sample: Sample, noisy: Tensor, t: Tensor, mask: ChunkMask) -> Tensor:
    """ẑ_0 (B, T, C, h, w) of the noisy clips, each chunk given the sample's clean chunks in its sink and window."""
    both, conditioning = torch.cat([sample.latents, noisy], 1), doubled(sample.conditioning)
    guess = model.clean(both, forced_times(t), conditioning, context_of(model, sample), mask)
    return guess[:, noisy.shape[1] :].float()


def given_first(t: Tensor) -> Tensor:
    """Times (B, T) with the first latent, which is given, at 0."""
    return torch.cat([torch.zeros_like(t[:, :1]), t[:, 1:]], 1)


def doubled(conditioning: Conditioning) -> Conditioning:
    """For [clean copy | noisy copy]: both copies have the same conditioning."""
    return Conditioning.join([conditioning, conditioning])


def forced_times(t: Tensor) -> Tensor:
    """Times of [clean copy | noisy copy]."""
    return torch.cat([torch.zeros_like(t), t], 1)
