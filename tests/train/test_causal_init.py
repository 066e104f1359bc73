"""Causal initialisation: times, masks, the switch to distillation, and the consistency it asks for."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from tests.train.smoke import STEPS, causal_stage, changed, one_sample, track_head, weights, without_gradient
from torch import Tensor, nn

from motionstream.diffusion import interpolate, ode_times, velocity_of
from motionstream.dit import ChunkMask
from motionstream.sampling import Control, Guidance, MotionModel, RolloutConfig
from motionstream.train import causal_init
from motionstream.train.causal_init import (
    CausalInitStage,
    chunk_times,
    consistency,
    given_first,
    random_mask,
    teacher_forcing,
)
from motionstream.train.motion_data import Sample
from motionstream.train.motion_stage import new_cache, roll_out

TIMES = (1.0, 0.9, 0.7)


@pytest.fixture
def stage(chain: Path) -> CausalInitStage:
    return causal_stage(chain, dtype="float32")


def test_a_chunk_has_one_time_and_the_picture_has_none(stage: CausalInitStage) -> None:
    clean, mask = torch.zeros(3, 8, 1, 1, 1), ChunkMask.regular(8, 3, 1, 3, teacher_forcing=True)
    t = chunk_times(clean, mask, stage.recipe.shift, stage.random)
    assert t.shape == (3, 8)
    assert not t[:, 0].any()
    for begin, end in ((1, 3), (3, 6), (6, 8)):
        assert (t[:, begin:end] == t[:, begin : begin + 1]).all()
    assert len(torch.unique(t[:, [1, 3, 6]])) == 9


def test_masks_are_drawn_from_the_recipe(stage: CausalInitStage) -> None:
    recipe = replace(stage.recipe, chunks=(1, 2), sinks=(1, 2), windows=(2, 3))
    drawn = [random_mask(recipe, 6, stage.random) for _ in range(60)]
    assert {(mask.spans[0][1], mask.sink, mask.window) for mask in drawn} == {
        (chunk, sink, window) for chunk in (1, 2) for sink in (1, 2) for window in (2, 3)
    }
    assert all(mask.teacher_forcing and mask.clip_latents == 6 for mask in drawn)


def test_given_first() -> None:
    assert given_first(torch.full((2, 3), 0.5)).tolist() == [[0.0, 0.5, 0.5]] * 2


@pytest.mark.parametrize("phase", ["teacher forcing", "consistency"])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_the_gradient_reaches_every_weight_but_the_track_heads(chain: Path, phase: str, dtype: str) -> None:
    stage = causal_stage(chain, dtype=dtype)
    distilled = phase == "consistency"
    losses = distillation(stage, one_sample(stage)) if distilled else forced_losses(stage, one_sample(stage))
    losses["loss"].backward()  # type: ignore[no-untyped-call]
    assert without_gradient(stage.model) == {"track_head.project.weight", "track_head.project.bias"}
    for other in (stage.causal_teacher, stage.target.average):
        assert all(p.grad is None for p in other.parameters())


def forced_losses(stage: CausalInitStage, sample: Sample) -> dict[str, Tensor]:
    mask = random_mask(stage.recipe, sample.latents.shape[1], stage.random)
    return teacher_forcing(stage.model, sample, mask, stage.recipe, stage.random)


def distillation(stage: CausalInitStage, sample: Sample) -> dict[str, Tensor]:
    mask = random_mask(stage.recipe, sample.latents.shape[1], stage.random)
    target, teacher = stage.target.average, stage.causal_teacher
    return consistency(stage.model, target, teacher, sample, mask, stage.recipe, stage.random)


def test_networks_that_know_the_clip_are_consistent(stage: CausalInitStage, monkeypatch: pytest.MonkeyPatch) -> None:
    """Student, target and teacher on the straight path to the clip: guesses at both times are the clip."""
    sample = one_sample(stage)
    perfect(sample, monkeypatch)
    losses = distillation(stage, sample)
    assert losses["loss"] < 1e-8
    assert losses["clean_error"] < 1e-8


def test_the_target_stands_nearer_on_the_same_path(stage: CausalInitStage, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both guesses are made on one line from noise to clip, the target's a step of the clock further on."""
    sample = one_sample(stage)
    asked = perfect(sample, monkeypatch)
    distillation(stage, sample)
    (target, nearer, t_next), (student, noisy, t) = asked
    assert target is stage.target.average
    assert student is stage.model
    clock = ode_times(stage.recipe.ode_steps, stage.recipe.shift)
    for now, after in zip(t[:, 1], t_next[:, 1], strict=True):
        index = int((clock - now).abs().argmin())
        assert (clock[index], clock[index + 1]) == (now, after)
    moved = interpolate(sample.latents, noise_of(sample.latents, noisy, t), t_next)
    torch.testing.assert_close(nearer[:, 1:], moved[:, 1:], atol=1e-4, rtol=0)


