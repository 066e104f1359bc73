"""Self Forcing: the direction that the scores give a clip, what each loss reaches, and how clips are rolled out."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from tests.train.smoke import changed, finite, forcing_stage, one_sample, track_head, weights, without_gradient
from torch import Tensor

from motionstream.diffusion import clean_of, few_step_times
from motionstream.sampling import Guidance
from motionstream.train import self_forcing
from motionstream.train.motion_data import Sample
from motionstream.train.motion_stage import roll_out
from motionstream.train.rollout import exit_step, history_noise, student_clip
from motionstream.train.self_forcing import (
    SelfForcingStage,
    dmd_direction,
    dmd_losses,
    fake_clip,
    noised,
    real_clip,
    with_truth,
)

FROZEN = {"track_head.project.weight", "track_head.project.bias"}


@pytest.fixture
def stage(chain: Path) -> SelfForcingStage:
    return forcing_stage(chain, dtype="float32")


@pytest.mark.parametrize("truth", [0.0, 0.3])
def test_the_gradient_on_a_clip_is_the_papers(chain: Path, truth: float) -> None:
    """−(s_real − s_fake) ∂ẑ/∂θ, over the mean distance to real, of a clip that is a parameter; and the truth's."""
    stage = forcing_stage(chain, dtype="float32", truth_weight=truth)
    sample = one_sample(stage)
    clip = torch.randn_like(sample.latents).requires_grad_()
    real, fake = torch.randn(2, *clip.shape)
    losses = with_truth(dmd_losses(clip, dmd_direction(clip, real, fake)), clip, sample, stage.recipe)
    gradient = torch.autograd.grad(losses["loss"], clip)[0]
    with torch.no_grad():
        away = (clip - real)[:, 1:].abs().mean((1, 2, 3, 4), keepdim=True)
        wanted = (fake - real)[:, 1:] / away + 2 * truth * (clip - sample.latents)[:, 1:]
    torch.testing.assert_close(gradient[:, 1:], wanted / wanted.numel(), atol=1e-7, rtol=1e-3)
    assert not gradient[:, 0].any(), "the picture is given"


