"""A packed model becomes a chain again: same weights, same recipes, and stages that go on from it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from tests.train.smoke import ASSETS, in_this_process

from motionstream.model_folder import read_header
from motionstream.train import train
from motionstream.train.checkpoint import newest_weights
from motionstream.train.pack import pack
from motionstream.train.recipe import load
from motionstream.train.unpack import unpack

MADE = {"detail": "detail", "prompt-filter": "prompt_filter", "rollout": "network", "vae-decoder": "vae"}


@pytest.fixture
def model(chain: Path, tmp_path: Path) -> Path:
    pack(chain, "detail", tmp_path / "model", "try", window=2)
    return tmp_path / "model"


def test_runs_have_the_models_weights_and_their_own_recipes(chain: Path, model: Path, tmp_path: Path) -> None:
    runs = unpack(model, tmp_path / "out")
    assert set(runs) == set(read_header(model)["origin"])
    assert {run for run, has in runs.items() if has} == set(MADE)
    for run in runs:
        assert load(tmp_path / "out" / run / "recipe.json") == load(chain / run / "recipe.json")
    for run in MADE:
        trained = newest_weights(chain / run, "ema", under="average")
        again = newest_weights(tmp_path / "out" / run, "ema", under="average")
        assert set(again) == set(trained)
        assert all(torch.equal(again[name], trained[name].bfloat16().float()) for name in trained)


def test_packed_again_it_is_the_same_model(model: Path, tmp_path: Path) -> None:
    unpack(model, tmp_path / "out")
    pack(tmp_path / "out", "detail", tmp_path / "again", "try", window=2)
    assert json.loads((tmp_path / "again" / "model.json").read_text()) == json.loads((model / "model.json").read_text())


def test_a_stage_goes_on_from_it(model: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    unpack(model, out)
    with in_this_process():
        done = train(
            "teacher-mask",
            "smoke",
            tmp_path / "next",
            ASSETS,
            overrides=["init_from=../out/rollout", "vae=../out/vae-decoder"],
        )
    assert done.step == 4


def test_without_detail_the_network_is_the_last_students(chain: Path, tmp_path: Path) -> None:
    pack(chain, "causal", tmp_path / "model", "try")
    runs = unpack(tmp_path / "model", tmp_path / "out")
    assert {run for run, has in runs.items() if has} == {"causal", "vae", "prompt-filter"}


def test_what_cannot_be_unpacked_is_explained(model: Path, tmp_path: Path) -> None:
    (tmp_path / "out" / "detail").mkdir(parents=True)
    with pytest.raises(ValueError, match="out has detail already: name a folder without"):
        unpack(model, tmp_path / "out")
    header = json.loads((model / "model.json").read_text())
    silent = tmp_path / "silent"
    shutil.copytree(model, silent)
    (silent / "model.json").write_text(json.dumps({**header, "origin": {}}))
    with pytest.raises(ValueError, match="has no record of the recipes it was trained by"):
        unpack(silent, tmp_path / "other")
    assert not (tmp_path / "other").exists()
