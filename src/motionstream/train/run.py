"""From a stage's name and a recipe to a finished session: what `motionstream train` calls."""

from __future__ import annotations

import importlib
import logging
import random
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import cast

import numpy as np
import torch

from motionstream.train.loop import Outcome
from motionstream.train.loop import run as run_stage
from motionstream.train.parallelize import close_distributed, rank, setup_distributed
from motionstream.train.recipe import (
    RECIPE_FILE,
    RECIPES,
    MotionRecipe,
    Recipe,
    changed,
    differences,
    load,
    save,
)
from motionstream.train.recipes import named
from motionstream.train.stage import Stage
from motionstream.train.typed import unknown

_log = logging.getLogger(__name__)

BUILDERS = {
    "vae": "motionstream.train.tiny_vae",
    "teacher": "motionstream.train.teacher",
    "teacher-mask": "motionstream.train.teacher",
    "causal": "motionstream.train.causal_init",
    "self-forcing": "motionstream.train.self_forcing",
    "rollout": "motionstream.train.rollout",
    "vae-decoder": "motionstream.train.tiny_vae",
    "detail": "motionstream.train.detail",
    "prompt-filter": "motionstream.train.prompt_filter",
    "decoder": "motionstream.train.tiny_decoder",
}
"""Stage → module with `build(recipe, assets, out) -> Stage`, imported when it is trained."""


RANK_SEEDS = 1_000_003
"""Distance between the recipes' seeds on neighbouring ranks: each draws other clips and noise, from equal weights."""


def train(
    stage: str,
    recipe: str | Path | Recipe,
    out: Path,
    assets: Path,
    minutes: float | None = None,
    resume: bool = True,
    overrides: Sequence[str] = (),
    finish: bool = False,
) -> Outcome:
    """Train one stage in `out/<stage>`, resuming what is there.

    stage: one of BUILDERS. recipe: a name, a JSON file or a recipe. out: folder of the whole chain; a stage finds
    those before it as `out/<stage>`. assets: pictures for the synthetic worlds, or the folder of prepared clips.
    minutes: limit of this session; finish: the rate's decay ends with it. overrides: "key=value". Under torchrun every
    rank calls it.
    """
    if stage not in BUILDERS:
        raise ValueError(unknown("training stage", stage, BUILDERS))
    if minutes is not None and not minutes > 0:
        raise ValueError(f"minutes = {minutes}: must be positive")
    if finish and minutes is None:
        raise ValueError("finish needs a limit in minutes to finish in")
    chosen = changed(recipe_for(stage, recipe), overrides)
    device = setup_distributed(chosen.device)
    try:
        return session(stage, chosen, device, out, assets, minutes, finish, resume)
    finally:
        close_distributed()


def session(
    stage: str,
    recipe: Recipe,
    device: torch.device,
    out: Path,
    assets: Path,
    minutes: float | None = None,
    finish: bool = False,
    resume: bool = True,
) -> Outcome:
    """What `train` does within the group of ranks, on this rank's device."""
    run_dir = out / stage
    if rank() == 0:
        path = run_dir / RECIPE_FILE
        if path.is_file() and (changes := differences(load(path), recipe)):
            _log.warning("the recipe changed since the last session: %s", "; ".join(changes))
        run_dir.mkdir(parents=True, exist_ok=True)
        save(recipe, path)
    random.seed(recipe.seed)  # fresh weights are drawn from these: the same on every rank
    np.random.seed(recipe.seed)
    torch.manual_seed(recipe.seed)
    # prepared clips are shared out among the ranks by one order, which the seed decides
    together = isinstance(recipe, MotionRecipe) and recipe.data == "shards"
    own = replace(recipe, device=str(device), seed=recipe.seed if together else recipe.seed + RANK_SEEDS * rank())
    # not kept by a name: what it holds of the group of ranks must be gone when that is closed
    return run_stage(builder(stage)(own, assets, out), run_dir, recipe, minutes, finish, resume)


def recipe_for(stage: str, recipe: str | Path | Recipe) -> Recipe:
    """The recipe meant: itself, a file's, or the named one. Raises ValueError if it is another stage's."""
    if isinstance(recipe, Recipe):
        chosen = recipe
    elif isinstance(recipe, Path) or recipe.endswith(".json"):
        chosen = load(Path(recipe))
    else:
        chosen = named(stage, recipe)
    if type(chosen) is not RECIPES[stage]:
        raise ValueError(f"recipe {chosen.name!r} is for stage {chosen.stage!r}, not {stage!r}")
    return chosen


def builder(stage: str) -> Callable[[Recipe, Path, Path], Stage]:
    module = importlib.import_module(BUILDERS[stage])
    return cast(Callable[[Recipe, Path, Path], Stage], module.build)
