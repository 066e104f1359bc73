"""Stage "look": what the words of weather, light and film do to a whole frame, from clips with and without an effect.

A synthetic world is drawn once and shown under every effect: without one it is what a student shows, with one what the
prompt asks for.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from motionstream.conditioning import word_numbers
from motionstream.data.assets import AssetLibrary
from motionstream.data.captions import with_effect
from motionstream.data.effects import BY_NAME, NONE
from motionstream.data.loader import PROBE_FIRST
from motionstream.data.synthetic import SyntheticWorlds
from motionstream.train.ema import EMA
from motionstream.train.optim import Schedule, Updater, make_optimizer
from motionstream.train.recipe import LookRecipe
from motionstream.train.sheet import rows
from motionstream.train.stage import Image
from motionstream.vae import Look
from motionstream.vae.pixels import to_model, to_uint8

CASES = (NONE, *BY_NAME)
"""What every world is shown under."""


def build(recipe: LookRecipe, assets: Path, out: Path) -> LookStage:
    """The stage, ready for its first step or for `load_state_dict`."""
    library = AssetLibrary(assets, "train")
    worlds = SyntheticWorlds(library, recipe.size, recipe.frames, recipe.seed + 5, effects=False, points=16)
    return LookStage(recipe, worlds)


class LookStage:
    def __init__(self, recipe: LookRecipe, worlds: SyntheticWorlds) -> None:
        self.recipe, self.worlds = recipe, worlds
        self.look = Look(recipe.look).to(recipe.device)
        self.ema = EMA(self.look, recipe.ema_decay)
        self.optimizer = make_optimizer(self.look, recipe.lr, recipe.weight_decay, recipe.optimizer)
        schedule = Schedule(recipe.warmup_steps, recipe.decay_fraction)
        self.updater = Updater(self.look, self.optimizer, schedule, recipe.clip, recipe.accumulate, self.ema)
        self.next = 0

    def modules(self) -> dict[str, nn.Module]:
        return {"look": self.look, "ema": self.ema}

    def optimizers(self) -> dict[str, Any]:
        return {"look": self.optimizer}

    def step(self, step: int, progress: float) -> dict[str, float]:
        means = self.updater.accumulated(lambda: self._losses(self._next_worlds()))
        return means | self.updater.apply(step, progress)

    def sheet(self) -> Image | None:
        """Of one world under each effect, three frames as they are to be and three as learned."""
        average: Look = self.ema.average  # type: ignore[assignment]
        numbers = np.linspace(0, self.recipe.frames - 1, 3).round().astype(int).tolist()
        plain, true, words = self._drawn(PROBE_FIRST, numbers)
        with torch.no_grad():
            made = average(plain, words, ages(numbers, plain))
        return rows([to_uint8(torch.cat(pair)) for pair in zip(true, made, strict=True)])

    def state_dict(self) -> dict[str, Any]:
        return {"next": self.next}

    def load_state_dict(self, state: dict[str, Any], /) -> None:
        self.next = int(state["next"])

    def _next_worlds(self) -> Sequence[int]:
        first, self.next = self.next, self.next + self.recipe.batch
        return range(first, self.next)

    def _drawn(self, world: int, numbers: Sequence[int]) -> tuple[Tensor, Tensor, Tensor]:
        """Frames of these numbers (B, F, 3, H, W) without an effect and under each, and the prompts' words (B, L)."""
        drawn, rng = self.worlds.world(world), np.random.default_rng([self.recipe.seed, world])
        clips = [to_model(clip[torch.tensor(numbers)]) for clip in drawn.under(CASES)]
        config = self.recipe.look
        said = [with_effect(drawn.caption, case, rng) for case in CASES]
        words = torch.tensor([word_numbers(prompt, config.words, config.buckets) for prompt in said])
        true = torch.stack(clips).to(self.recipe.device)
        return true[:1].expand_as(true), true, words.to(self.recipe.device)

    def _losses(self, worlds: Sequence[int]) -> dict[str, Tensor]:
        losses, left, found = [], torch.zeros(()), torch.zeros(())
        for world in worlds:
            rng = np.random.default_rng([self.recipe.seed, world, 1])
            numbers = np.sort(rng.permutation(self.recipe.frames)[: self.recipe.shown]).tolist()
            plain, true, words = self._drawn(world, numbers)
            made = self.look(plain, words, ages(numbers, plain))
            losses.append(F.mse_loss(made, true))
            left = left + losses[-1].detach().cpu()
            found = found + F.mse_loss(plain, true).cpu()
        return {"loss": torch.stack(losses).mean(), "left": left / found.clamp(min=1e-9)}


def ages(numbers: Sequence[int], clips: Tensor) -> Tensor:
    """(B, F): the prompt is in force from the clips' first frame on."""
    return torch.tensor(numbers, device=clips.device).expand(len(clips), -1)
