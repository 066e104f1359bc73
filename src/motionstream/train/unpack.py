"""The way back from a packed model to a training chain, so that any stage can go on from it.

A model carries its weights, rounded to bfloat16, and its runs' recipes and steps, but no optimiser and no teacher: what
is written can be read by the stages after it, packed again, and started from (`init_from`, `causal`), but not resumed.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

from torch import nn

from motionstream.model_folder import read_header
from motionstream.tiny.bundle import stored_parts
from motionstream.train.checkpoint import Checkpoints, write
from motionstream.train.pack import CHAIN, PROMPT_FILTER
from motionstream.train.recipe import RECIPE_FILE, DetailRecipe, MotionRecipe, Recipe, digest, from_json, save


def unpack(folder: Path, out: Path) -> dict[str, bool]:
    """Write the runs that a packed model came from into `out`: each with its recipe and steps, and with its averaged
    weights where they are the model's. Returns which runs have weights.

    Raises ValueError if the model has no record of its training, or `out` has a run of that name already.
    """
    origin: dict[str, Any] = read_header(folder).get("origin") or {}
    if "vae" not in origin:
        raise ValueError(f"{folder} has no record of the recipes it was trained by: it cannot be unpacked")
    taken = [run for run in origin if (out / run).exists()]
    if taken:
        raise ValueError(f"{out} has {', '.join(taken)} already: name a folder without")
    recipes = {run: from_json(json.dumps(part["recipe"]), f"{folder}, origin of {run}") for run, part in origin.items()}
    made_by = makers(recipes)
    weights = {made_by[part]: module for part, module in stored_parts(folder).modules().items()}
    for run, recipe in recipes.items():
        _write_run(out / run, recipe, origin[run], weights.get(run))
    return {run: run in weights for run in recipes}


def makers(recipes: Mapping[str, Recipe]) -> dict[str, str]:
    """Part of a model → the run that made it, of these runs in the order of the chain."""
    detail = recipes.get("detail")
    if isinstance(detail, DetailRecipe):
        student, vae = detail.student, detail.vae
    else:
        student = next(run for run in reversed(CHAIN) if run in recipes)
        vae = cast(MotionRecipe, recipes[student]).vae
    return {"network": student, "vae": vae, "detail": "detail", "prompt_filter": PROMPT_FILTER}


def _write_run(folder: Path, recipe: Recipe, part: dict[str, Any], weights: nn.Module | None) -> None:
    checkpoint = Checkpoints(folder / "checkpoints").path(part["steps"])
    checkpoint.mkdir(parents=True)
    averaged = {} if weights is None else {f"average.{key}": t.float() for key, t in weights.state_dict().items()}
    state = {"loop": {"seconds": part["minutes"] * 60}}
    write(checkpoint, part["steps"], {"ema": averaged} if averaged else {}, state, digest(recipe))
    save(recipe, folder / RECIPE_FILE)
