"""Stage "prompt-filter": what phrases of weather, light and film do to a frame, from clips with and without an effect.

A synthetic world is drawn once and shown under every effect: without one it is what a student shows, with one what the
prompt asks for. Colours are compared pixel by pixel, with the mean of each kind of particles in place of the particles;
these are compared as a texture (`train/texture.py`), for their places are random.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from motionstream.conditioning.text_encoder import PAD
from motionstream.data.assets import AssetLibrary
from motionstream.data.captions import with_phrase, wordings
from motionstream.data.effects import BY_NAME, NONE
from motionstream.data.loader import PROBE_FIRST
from motionstream.data.synthetic import SyntheticWorlds
from motionstream.tiny.particles import Particles
from motionstream.tiny.prompt_filter import PromptFilter, shown, unbounded
from motionstream.train.ema import EMA
from motionstream.train.network import finished
from motionstream.train.optim import Updater
from motionstream.train.recipe import PromptFilterRecipe
from motionstream.train.serialise import Tree
from motionstream.train.stage import Image, Stage, contact_sheet
from motionstream.train.texture import beyond_curves, shape_distance, texture_distance
from motionstream.vae.pixels import to_model, to_uint8

CASES = (NONE, *BY_NAME)
"""What every world is shown under."""
FAINT = 0.05
"""Amount of particles up to which the sparsity penalty rises steeply."""
SPARSITY_RISE = 0.35
"""Share of the run in which the sparsity penalty rises to its weight."""


def build(recipe: PromptFilterRecipe, assets: Path, out: Path) -> PromptFilterStage:
    """The stage, ready for its first step or for `load_state_dict`."""
    library = AssetLibrary(assets, "train")
    worlds = SyntheticWorlds(library, recipe.size, recipe.frames, recipe.seed + 5, effects=False, points=16)
    prompt_filter = (
        finished_prompt_filter(out / recipe.init_from) if recipe.init_from else PromptFilter(recipe.prompt_filter)
    )
    return PromptFilterStage(recipe, worlds, prompt_filter)


def finished_prompt_filter(run_dir: Path) -> PromptFilter:
    """The averaged network of a finished run of stage "prompt-filter"."""
    return finished(run_dir, PromptFilterRecipe, lambda recipe: PromptFilter(recipe.prompt_filter))


class PromptFilterStage(Stage):
    def __init__(self, recipe: PromptFilterRecipe, worlds: SyntheticWorlds, prompt_filter: PromptFilter) -> None:
        self.recipe, self.worlds = recipe, worlds
        self.prompt_filter = prompt_filter.to(recipe.device)
        self.ema = EMA(self.prompt_filter, recipe.ema_decay)
        self.updater = Updater.of(recipe, self.prompt_filter, self.ema)
        self.updaters = {"prompt-filter": self.updater}
        self.next = 0

    def step(self, step: int, progress: float) -> dict[str, float]:
        textured = progress >= self.recipe.texture_from
        risen = min(max((progress - self.recipe.sparsity_from) / SPARSITY_RISE, 0.0), 1.0)
        sparsity_weight = self.recipe.sparsity_weight * risen**2
        for _ in range(self.recipe.accumulate):
            worlds = range(self.next, self.next + self.recipe.batch)
            self.next += self.recipe.batch
            self.updater.backward(self._losses(worlds, textured, sparsity_weight))
        return self.updater.apply(step, progress)

    def sheet(self) -> Image | None:
        """Of one world under each effect, three frames as they are to be and three as learned."""
        numbers = np.linspace(0, self.recipe.frames - 1, 3).round().astype(int).tolist()
        drawn = self._drawn(PROBE_FIRST, numbers)
        with torch.no_grad():
            made = self.ema.average(drawn.plain, drawn.phrases, drawn.age, drawn.particles)
        return contact_sheet([to_uint8(torch.cat(pair)) for pair in zip(drawn.true, made, strict=True)])

    def state_dict(self) -> dict[str, Tree]:
        return {"next": self.next}

    def load_state_dict(self, state: dict[str, Any], /) -> None:
        self.next = int(state["next"])

    def _drawn(self, world: int, numbers: Sequence[int]) -> _Drawn:
        """Frames of these numbers without an effect and under each; the particles of each are of another time."""
        recipe = self.recipe
        drawn, rng = self.worlds.world(world), np.random.default_rng([recipe.seed, world])
        clips = [to_model(clip[torch.tensor(numbers)]) for clip in drawn.under_effects(CASES)]
        prompts = [_prompt(drawn.caption, case, rng) for case in CASES]
        phrases = _padded([recipe.prompt_filter.numbers_in(prompt) for prompt in prompts])
        particles, begins = Particles.of(world, recipe.size), rng.integers(0, 10_000, len(CASES)).tolist()
        moving = [particles.at([begin + number for number in numbers]) for begin in begins]
        true = torch.stack(clips)
        parts = true[:1].expand_as(true), true, phrases, torch.tensor([numbers] * len(CASES)), torch.stack(moving)
        return _Drawn(*(part.to(recipe.device) for part in parts))

    def _losses(self, worlds: Sequence[int], textured: bool, sparsity_weight: float) -> dict[str, Tensor]:
        found = []
        for world in worlds:
            rng = np.random.default_rng([self.recipe.seed, world, 1])
            begin = int(rng.integers(self.recipe.frames - self.recipe.shown + 1))
            drawn = self._drawn(world, range(begin, begin + self.recipe.shown))
            found.append(self._compared(drawn, textured, sparsity_weight, world))
        return {name: torch.stack([losses[name] for losses in found]).mean() for name in found[0]}

    def _compared(self, drawn: _Drawn, textured: bool, sparsity_weight: float, seed: int) -> dict[str, Tensor]:
        curve, amounts = self.prompt_filter.parameters_of(drawn.phrases, drawn.age)
        even = drawn.particles.mean((-1, -2), keepdim=True).expand_as(drawn.particles)
        colour = colour_error(unbounded(drawn.plain, curve, amounts.detach(), even), drawn.true)
        if not textured:
            return {"loss": colour, "colour": colour}
        made = shown(drawn.plain, curve.detach(), amounts, drawn.particles)
        left, wanted = (beyond_curves(video, drawn.plain[:1]) for video in (made, drawn.true))
        texture = texture_distance(left, wanted, torch.Generator().manual_seed(seed))
        shape, sparsity = shape_distance(left, wanted), sparsity_penalty(amounts)
        recipe = self.recipe
        loss = colour + recipe.texture_weight * texture + recipe.shape_weight * shape + sparsity_weight * sparsity
        return {"loss": loss, "colour": colour, "texture": texture, "shape": shape, "sparsity": sparsity}


def colour_error(made: Tensor, true: Tensor) -> Tensor:
    """Mean squared error of frames not cut to [−1, 1] yet, which may go beyond an end where the true ones are at it.

    Were they cut, a place that a curve wrongly makes black would have no gradient, and stay black.
    """
    return F.mse_loss(torch.where(true.abs() >= 1, made.clamp(-1, 1), made), true)


def sparsity_penalty(amounts_BFP: Tensor) -> Tensor:
    """Log-sum penalty on the amounts of each kind of particles: effects use few kinds, and none where they need none
    (Candès et al., "Enhancing sparsity by reweighted l1 minimization", 2008). Faint particles that belong to no effect
    would be followed by trackers, and by the eye."""
    return torch.log1p(amounts_BFP.abs() / FAINT).sum(-1).mean()


def _prompt(scene: str, effect: str, rng: np.random.Generator) -> str:
    """The scene's caption with the effect named in it, in any of its words."""
    if effect == NONE:
        return scene
    ways = wordings(effect)
    return with_phrase(scene, ways[int(rng.integers(len(ways)))])


def _padded(numbers: Sequence[Sequence[int]]) -> Tensor:
    longest = max(1, *map(len, numbers))
    return torch.tensor([[*row, *[PAD] * (longest - len(row))] for row in numbers])


@dataclass(frozen=True)
class _Drawn:
    """A world under every effect: plain and true frames (B, F, 3, H, W), phrases of the prompts (B, L), how long they
    have been in force (B, F), and particles (B, F, K, H, W)."""

    plain: Tensor
    true: Tensor
    phrases: Tensor
    age: Tensor
    particles: Tensor