def test_one_step_moves_the_students_clip_towards_real_and_away_from_fake(
    chain: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage = forcing_stage(chain, dtype="float32", truth_weight=0.0)
    sample = one_sample(stage)
    before = rolled(stage, sample)
    up = torch.full_like(before, 0.5)
    monkeypatch.setattr(self_forcing, "real_clip", lambda *_: before + up)
    monkeypatch.setattr(self_forcing, "fake_clip", lambda critic, *_: critic_guess(critic, before - up))
    monkeypatch.setattr(stage.data, "next", lambda no_motion=False: sample)
    assert stage.step(stage.recipe.critic_ratio, 0.0)["skipped"] == 0
    moved = (rolled(stage, sample) - before)[:, 1:]
    assert (moved * up[:, 1:]).mean() > 0
    assert (moved * up[:, 1:]).sum() / (moved.norm() * up[:, 1:].norm()) > 0.1


def critic_guess(critic: torch.nn.Module, clip: Tensor) -> Tensor:
    """The clip, as if the critic had made it."""
    return clip + 0 * sum(p.sum() for p in critic.parameters() if p.requires_grad)


@torch.no_grad()
def rolled(stage: SelfForcingStage, sample: Sample) -> Tensor:
    return roll_out(stage.student, sample, stage.recipe.live.rollout_config, seed=0)


class Updates:
    """Instead of an updater: keeps the gradients of what is given to it."""

    def __init__(self) -> None:
        self.passes = 0

    def backward(self, losses: dict[str, Tensor]) -> None:
        self.passes += 1
        losses["loss"].backward()  # type: ignore[no-untyped-call]

    def apply(self, step: int, progress: float) -> dict[str, float]:
        return {"loss": 0.0, "skipped": 0.0}


def gradients_of_a_step(stage: SelfForcingStage, step: int, monkeypatch: pytest.MonkeyPatch, call: int) -> None:
    """Leave the gradients of a step in the networks."""
    monkeypatch.setattr(self_forcing, "exit_step", lambda *_: call)
    for updater in ("updater", "critic_updater"):
        monkeypatch.setattr(stage, updater, Updates())
    stage.step(step, 0.0)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("call", [0, 1, 2])
def test_whichever_call_has_the_gradient_it_reaches_all_of_student_and_critic_and_no_teacher(
    chain: Path, call: int, dtype: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In bfloat16 too, where weights cast without gradient in an earlier call must not be used again."""
    stage = forcing_stage(chain, dtype=dtype)
    gradients_of_a_step(stage, 0, monkeypatch, call)
    assert without_gradient(stage.student) == without_gradient(stage.critic) == FROZEN
    assert all(p.grad is None for p in stage.teacher.parameters())


def test_the_generators_loss_reaches_the_student_alone(chain: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stage = forcing_stage(chain, dtype="float32")
    monkeypatch.setattr(self_forcing, "flow_losses", lambda *_: {"loss": torch.zeros((), requires_grad=True)})
    gradients_of_a_step(stage, 0, monkeypatch, 1)
    assert without_gradient(stage.student) == FROZEN
    for other in (stage.teacher, stage.critic):
        assert all(p.grad is None for p in other.parameters())


def test_the_critics_loss_reaches_the_critic_alone(stage: SelfForcingStage, monkeypatch: pytest.MonkeyPatch) -> None:
    assert stage.recipe.critic_ratio > 1
    gradients_of_a_step(stage, 1, monkeypatch, 1)
    assert without_gradient(stage.critic) == FROZEN
    assert all(p.grad is None for p in stage.student.parameters())


@torch.no_grad()
def test_the_real_score_is_guided_by_3_and_1_5_and_the_fake_one_is_not(stage: SelfForcingStage) -> None:
    assert (stage.recipe.w_t, stage.recipe.w_m) == (3.0, 1.5)
    sample, noisy = one_sample(stage), torch.randn(1, 5, 8, 6, 8)
    assert sample.no_motion is not None
    t = torch.full((1, 5), 0.6)
    t[:, 0] = 0
    prompted, null = (stage.teacher.context(prompts) for prompts in (sample.prompts, [""]))
    full = stage.teacher.velocity(noisy, t, sample.conditioning, prompted)
    no_text = stage.teacher.velocity(noisy, t, sample.conditioning, null)
    no_motion = stage.teacher.velocity(noisy, t, sample.no_motion, prompted)
    velocity = 4.5 * full + (2 / 3 - 3) * no_text + (1 / 3 - 1.5) * no_motion
    expected = clean_of(velocity, noisy, t)
    real = real_clip(stage.teacher, sample, noisy, t, Guidance(stage.recipe.w_t, stage.recipe.w_m))
    torch.testing.assert_close(real[:, 1:], expected[:, 1:], atol=1e-4, rtol=1e-4)
    plain = stage.critic.clean(noisy, t, sample.conditioning, stage.critic.context(sample.prompts))
    assert torch.equal(fake_clip(stage.critic, sample, noisy, t), plain)


def test_clips_are_scored_at_times_within_the_recipes_bounds(stage: SelfForcingStage) -> None:
    clip = torch.ones(1, 5, 8, 6, 8)
    for _ in range(50):
        t, noisy = noised(clip, stage.recipe, stage.random)
        assert not t[:, 0].any()
        assert (t[:, 1:] == t[:, 1:2]).all()
        assert stage.recipe.t_min <= t[0, 1] <= stage.recipe.t_max
        assert noisy[:, 1:].std().item() == pytest.approx(t[0, 1].item(), rel=0.1)
        assert noisy[:, 1:].mean().item() == pytest.approx(1 - t[0, 1].item(), abs=0.1)
        assert torch.equal(noisy[:, 0], clip[:, 0])


def test_every_call_is_the_last_one_in_turn(stage: SelfForcingStage) -> None:
    assert {exit_step(stage.recipe, 1, stage.random) for _ in range(60)} == {0, 1, 2}


def test_it_rolls_out_as_a_stream_does(stage: SelfForcingStage) -> None:
    recipe, live = stage.recipe, stage.recipe.live
    sizes = recipe.chunk, recipe.sink, recipe.window, recipe.denoising_steps, recipe.clean_pass
    assert (live.chunk, live.sink, live.window, live.steps, live.clean_pass) == sizes
    assert live.rollout_config.times == tuple(few_step_times(3, recipe.shift).tolist())


def test_history_noise_changes_the_past_beyond_the_sink_alone(chain: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each clip has its own shift, a channel each; without one nothing is drawn for it."""
    stage = forcing_stage(chain, dtype="float32", history_noise=0.0)
    sample = one_sample(stage)
    clips, _, channels = sample.latents.shape[:3]
    shift = history_noise(sample.latents.expand(3, -1, -1, -1, -1), 2.0, torch.Generator().manual_seed(0))
    assert shift.shape == (3, 1, channels, 1, 1)
    assert shift.flatten(1).std(1).min() > 0
    config = stage.recipe.live.rollout_config
    with torch.no_grad():
        plain, again = (student_clip(stage.student, sample, stage.recipe, seeded(), 0) for _ in range(2))
        assert torch.equal(plain, again)
        seed = int(torch.randint(1 << 31, (), generator=seeded()))
        noisy = roll_out(stage.student, sample, config, seed, 0, shift[:clips])
    within = config.sink + config.chunk
    torch.testing.assert_close(plain[:, :within], noisy[:, :within], atol=1e-4, rtol=1e-4)
    assert (plain - noisy)[:, within:].abs().mean() > 1e-4


def seeded() -> torch.Generator:
    return torch.Generator().manual_seed(3)


def test_student_starts_from_the_causal_one_and_the_critic_from_the_teacher(stage: SelfForcingStage) -> None:
    student, critic, teacher = (weights(network) for network in (stage.student, stage.critic, stage.teacher))
    assert all(torch.equal(critic[name], teacher[name]) for name in teacher)
    assert not all(torch.equal(student[name], teacher[name]) for name in teacher)
    assert all(torch.equal(student[name], teacher[name]) for name in FROZEN)


def test_self_forcing_changes_the_critic_always_and_the_student_every_fifth_time(chain: Path) -> None:
    stage = forcing_stage(chain, critic_ratio=5)
    teacher = weights(stage.teacher)
    learning = set(teacher) - track_head(stage.teacher)
    for step in range(6):
        student, critic, average = weights(stage.student), weights(stage.critic), weights(stage.ema.average)
        assert finite(stage.step(step, step / 6))
        expected = learning if step % 5 == 0 else set()
        assert changed(student, stage.student) == expected
        assert bool(changed(average, stage.ema.average)) == bool(expected)
        assert changed(critic, stage.critic) == learning
    assert not changed(teacher, stage.teacher)
