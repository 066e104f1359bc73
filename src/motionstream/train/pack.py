"""The end of a training chain: the student's averaged weights and the VAE as one model folder for the zoo."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from motionstream.model_folder import write_json
from motionstream.tiny.bundle import save_bundle
from motionstream.train.checkpoint import Checkpoints, newest_weights
from motionstream.train.detail import finished_detail
from motionstream.train.motion_data import frozen_vae
from motionstream.train.network import model_config, new_model
from motionstream.train.prompt_filter import finished_prompt_filter
from motionstream.train.recipe import (
    RECIPE_FILE,
    CausalInitRecipe,
    DetailRecipe,
    Recipe,
    RolloutRecipe,
    load,
    to_json,
)
from motionstream.train.wan_data import CHANNELS
from motionstream.wan.conversion import NETWORK_FILE
from motionstream.wan.model import live_like
from motionstream.wan.weight_files import write_weights

CHAIN = ("vae", "teacher", "teacher-mask", "causal", "self-forcing", "rollout", "vae-decoder", "detail")
PROMPT_FILTER = "prompt-filter"
"""Stage of its own, which a model of any student may take in."""
Student = CausalInitRecipe | RolloutRecipe | DetailRecipe


def pack(out: Path, stage: str, folder: Path, name: str, **changes: Any) -> dict[str, Any]:
    """Write the model that a chain in `out` has trained up to `stage` into `folder`.

    stage: "causal", "self-forcing", "rollout" or "detail". It is run as it was trained (`recipe.live`), but for the
    changes: fields of `Live`. A finished run of stage "prompt-filter" is taken in, and is then the only part
    that reads the prompt: with a network that does, an effect would show twice.
    Returns where the weights come from, as written there.
    """
    recipe = student_recipe(out, stage)
    vae = frozen_vae(out / recipe.vae, "cpu", torch.float32)
    student = recipe.student if isinstance(recipe, DetailRecipe) else stage
    network = new_model(recipe.network, vae.latent_channels, out / student)
    detail = finished_detail(out / stage) if isinstance(recipe, DetailRecipe) else None
    prompt_filter = finished_prompt_filter(out / PROMPT_FILTER) if (out / PROMPT_FILTER).is_dir() else None
    stages = [one for done in CHAIN[: CHAIN.index(stage) + 1] for one in lineage(out, done)]
    stages += [] if prompt_filter is None else lineage(out, PROMPT_FILTER)
    origin = {done: history(out / done) for done in stages if (out / done).is_dir()}
    live = replace(recipe.live, reads_prompt=prompt_filter is None, **changes)
    save_bundle(folder, name, network, vae, live, origin, detail, prompt_filter)
    return origin


def export_wan(out: Path, stage: str, folder: Path) -> None:
    """Write the averaged network of a chain on a Wan backbone as `motionstream convert` does: shards in bfloat16 and
    network.json. Raises ValueError if the stage does not train a student or the folder has weights already."""
    recipe = student_recipe(out, stage)
    if recipe.vae not in CHANNELS:
        raise ValueError(f"{out}: not on a Wan backbone; `motionstream zoo pack` makes a model of such a run")
    weights = newest_weights(out / stage, "ema", under="average")
    config = model_config(recipe.network, CHANNELS[recipe.vae])
    layout = {name: tuple(tensor.shape) for name, tensor in weights.items()}
    hashes = write_weights(folder, layout, weights.items(), torch.bfloat16)
    header = {
        "format": 1,
        "network": dataclasses.asdict(config),
        "live": dataclasses.asdict(replace(recipe.live, fps=live_like(config).fps)),
        "trained": {done: history(out / done) for done in CHAIN if (out / done).is_dir()},
        "sha256": hashes,
    }
    write_json(folder / NETWORK_FILE, header)


def student_recipe(out: Path, stage: str) -> Student:
    """The recipe of a chain's student. Raises ValueError if the stage does not train one."""
    recipe = load(out / stage / RECIPE_FILE)
    if not isinstance(recipe, Student):
        raise ValueError(
            f"stage {stage!r} does not train a student: use 'causal', 'self-forcing', 'rollout' or 'detail'"
        )
    return recipe


def lineage(out: Path, run: str) -> list[str]:
    """A run, after those outside the usual chain that it went on from."""
    runs = [run]
    while (out / runs[0]).is_dir():
        recipe = load(out / runs[0] / RECIPE_FILE)
        before = getattr(recipe, "causal", "") or getattr(recipe, "init_from", "")
        if not before or before in (*CHAIN, *runs):
            break
        runs.insert(0, before)
    return runs


def history(run_dir: Path) -> dict[str, Any]:
    """What a stage was trained by, and for how long: recipe, steps, and minutes of its own clock."""
    recipe: Recipe = load(run_dir / RECIPE_FILE)
    newest = Checkpoints(run_dir / "checkpoints").newest()
    if newest is None:
        raise ValueError(f"{run_dir} holds no finished checkpoint: train that stage first")
    minutes = float(newest.state["loop"]["seconds"]) / 60
    fields = {key: _without_folder(value) for key, value in json.loads(to_json(recipe)).items()}
    return {"steps": newest.step, "minutes": round(minutes, 1), "recipe": fields}


def _without_folder(value: Any) -> Any:
    """Of a file of this machine its name alone."""
    return Path(value).name if isinstance(value, str) and Path(value).is_absolute() else value
