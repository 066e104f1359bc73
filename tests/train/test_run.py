"""A stage by name and a recipe: resumed exactly; wrong requests explained."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from motionstream.train import named, train
from motionstream.train.checkpoint import Checkpoints
from motionstream.train.recipe import save
from motionstream.train.run import recipe_for

ASSETS = Path(__file__).parents[1] / "data" / "assets"


@pytest.mark.parametrize("stage", ["vae", "teacher"])
def test_a_real_stage_resumes_exactly(tmp_path: Path, stage: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    for folder in ("whole", "parts"):
        if stage != "vae":
            train("vae", "smoke", tmp_path / folder, ASSETS)
    train(stage, "smoke", tmp_path / "whole", ASSETS, overrides=["decay_fraction=0"])
    train(stage, "smoke", tmp_path / "parts", ASSETS, overrides=["decay_fraction=0", "steps=2"])
    assert not caplog.records
    train(stage, "smoke", tmp_path / "parts", ASSETS, overrides=["decay_fraction=0"])
    assert "steps: 2 → 4" in caplog.text
    last = [Checkpoints(tmp_path / run / stage / "checkpoints").path(4) for run in ("whole", "parts")]
    files = [{path.name: path.read_bytes() for path in folder.glob("*.safetensors")} for folder in last]
    assert set(files[0]) >= {"ema.safetensors", "state.safetensors"}
    assert files[0] == files[1]


def test_a_recipe_from_a_file(tmp_path: Path) -> None:
    save(named("causal", "smoke"), tmp_path / "mine.json")
    assert recipe_for("causal", tmp_path / "mine.json") == recipe_for("causal", str(tmp_path / "mine.json"))


@pytest.mark.parametrize(
    ("stage", "recipe", "more", "message"),
    [
        ("vea", "smoke", {}, "unknown 'vea'; did you mean 'vae'"),
        ("vae", "smok", {}, "did you mean 'smoke'"),
        ("vae", named("causal", "smoke"), {}, "is for stage 'causal', not 'vae'"),
        ("vae", "smoke", {"minutes": 0}, "minutes = 0: must be positive"),
        ("vae", "smoke", {"finish": True}, "finish needs a limit in minutes"),
        ("vae", "smoke", {"overrides": ["lrr=1"]}, "unknown 'lrr'; did you mean 'lr'"),
        ("teacher", "smoke", {}, "recipe.json|checkpoint"),
    ],
)
def test_wrong_requests_are_explained(
    tmp_path: Path, stage: str, recipe: str, more: dict[str, object], message: str
) -> None:
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        train(stage, recipe, tmp_path, ASSETS, **more)
    assert not list(tmp_path.rglob("checkpoints"))
