"""The teacher's loss: flow matching over what is not given, and how the guess compares with the warp."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from tests.small import small_model
from tests.train.smoke import STEPS, changed, finite, one_sample, teacher_stage, track_head, weights, without_gradient
from torch import Tensor

from motionstream.diffusion import interpolate, velocity_of
from motionstream.sampling import MotionModel, frame_times
from motionstream.train.checkpoint import Checkpoints
from motionstream.train.motion_data import Sample
from motionstream.train.teacher import control_of, flow_losses, flow_matching


@pytest.fixture(scope="module")
def sample(chain: Path) -> Sample:
    return one_sample(teacher_stage(chain, dtype="float32"))


def losses(sample: Sample, model: MotionModel, t: float, error: float, first_error: float = 0.0) -> dict[str, Tensor]:
    """Of a guess that is wrong by `error` everywhere, at one time for all but the given latent."""
    times = frame_times(torch.tensor(t), sample.latents)
    guess = sample.latents + error
    guess[:, 0] += first_error
    return flow_losses(model, guess, times, sample)


@pytest.mark.parametrize("anchored", [False, True])
def test_the_true_clip_has_no_loss(sample: Sample, anchored: bool) -> None:
    found = losses(sample, small_model(anchored), 0.7, 0.0)
    assert found["loss"] == found["clean_error"] == found["error_over_prior"] == 0


@pytest.mark.parametrize("anchored", [False, True])
def test_the_loss_is_the_mean_square_of_the_velocitys_error(sample: Sample, anchored: bool) -> None:
    model, clean, noise = small_model(anchored), sample.latents, torch.randn_like(sample.latents)
    t = frame_times(torch.tensor(0.8), clean)
    noisy, guess = interpolate(clean, noise, t), clean + torch.randn_like(clean)
    expected = F.mse_loss(velocity_of(guess, noisy, t)[:, 1:], (noise - clean)[:, 1:])
    torch.testing.assert_close(flow_losses(model, guess, t, sample)["loss"], expected, atol=0, rtol=1e-3)
    assert flow_losses(model, guess, t, sample)["clean_error"].item() == pytest.approx(1, abs=0.1)


@pytest.mark.parametrize(("anchored", "loss"), [(False, 0.04 / 0.2**2), (True, 0.04 / 0.5**2)])
def test_an_anchored_network_does_not_spend_itself_near_the_picture(
    sample: Sample, anchored: bool, loss: float
) -> None:
    found = losses(sample, small_model(anchored), 0.2, 0.2)
    assert found["loss"].item() == pytest.approx(loss, rel=1e-3)
    assert found["clean_error"].item() == pytest.approx(0.04, rel=1e-3)


def test_the_given_latent_counts_for_nothing(sample: Sample) -> None:
    found = losses(sample, small_model(), 1.0, 0.2, first_error=100)
    assert found["loss"].item() == pytest.approx(0.04, rel=1e-3)


def test_a_guess_that_is_the_warp_has_the_warps_error(sample: Sample) -> None:
    t = frame_times(torch.tensor(0.5), sample.latents)
    found = flow_losses(small_model(), sample.conditioning.anchor, t, sample)
    assert found["error_over_prior"].item() == pytest.approx(1, rel=1e-5)


def test_guidance_needs_the_sample_without_tracks(chain: Path, sample: Sample) -> None:
    model = teacher_stage(chain).model
    control = control_of(model, sample)
    assert control.no_motion is sample.no_motion
    with pytest.raises(ValueError, match="no_motion=True"):
        control_of(model, replace(sample, no_motion=None))


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_the_gradient_reaches_every_weight_of_a_trained_head(chain: Path, dtype: str) -> None:
    stage = teacher_stage(chain, "teacher-mask", dtype=dtype)
    losses = flow_matching(stage.model, one_sample(stage), stage.recipe, stage.random)
    losses["loss"].backward()  # type: ignore[no-untyped-call]
    assert without_gradient(stage.model) == {"track_head.project.weight", "track_head.project.bias"}


def test_a_new_teacher_starts_as_the_warp(chain: Path, sample: Sample) -> None:
    """Anchored, and with a head of zeros: its first guess at pure noise is the warped anchor."""
    stage = teacher_stage(chain, dtype="float32")
    t = torch.ones(sample.latents.shape[:2])
    with torch.no_grad():
        context = stage.model.context(sample.prompts)
        guess = stage.model.clean(torch.randn_like(sample.latents), t, sample.conditioning, context)
    torch.testing.assert_close(guess, sample.conditioning.anchor, atol=1e-5, rtol=0)


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
    assert changed(before, stage.model) == set(before) - track_head(stage.model)


def teacher_average(chain: Path) -> torch.nn.Module:
    stage = teacher_stage(chain)
    checkpoint = Checkpoints(chain / "teacher" / "checkpoints").newest()
    assert checkpoint is not None
    stage.ema.load_state_dict(checkpoint.weights["ema"])
    return stage.ema.average
