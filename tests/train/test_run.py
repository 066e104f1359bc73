"""A stage by name and a recipe: every stage runs to its end, resumes exactly; wrong requests are explained."""

from __future__ import annotations

import json
import logging
import math
import shutil
from contextlib import nullcontext
from pathlib import Path

import pytest
from tests.train.smoke import ASSETS, in_this_process

from motionstream.train import named, train
from motionstream.train.checkpoint import Checkpoints
from motionstream.train.recipe import save
from motionstream.train.run import BUILDERS, recipe_for

STEADY = "decay_fraction=0"
"""The rate must not depend on the number of steps, which an interruption changes here."""


@pytest.mark.parametrize("stage", BUILDERS)
def test_it_runs_to_its_end_with_finite_losses_and_a_sheet(chain: Path, stage: str) -> None:
    lines = [json.loads(line) for line in (chain / stage / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [1, 2, 3, 4]
    assert all(math.isfinite(value) for line in lines for value in line.values())
    assert all(
        line["skipped"] == 0 and line["grad_norm" if "grad_norm" in line else "critic_grad_norm"] > 0 for line in lines
    )
    assert [path.name for path in (chain / stage / "sheets").iterdir()] == ["step-000000004.png"]


@pytest.mark.parametrize(
    ("stage", "interrupted", "workers"),
    [
        ("vae", 2, False),
        ("teacher", 2, True),
        ("teacher-mask", 2, False),
        ("causal", 1, False),
        ("causal", 3, False),
        ("self-forcing", 1, False),
        ("detail", 2, False),
        ("prompt-filter", 2, False),
        ("decoder", 1, False),
        ("decoder", 3, False),
    ],
)
def test_an_interrupted_run_ends_where_an_uninterrupted_one_does(
    chain: Path, tmp_path: Path, stage: str, interrupted: int, workers: bool, caplog: pytest.LogCaptureFixture
) -> None:
    """Weights, averages, optimisers and generators, byte for byte. workers: whether another process makes batches."""
    caplog.set_level(logging.WARNING)
    for before in BUILDERS:
        if before != stage:
            (tmp_path / before).symlink_to(chain / before)
    with nullcontext() if workers else in_this_process():
        train(stage, "smoke", tmp_path, ASSETS, overrides=[STEADY])
        whole = files(tmp_path / stage)
        shutil.rmtree(tmp_path / stage)
        train(stage, "smoke", tmp_path, ASSETS, overrides=[STEADY, f"steps={interrupted}"])
        assert files(tmp_path / stage) != whole
        assert not caplog.records
        train(stage, "smoke", tmp_path, ASSETS, overrides=[STEADY])
    assert f"steps: {interrupted} → 4" in caplog.text
    assert files(tmp_path / stage) == whole
    assert set(whole) >= {"ema.safetensors", "state.safetensors"}


def files(run_dir: Path) -> dict[str, bytes]:
    folder = Checkpoints(run_dir / "checkpoints")
    newest = folder.path(folder.steps()[-1])
    return {path.name: path.read_bytes() for path in newest.glob("*.safetensors")}


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
