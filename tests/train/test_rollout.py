"""Rollouts learn the true clips, most where nothing of the picture lands; what the gradient reaches."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from unittest.mock import patch

import pytest
import torch
from tests.train.smoke import make, one_sample, without_gradient
from torch import Tensor

from motionstream.train.motion_data import Sample
from motionstream.train.rollout import RolloutStage, student_clip, true_clip_losses, true_error

FROZEN = {"track_head.project.weight", "track_head.project.bias"}


def rollout_stage(out: Path, causal: str = "self-forcing", **changes: object) -> RolloutStage:
    stage = make("rollout", out, dtype="float32", causal=causal, **changes)
    assert type(stage) is RolloutStage
    return stage


def with_hole(sample: Sample, latent: int) -> Sample:
    """The same sample, in one cell of whose latent nothing lands; elsewhere points do."""
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


@pytest.mark.parametrize("call", [0, 2])
def test_the_gradient_reaches_all_of_the_student(chain: Path, call: int) -> None:
    stage = rollout_stage(chain)
    loss_of(stage, one_sample(stage), call).backward()  # type: ignore[no-untyped-call]
    assert without_gradient(stage.student) == FROZEN


def loss_of(stage: RolloutStage, sample: Sample, call: int) -> Tensor:
    clip = student_clip(stage.student, sample, stage.recipe, torch.Generator().manual_seed(1), call)
    return true_clip_losses(clip, sample, stage.recipe.vacant_weight)["loss"]


def test_it_learns_from_the_student_before_it(chain: Path) -> None:
    stage = rollout_stage(chain, lr=3e-3, warmup_steps=0, history_noise=0.0, idle=0.0)
    sample = one_sample(stage)
    with torch.no_grad():
        before = loss_of(stage, sample, 2)
        with patch.object(stage.data, "next", return_value=sample), torch.enable_grad():
            done = [stage.step(step, 0.0) for step in range(12)]
        assert all(one["skipped"] == 0 for one in done)
        assert loss_of(stage, sample, 2) < 0.97 * before


def test_without_a_clean_pass_it_trains_and_its_past_has_no_noise(chain: Path) -> None:
    stage = rollout_stage(chain, clean_pass=False, history_noise=0.0)
    assert not stage.recipe.live.rollout_config.clean_pass
    assert stage.step(0, 0.0)["skipped"] == 0
    with pytest.raises(ValueError, match="set history_noise = 0"):
        rollout_stage(chain, clean_pass=False, history_noise=0.3)
    with pytest.raises(ValueError, match="activation_checkpointing = false"):
        rollout_stage(chain, clean_pass=False, history_noise=0.0, activation_checkpointing=True).step(0, 0.0)


def test_from_nothing_it_starts_as_the_warp_and_trains_all(chain: Path) -> None:
    stage = rollout_stage(chain, causal="", history_noise=0.0, idle=0.0)
    sample = one_sample(stage)
    with torch.no_grad():
        made = student_clip(stage.student, sample, stage.recipe, stage.random, 0)
    torch.testing.assert_close(made[:, 1:], sample.conditioning.anchor[:, 1:], atol=1e-5, rtol=0)
    assert all(weight.requires_grad for weight in stage.student.parameters())
    assert not any(weight.requires_grad for weight in rollout_stage(chain).student.track_head.parameters())
