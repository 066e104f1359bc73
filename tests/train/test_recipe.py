"""Recipes: named ones hold together, files come back exactly, wrong keys and values are named."""

from __future__ import annotations

import json
from dataclasses import FrozenInstanceError, asdict, replace
from pathlib import Path

import pytest

from motionstream.model_folder import read_header
from motionstream.train import recipe as recipes
from motionstream.train.pack import CHAIN
from motionstream.train.recipe import (
    RECIPES,
    CausalInitRecipe,
    RolloutRecipe,
    StreamedRecipe,
    TinyVAERecipe,
    changed,
    derived,
    differences,
    digest,
    from_json,
    to_json,
)
from motionstream.train.recipes import NAMED, named
from motionstream.zoo import embedded

ALL = [(stage, name) for stage, table in NAMED.items() for name in table]


@pytest.mark.parametrize(("stage", "name"), ALL)
def test_named_recipes_come_back_from_json(stage: str, name: str, tmp_path: Path) -> None:
    made = named(stage, name)
    assert (type(made), made.name) == (RECIPES[stage], name)
    recipes.save(made, tmp_path / "recipe.json")
    assert recipes.load(tmp_path / "recipe.json") == made


def test_every_stage_of_the_chain_has_the_three_recipes() -> None:
    assert all(set(NAMED[stage]) >= {"tiny_cpu", "tiny_gpu", "smoke"} for stage in CHAIN)
    assert set(NAMED) == set(RECIPES)


@pytest.mark.parametrize("name", ["tiny_cpu", "tiny_gpu", "smoke"])
def test_the_stages_of_a_chain_share_one_network(name: str) -> None:
    chain = [named(stage, name) for stage in ("teacher", "teacher-mask", "causal", "self-forcing")]
    assert len({getattr(recipe, "network", None) for recipe in chain}) == 1


def test_frozen() -> None:
    with pytest.raises(FrozenInstanceError):
        named("vae", "smoke").lr = 1.0  # type: ignore[misc]


def test_names_that_are_not_there() -> None:
    with pytest.raises(ValueError, match="unknown 'tiny_cpv'; did you mean 'tiny_cpu'"):
        named("vae", "tiny_cpv")
    with pytest.raises(ValueError, match="unknown 'teachr'; did you mean 'teacher'"):
        named("teachr", "smoke")


def edited(**values: object) -> str:
    return json.dumps({**json.loads(to_json(named("vae", "smoke"))), **values})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (edited(weigth_decay=1), "unknown 'weigth_decay'; did you mean 'weight_decay'"),
        (edited(vae={"latent_chanels": 4}), "vae: unknown 'latent_chanels'; did you mean 'latent_channels'"),
        (edited(stage="gan"), '"stage" must be one of'),
        (edited(steps="many"), "steps: 'many' is not a whole number"),
        (edited(steps=1.5), "steps: 1.5 is not a whole number"),
        (edited(steps=True), "steps: True is not a whole number"),
        (edited(lr=None), "lr: None is not a number"),
        (edited(size=[64]), r"size: \[64\] has 1 values, 2 are needed"),
        (edited(size=64), "size: 64 is not a list"),
        (edited(frames=8), r"a clip has 1 \+ 4·n frames"),
        (edited(batch=0), "batch = 0, must be at least 1"),
        (edited(steps=0), "steps = 0, must be at least 1"),
        (edited(log_every=0), "log_every = 0, must be at least 1"),
        (edited(sheet_every=0), "sheet_every = 0, must be at least 1"),
        (edited(dtype="int8"), "'bfloat16' or 'float32'"),
        (edited(effect_share=1.5), "effect_share = 1.5, a share is from 0 to 1"),
        (edited(variety=-0.1), "variety = -0.1, a share is from 0 to 1"),
        ("[]", '"stage" must be one of'),
        ("{", "is not JSON"),
        ('{"stage": "vae"}', "missing"),
    ],
)
def test_wrong_files_are_explained(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message) as raised:
        from_json(text, "here.json")
    assert "recipe" in str(raised.value) or "here.json" in str(raised.value)


def test_settings() -> None:
    made = changed(named("causal", "smoke"), ["lr=1e-3", "size=160,96", "steps=7", "sinks=2,4", "name=mine"])
    assert (made.lr, made.size, made.steps, made.name) == (1e-3, (160, 96), 7, "mine")
    assert getattr(made, "sinks", None) == (2, 4)
    assert getattr(changed(made, ["windows=3"]), "windows", None) == (3,)
    assert changed(made, ["lr=1"]).lr == 1.0
    assert getattr(changed(made, ["network.anchored=False"]), "network", None) == replace(
        made.network,  # type: ignore[attr-defined]
        anchored=False,
    )


def test_nested_setting() -> None:
    made = changed(named("vae", "smoke"), ["vae.latent_channels=12"])
    assert isinstance(made, TinyVAERecipe)
    assert made.vae == replace(named("vae", "smoke").vae, latent_channels=12)  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("lr", "write key=value"),
        ("stpes=4", "did you mean 'steps'"),
        ("steps=1e3", "steps: 1000.0 is not a whole number"),
        ("size=160", "2 are needed"),
        ("lr.x=1", "lr has no fields"),
        ("vae.x=1", "unknown 'x'"),
        ("lr=fast", "lr: 'fast' is not a number"),
    ],
)
def test_wrong_settings(setting: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        changed(named("vae", "smoke"), [setting])


@pytest.mark.parametrize("run", ["causal", "teacher"])
def test_self_forcing_names_the_runs_it_starts_from(run: str) -> None:
    with pytest.raises(ValueError, match=f"{run} = '' names no run"):
        changed(named("self-forcing", "smoke"), [f"{run}="])


def test_rollouts_from_nothing_start_as_the_warp() -> None:
    rollouts = named("rollout", "smoke")
    assert isinstance(rollouts, RolloutRecipe)
    assert not rollouts.causal
    with pytest.raises(ValueError, match=r"need network\.anchored = true"):
        replace(rollouts, network=replace(rollouts.network, anchored=False))


@pytest.mark.parametrize("stage", ["self-forcing", "rollout", "detail"])
@pytest.mark.parametrize("name", ["tiny_cpu", "tiny_gpu"])
def test_students_are_trained_as_the_shipped_model_is_run(stage: str, name: str) -> None:
    made, shipped = named(stage, name), read_header(embedded("tiny"))["live"]
    assert isinstance(made, StreamedRecipe)
    live = json.loads(json.dumps(asdict(replace(made.live, reads_prompt=False))))  # a prompt filter reads the prompt
    assert live == shipped
    assert made.live.rollout_config.times == (1.0,)


def test_a_derived_recipe_has_the_fields_of_the_other_but_for_the_changes() -> None:
    teacher = named("teacher", "smoke")
    causal = derived(CausalInitRecipe, teacher, lr=0.5, sinks=(1,), windows=(1,), chunks=(2,), diffusion_steps=3)
    assert (causal.lr, causal.size, causal.frames) == (0.5, teacher.size, teacher.frames)
    assert causal.network == teacher.network  # type: ignore[attr-defined]


def test_differences_and_digest() -> None:
    old = named("vae", "smoke")
    new = changed(old, ["lr=0.5"])
    assert differences(old, new) == [f"lr: {old.lr} → 0.5"]
    assert differences(old, old) == []
    assert digest(old) != digest(new)
