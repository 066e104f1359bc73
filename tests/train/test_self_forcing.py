"""Distribution matching pulls towards real and away from fake; what the gradient reaches; the scores it is made of."""

from __future__ import annotations

from pathlib import Path
from unittest.mock import patch

import pytest
import torch
from tests.train.smoke import forcing_stage, one_sample, weights, without_gradient
from torch import Tensor

from motionstream.diffusion import clean_of, few_step_times
from motionstream.sampling import keyed, rollout
from motionstream.train.causal_init import new_cache
from motionstream.train.motion_data import Sample
from motionstream.train.self_forcing import SelfForcingStage

FROZEN = {"track_head.project.weight", "track_head.project.bias"}


@pytest.fixture
def stage(chain: Path) -> SelfForcingStage:
    return forcing_stage(chain, dtype="float32")


def scored(stage: SelfForcingStage, real: Tensor, fake: Tensor) -> object:
    """Let the scores say: the teacher takes the clip for `real`, the critic for `fake`."""

    return patch.multiple(stage, _real=lambda *_: real, _fake=lambda *_: fake)


@pytest.mark.parametrize("truth", [0.0, 0.3])
def test_the_gradient_on_a_clip_is_the_papers(chain: Path, truth: float) -> None:
    """−(s_real − s_fake) ∂ẑ/∂θ, over the mean distance to real, of a clip that is a parameter; and the truth's."""
    stage = forcing_stage(chain, dtype="float32", truth_weight=truth)
    sample = one_sample(stage)
    clip = torch.randn_like(sample.latents).requires_grad_()
    real, fake = torch.randn(2, *clip.shape)
    with scored(stage, real, fake), patch.object(stage, "_rollout", return_value=clip):  # type: ignore[attr-defined]
        losses = stage._distribution_matching(sample)
    gradient = torch.autograd.grad(losses["loss"], clip)[0]
    with torch.no_grad():
        away = (clip - real)[:, 1:].abs().mean((1, 2, 3, 4), keepdim=True)
        wanted = (fake - real)[:, 1:] / away + 2 * truth * (clip - sample.latents)[:, 1:]
    torch.testing.assert_close(gradient[:, 1:], wanted / wanted.numel(), atol=1e-7, rtol=1e-3)
    assert not gradient[:, 0].any(), "the picture is given"


def test_one_step_moves_the_students_clip_towards_real_and_away_from_fake(chain: Path) -> None:
    stage = forcing_stage(chain, dtype="float32", truth_weight=0.0)
    sample = one_sample(stage)
    before = rolled(stage, sample)
    up = torch.full_like(before, 0.5)
    real, fake = before + up, before - up
    with scored(stage, real, fake), patch.object(stage.data, "next", return_value=sample):  # type: ignore[attr-defined]
        done = stage._train(stage.updater, stage._distribution_matching, 5, 0.0)
    assert done["skipped"] == 0
    moved = (rolled(stage, sample) - before)[:, 1:]
    assert (moved * up[:, 1:]).mean() > 0
    assert (moved * up[:, 1:]).sum() / (moved.norm() * up[:, 1:].norm()) > 0.1


@torch.no_grad()
def rolled(stage: SelfForcingStage, sample: Sample) -> Tensor:
    cache = new_cache(stage.student, sample.latents, stage.rollout_config)
    context = stage.student.context(sample.prompts)
    made = rollout(stage.student, cache, sample.conditioning, context, stage.rollout_config, keyed(0), sample.first)
    return torch.cat(list(made), 1)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("exit_step", [0, 1, 2])
def test_whichever_call_has_the_gradient_it_reaches_all_of_the_student_alone(
    chain: Path, exit_step: int, dtype: str
) -> None:
    """In bfloat16 too, where weights cast without gradient in an earlier call must not be used again."""
    stage = forcing_stage(chain, dtype=dtype)
    with patch.object(stage, "_exit_step", return_value=exit_step):
        stage._distribution_matching(one_sample(stage))["loss"].backward()  # type: ignore[no-untyped-call]
    assert without_gradient(stage.student) == FROZEN
    for other in (stage.teacher, stage.critic):
        assert all(p.grad is None for p in other.parameters())


