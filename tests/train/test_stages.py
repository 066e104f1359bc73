"""Every stage runs, learns what it should and nothing else, and goes on after an interruption as if there was none."""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path
from unittest.mock import patch

import pytest
import torch
from tests.train.smoke import (
    ASSETS,
    STEPS,
    causal_stage,
    changed,
    detail_stage,
    finite,
    forcing_stage,
    in_this_process,
    look_stage,
    only,
    teacher_stage,
    vae_stage,
    weights,
)

from motionstream.train import train
from motionstream.train.checkpoint import Checkpoints
from motionstream.train.network import finished
from motionstream.train.recipe import DetailRecipe, PromptFilterRecipe
from motionstream.train.run import BUILDERS


def is_head(name: str) -> bool:
    return name.startswith("track_head.")


@pytest.mark.parametrize("stage", BUILDERS)
def test_it_runs_to_its_end_with_finite_losses_and_a_sheet(chain: Path, stage: str) -> None:
    lines = [json.loads(line) for line in (chain / stage / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [1, 2, 3, 4]
    assert all(math.isfinite(value) for line in lines for value in line.values())
    assert all(
        line["skipped"] == 0 and line["grad_norm" if "grad_norm" in line else "critic_grad_norm"] > 0 for line in lines
    )
    assert [path.name for path in (chain / stage / "sheets").iterdir()] == ["step-000000004.png"]


def test_the_vae_learns_all_of_its_weights(chain: Path) -> None:
    stage = vae_stage(chain)
    before = weights(stage.vae)
    losses = [stage.step(step, step / STEPS) for step in range(3)]
    assert all(finite(one) for one in losses)
    assert changed(before, stage.vae) == set(before)
    assert (stage.vae.scale > 0).all()


def test_the_vae_starts_from_a_fair_picture(chain: Path) -> None:
    """The first step's picture is that of principal components, not of noise."""
    assert vae_stage(chain).step(0, 0.0)["psnr"] > 15


def test_the_teacher_learns_all_of_its_weights_and_leaves_the_vae_alone(chain: Path) -> None:
    stage = teacher_stage(chain)
    before, vae = weights(stage.model), weights(stage.data.vae)
    assert all(finite(stage.step(step, step / STEPS)) for step in range(3))
    assert changed(before, stage.model) == set(before)
    assert not changed(vae, stage.data.vae)


def test_the_teachers_second_stage_starts_from_the_first_and_freezes_the_track_head(chain: Path) -> None:
    stage = teacher_stage(chain, "teacher-mask")
    assert not changed(weights(teacher_average(chain)), stage.model)
    before = weights(stage.model)
    for step in range(3):
        stage.step(step, step / STEPS)
    assert changed(before, stage.model) == set(before) - only(is_head, stage.model)


def teacher_average(chain: Path) -> torch.nn.Module:
    stage = teacher_stage(chain)
    checkpoint = Checkpoints(chain / "teacher" / "checkpoints").newest()
    assert checkpoint is not None
    stage.ema.load_state_dict(checkpoint.weights["ema"])
    return stage.ema.average


def test_the_causal_student_changes_and_its_teacher_is_frozen_at_the_switch(chain: Path) -> None:
    stage = causal_stage(chain, diffusion_steps=2)
    before = weights(stage.model)
    for step in range(2):
        assert stage.step(step, step / STEPS)["distilling"] == 0
    assert changed(before, stage.model) == set(before) - only(is_head, stage.model)
    assert not changed(before, stage.causal_teacher), "it is not used yet"
    learned, average = weights(stage.model), weights(stage.ema.average)
    for step in range(2, 4):
        assert stage.step(step, step / STEPS)["distilling"] == 1
        assert not changed(average, stage.causal_teacher), "the average as it was at the switch"
    assert changed(learned, stage.model) == set(before) - only(is_head, stage.model)
    assert changed(average, stage.target.average) >= set(before) - only(is_head, stage.model)


def test_self_forcing_changes_the_critic_always_and_the_student_every_fifth_time(chain: Path) -> None:
    stage = forcing_stage(chain, critic_ratio=5)
    teacher = weights(stage.teacher)
    learning = set(teacher) - only(is_head, stage.teacher)
    for step in range(6):
        student, critic, average = weights(stage.student), weights(stage.critic), weights(stage.ema.average)
        assert finite(stage.step(step, step / 6))
        expected = learning if step % 5 == 0 else set()
        assert changed(student, stage.student) == expected
        assert bool(changed(average, stage.ema.average)) == bool(expected)
        assert changed(critic, stage.critic) == learning
    assert not changed(teacher, stage.teacher)


def test_the_look_shows_every_world_under_every_effect_and_learns_the_phrases_said(chain: Path) -> None:
    stage = look_stage(chain)
    drawn = stage._drawn(0, [0, 8])
    assert torch.equal(drawn.true[0], drawn.plain[0]), "the first is without an effect"
    assert all((drawn.true[case] - drawn.plain[case])[1].abs().max() > 0.05 for case in range(1, len(drawn.true)))
    assert len({tuple(row) for row in drawn.phrases.tolist()}) == len(drawn.phrases)
    assert (drawn.specks[0] != drawn.specks[1]).any(), "each of another time"
    before = weights(stage.prompt_filter)
    losses = [stage.step(step, step / STEPS) for step in range(3)]
    assert ["texture" in one for one in losses] == [step / STEPS >= stage.recipe.texture_from for step in range(3)]
    assert all(finite(one) for one in losses)
    assert changed(before, stage.prompt_filter) == set(before)
    assert not stage.prompt_filter.amounts.weight[0].any(), "padding stays silent"


def test_the_look_learns(chain: Path) -> None:
    """Of the effects' error in colour, and then in texture, less is left after some steps on the same worlds."""
    stage = look_stage(chain, lr=1e-3, warmup_steps=0)
    found = [stage._losses([0, 1], textured=True, price=0.0)]
    for part, steps in ((0.0, 30), (0.3, 45)):  # of the run: before specks are looked at, and after
        for step in range(steps):
            stage.next = 0
            stage.step(step, part)
        found.append(stage._losses([0, 1], textured=True, price=0.0))
    first, coloured, last = found
    assert coloured["colour"] < 0.7 * first["colour"]
    assert last["texture"] < 0.7 * coloured["texture"], "specks were anything until they were looked at"


def test_specks_have_a_price_once_they_have_grown(chain: Path) -> None:
    stage = look_stage(chain, price_weight=0.1, price_from=0.5, texture_from=0.0)
    with patch.object(stage, "_losses", wraps=stage._losses) as losses:
        for progress in (0.4, 0.6, 1.0):
            stage.step(0, progress)
    prices = [call.args[-1] for call in losses.call_args_list]
    assert prices[0] == 0
    assert 0 < prices[1] < prices[2]
    assert prices[2] == pytest.approx(0.1)
    with torch.no_grad():
        free, priced = (stage._losses([0], True, price) for price in (0.0, 0.1))
    torch.testing.assert_close(priced["loss"] - free["loss"], 0.1 * free["laid"], rtol=1e-3, atol=0)


def test_a_detail_goes_on_from_another(chain: Path) -> None:
    stage = detail_stage(chain, init_from="detail")
    first = finished(chain / "detail", DetailRecipe, "the detail")[1]
    assert all(torch.equal(value, first[name]) for name, value in stage.detail.state_dict().items())
    assert stage.step(0, 0.0)["psnr_shown"] > 5


def test_a_look_goes_on_from_another(chain: Path) -> None:
    stage = look_stage(chain, init_from="prompt-filter")
    first = finished(chain / "prompt-filter", PromptFilterRecipe, "the look")[1]
    assert all(torch.equal(value, first[name]) for name, value in stage.prompt_filter.state_dict().items())


def test_the_detail_learns_and_its_student_does_not(chain: Path) -> None:
    stage = detail_stage(chain)
    before, student = weights(stage.detail), weights(stage.student)
    losses = [stage.step(step, step / STEPS) for step in range(3)]
    assert all(finite(one) for one in losses)
    assert changed(before, stage.detail) == set(before)
    assert not changed(student, stage.student)
    assert losses[0]["psnr_shown"] != losses[0]["psnr_decoded"]


@pytest.mark.parametrize(
    ("stage", "interrupted"),
    [("teacher-mask", 2), ("causal", 1), ("causal", 3), ("self-forcing", 1), ("detail", 2), ("prompt-filter", 2)],
)
def test_an_interrupted_run_ends_where_an_uninterrupted_one_does(
    chain: Path, tmp_path: Path, stage: str, interrupted: int
) -> None:
    """Weights, averages, optimisers and generators, byte for byte. Before it, `chain` ran without a break."""
    for before in BUILDERS:
        if before != stage:
            (tmp_path / before).symlink_to(chain / before)
    steady = ["decay_fraction=0"]
    with in_this_process():
        train(stage, "smoke", tmp_path, ASSETS, overrides=steady)
        whole = files(tmp_path / stage)
        shutil.rmtree(tmp_path / stage)
        train(stage, "smoke", tmp_path, ASSETS, overrides=[*steady, f"steps={interrupted}"])
        assert files(tmp_path / stage) != whole
        train(stage, "smoke", tmp_path, ASSETS, overrides=steady)
    assert files(tmp_path / stage) == whole


def files(run_dir: Path) -> dict[str, bytes]:
    folder = Checkpoints(run_dir / "checkpoints")
    newest = folder.path(folder.steps()[-1])
    return {path.name: path.read_bytes() for path in newest.glob("*.safetensors")}