def test_at_the_end_of_the_path_the_target_is_the_teachers_point(
    stage: CausalInitStage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever the target network says there: without this any constant would be consistent."""
    stage.recipe = replace(stage.recipe, ode_steps=1)
    sample = one_sample(stage)
    asked = perfect(sample, monkeypatch, wrong=stage.target.average)
    assert distillation(stage, sample)["loss"] < 1e-8
    assert asked[0][0] is stage.target.average
    assert not asked[0][2].any()


def noise_of(clean: Tensor, noisy: Tensor, t: Tensor) -> Tensor:
    """The noise at the far end of the path through noisy at time t."""
    return clean + velocity_of(clean, noisy, t)


def test_a_student_that_is_wrong_is_not(stage: CausalInitStage, monkeypatch: pytest.MonkeyPatch) -> None:
    sample = one_sample(stage)
    perfect(sample, monkeypatch, wrong=stage.model)
    assert distillation(stage, sample)["loss"] > 1e-4


Asked = list[tuple[nn.Module, Tensor, Tensor]]


def perfect(sample: Sample, monkeypatch: pytest.MonkeyPatch, wrong: nn.Module | None = None) -> Asked:
    """Let the networks guess the clip, and the teacher lead to it; returns who is asked, where and when."""
    asked: Asked = []

    def forced(model: MotionModel, sample: Sample, noisy: Tensor, t: Tensor, mask: ChunkMask) -> Tensor:
        asked.append((model, noisy, t))
        return sample.latents + (1.0 if model is wrong else 0.0)

    def guided(
        model: MotionModel, both: Tensor, t: Tensor, control: Control, guidance: Guidance, mask: ChunkMask
    ) -> Tensor:
        latents = sample.latents.shape[1]
        assert mask.teacher_forcing
        assert control.conditioning.latents == both.shape[1] == 2 * latents
        assert torch.equal(both[:, :latents], sample.latents)
        assert not t[:, :latents].any()
        return torch.cat([sample.latents, velocity_of(sample.latents, both[:, latents:], t[:, latents:])], 1)

    monkeypatch.setattr(causal_init, "guess_after_clean", forced)
    monkeypatch.setattr(causal_init, "guided_velocity", guided)
    return asked


def test_at_the_switch_the_teacher_is_the_average_and_the_target_starts_anew(stage: CausalInitStage) -> None:
    for step in range(2):
        stage.step(step, 0.0)
    assert int(stage.target.updates) == 2
    stage.freeze_teacher()
    pairs = zip(stage.causal_teacher.parameters(), stage.ema.average.parameters(), strict=True)
    assert all(torch.equal(a, b) for a, b in pairs)
    pairs = zip(stage.target.average.parameters(), stage.model.parameters(), strict=True)
    assert all(torch.equal(a, b) for a, b in pairs)
    assert int(stage.target.updates) == 0


def test_a_rollout_for_the_sheet_starts_with_the_picture_and_repeats(stage: CausalInitStage) -> None:
    sample, rollout_config = one_sample(stage), RolloutConfig(2, 1, 2, TIMES)
    with torch.no_grad():
        made, again = (roll_out(stage.model, sample, rollout_config, seed=3) for _ in range(2))
    assert torch.equal(made, again)
    assert made.shape == sample.latents.shape
    assert torch.equal(made[:, :1], sample.first)


def test_the_cache_of_a_rollout_is_as_precise_as_the_computation(stage: CausalInitStage) -> None:
    sample, rollout_config = one_sample(stage), RolloutConfig(2, 1, 2, TIMES)
    assert new_cache(stage.model, sample.latents, rollout_config).keys.dtype == torch.float32
    with torch.autocast("cpu", torch.bfloat16):
        cache = new_cache(stage.model, sample.latents, rollout_config)
    assert cache.keys.dtype == torch.bfloat16
    assert (cache.sink, cache.window) == (1, 2)


def test_the_causal_student_changes_and_its_teacher_is_frozen_at_the_switch(chain: Path) -> None:
    stage = causal_stage(chain, diffusion_steps=2)
    before = weights(stage.model)
    for step in range(2):
        assert stage.step(step, step / STEPS)["distilling"] == 0
    assert changed(before, stage.model) == set(before) - track_head(stage.model)
    assert not changed(before, stage.causal_teacher), "it is not used yet"
    learned, average = weights(stage.model), weights(stage.ema.average)
    for step in range(2, 4):
        assert stage.step(step, step / STEPS)["distilling"] == 1
        assert not changed(average, stage.causal_teacher), "the average as it was at the switch"
    assert changed(learned, stage.model) == set(before) - track_head(stage.model)
    assert changed(average, stage.target.average) >= set(before) - track_head(stage.model)