def test_the_critics_loss_reaches_the_critic_alone(stage: SelfForcingStage) -> None:
    stage._critic_loss(one_sample(stage))["loss"].backward()  # type: ignore[no-untyped-call]
    assert without_gradient(stage.critic) == FROZEN
    assert all(p.grad is None for p in stage.student.parameters())


@torch.no_grad()
def test_the_real_score_is_guided_by_3_and_1_5_and_the_fake_one_is_not(stage: SelfForcingStage) -> None:
    assert (stage.recipe.w_t, stage.recipe.w_m) == (3.0, 1.5)
    sample, noisy = one_sample(stage), torch.randn(1, 5, 8, 6, 8)
    assert sample.no_motion is not None
    t = torch.full((1, 5), 0.6)
    t[:, 0] = 0
    said, unsaid = (stage.teacher.context(prompts) for prompts in (sample.prompts, [""]))
    full = stage.teacher.velocity(noisy, t, sample.conditioning, said)
    no_text = stage.teacher.velocity(noisy, t, sample.conditioning, unsaid)
    no_motion = stage.teacher.velocity(noisy, t, sample.no_motion, said)
    velocity = 4.5 * full + (2 / 3 - 3) * no_text + (1 / 3 - 1.5) * no_motion
    expected = clean_of(velocity, noisy, t)
    torch.testing.assert_close(stage._real(sample, noisy, t)[:, 1:], expected[:, 1:], atol=1e-4, rtol=1e-4)
    plain = stage.critic.clean(noisy, t, sample.conditioning, stage.critic.context(sample.prompts))
    assert torch.equal(stage._fake(sample, noisy, t), plain)


def test_clips_are_scored_at_times_within_the_recipes_bounds(stage: SelfForcingStage) -> None:
    clip = torch.ones(1, 5, 8, 6, 8)
    for _ in range(50):
        t, noisy = stage._noised(clip)
        assert not t[:, 0].any()
        assert (t[:, 1:] == t[:, 1:2]).all()
        assert stage.recipe.t_min <= t[0, 1] <= stage.recipe.t_max
        assert noisy[:, 1:].std().item() == pytest.approx(t[0, 1].item(), rel=0.1)
        assert noisy[:, 1:].mean().item() == pytest.approx(1 - t[0, 1].item(), abs=0.1)
        assert torch.equal(noisy[:, 0], clip[:, 0])


def test_every_call_is_the_last_one_in_turn(stage: SelfForcingStage) -> None:
    assert {stage._exit_step() for _ in range(60)} == {0, 1, 2}


def test_it_rolls_out_as_a_stream_does(stage: SelfForcingStage) -> None:
    recipe, rollout_config = stage.recipe, stage.rollout_config
    assert (rollout_config.chunk, rollout_config.sink, rollout_config.window) == (
        recipe.chunk,
        recipe.sink,
        recipe.window,
    )
    assert rollout_config.times == tuple(few_step_times(3, recipe.shift).tolist())


def test_a_drift_falsifies_the_past_beyond_the_sink_alone(chain: Path) -> None:
    """Every clip's by its own shift, a channel each; without one nothing is drawn for it."""
    still, shifted = (forcing_stage(chain, dtype="float32", drift=drift) for drift in (0.0, 2.0))
    sample = one_sample(still)
    assert not still._drift(sample).any()
    shift = shifted._drift(sample)
    assert shift.shape == (len(sample.latents), 1, still.data.latent_channels, 1, 1)
    assert shift.flatten(1).std(1).min() > 0
    made = []
    for stage in (still, shifted):
        stage.random.manual_seed(3)
        with torch.no_grad(), patch.object(shifted, "_drift", return_value=shift):  # type: ignore[attr-defined]
            made.append(stage._rollout(sample, 0))
    within = still.rollout_config.sink + still.rollout_config.chunk
    torch.testing.assert_close(made[0][:, :within], made[1][:, :within], atol=1e-4, rtol=1e-4)
    assert (made[0] - made[1])[:, within:].abs().mean() > 1e-4


def test_student_starts_from_the_causal_one_and_the_critic_from_the_teacher(stage: SelfForcingStage) -> None:
    student, critic, teacher = (weights(network) for network in (stage.student, stage.critic, stage.teacher))
    assert all(torch.equal(critic[name], teacher[name]) for name in teacher)
    assert not all(torch.equal(student[name], teacher[name]) for name in teacher)
    assert all(torch.equal(student[name], teacher[name]) for name in FROZEN)
