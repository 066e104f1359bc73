"""Rollouts are pulled towards the true clips, most where nothing of the picture lands; what the gradient reaches."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from unittest.mock import patch

import pytest
import torch
from tests.train.smoke import make, one_sample, without_gradient

from motionstream.train.motion_data import Sample
from motionstream.train.rollout import RolloutStage, true_error

FROZEN = {"track_head.project.weight", "track_head.project.bias"}


def rollout_stage(out: Path, causal: str = "self-forcing", **changes: object) -> RolloutStage:
    stage = make("rollout", out, dtype="float32", causal=causal, **changes)
    assert type(stage) is RolloutStage
    return stage


def with_hole(sample: Sample, latent: int) -> Sample:
    """The same sample, in one cell of whose latent nothing lands; elsewhere points speak."""
    support = torch.ones_like(sample.conditioning.support)
    support[:, latent, :-1, 2, 3] = -1
    return replace(sample, conditioning=replace(sample.conditioning, support=support))


def test_an_error_in_a_hole_counts_for_more_by_the_weight(chain: Path) -> None:
    sample = with_hole(one_sample(rollout_stage(chain)), 2)
    inside, beside, given = (sample.latents.clone() for _ in range(3))
    inside[:, 2, :, 2, 3] += 1
    beside[:, 2, :, 2, 4] += 1
    given[:, 0] += 1
    plain = true_error(beside, sample, 3.0)
    assert plain > 0
    torch.testing.assert_close(true_error(inside, sample, 3.0), 4 * plain)
    torch.testing.assert_close(true_error(inside, sample, 0.0), plain)
    assert true_error(given, sample, 3.0) == 0, "the picture is given"


@pytest.mark.parametrize("exit_step", [0, 2])
def test_the_gradient_reaches_all_of_the_student(chain: Path, exit_step: int) -> None:
    stage = rollout_stage(chain)
    with patch.object(stage, "_exit_step", return_value=exit_step):
        stage._towards_truth(one_sample(stage))["loss"].backward()  # type: ignore[no-untyped-call]
    assert without_gradient(stage.student) == FROZEN


def test_it_learns_from_the_student_before_it(chain: Path) -> None:
    stage = rollout_stage(chain, lr=3e-3, warmup_steps=0, drift=0.0, idle=0.0)
    sample = one_sample(stage)

    def error() -> float:
        stage.random.manual_seed(1)
        with torch.no_grad(), patch.object(stage, "_exit_step", return_value=2):
            return float(stage._towards_truth(sample)["loss"])

    before = error()
    with patch.object(stage.data, "next", return_value=sample):
        done = [stage.step(step, 0.0) for step in range(12)]
    assert all(one["skipped"] == 0 for one in done)
    assert error() < 0.97 * before


def test_without_a_clean_pass_it_trains_and_its_past_cannot_be_falsified(chain: Path) -> None:
    stage = rollout_stage(chain, clean_pass=False, drift=0.0)
    assert not stage.rollout_config.clean_pass
    assert stage.step(0, 0.0)["skipped"] == 0
    with pytest.raises(ValueError, match="set drift = 0"):
        rollout_stage(chain, clean_pass=False, drift=0.3)
    with pytest.raises(ValueError, match="recompute = false"):
        rollout_stage(chain, clean_pass=False, drift=0.0, recompute=True).step(0, 0.0)


def test_from_nothing_it_starts_as_the_warp_and_trains_all(chain: Path) -> None:
    stage = rollout_stage(chain, causal="", drift=0.0, idle=0.0)
    sample = one_sample(stage)
    with torch.no_grad():
        made = stage._rollout(sample, 0)
    torch.testing.assert_close(made[:, 1:], sample.conditioning.anchor[:, 1:], atol=1e-5, rtol=0)
    assert all(weight.requires_grad for weight in stage.student.parameters())
    assert not any(weight.requires_grad for weight in rollout_stage(chain).student.track_head.parameters())
