"""The teacher's loss: flow matching over what is not given, and how the guess compares with the warp."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from tests.train.smoke import one_sample, teacher_stage, without_gradient

from motionstream.diffusion import interpolate
from motionstream.train.motion_data import Sample
from motionstream.train.teacher import control_of, flow_losses


@pytest.fixture(scope="module")
def sample(chain: Path) -> Sample:
    return one_sample(teacher_stage(chain, dtype="float32"))


def losses(sample: Sample, velocity_error: float, first_error: float = 0.0) -> dict[str, torch.Tensor]:
    clean, noise = sample.latents, torch.randn_like(sample.latents)
    t = torch.full(clean.shape[:2], 0.5)
    t[:, 0] = 0
    velocity = noise - clean + velocity_error
    velocity[:, 0] += first_error
    return flow_losses(velocity, clean, noise, interpolate(clean, noise, t), t, sample)


def test_the_true_velocity_has_no_loss(sample: Sample) -> None:
    assert losses(sample, 0.0)["loss"] == 0
    assert losses(sample, 0.0)["clean_error"] < 1e-12


def test_the_loss_is_the_mean_square_of_the_velocitys_error(sample: Sample) -> None:
    found = losses(sample, 0.2)
    assert found["loss"].item() == pytest.approx(0.04, rel=1e-3)
    assert found["clean_error"].item() == pytest.approx(0.01, rel=1e-3), "half of the velocity's, at t = 1/2"


def test_the_given_latent_counts_for_nothing(sample: Sample) -> None:
    assert losses(sample, 0.2, first_error=100)["loss"].item() == pytest.approx(0.04, rel=1e-3)


def test_a_guess_that_is_the_warp_has_a_gain_of_1(sample: Sample) -> None:
    clean, warp = sample.latents, sample.conditioning.anchor
    noise, t = torch.randn_like(clean), torch.full(clean.shape[:2], 0.5)
    noisy = interpolate(clean, noise, t)
    found = flow_losses((noisy - warp) / 0.5, clean, noise, noisy, t, sample)
    assert found["gain"].item() == pytest.approx(1, rel=1e-3)


def test_guidance_needs_the_sample_without_tracks(chain: Path, sample: Sample) -> None:
    model = teacher_stage(chain).model
    control = control_of(model, sample)
    assert control.no_motion is sample.no_motion
    with pytest.raises(ValueError, match="no_motion=True"):
        control_of(model, replace(sample, no_motion=None))


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_the_gradient_reaches_every_weight_once_the_head_speaks(chain: Path, dtype: str) -> None:
    stage = teacher_stage(chain, "teacher-mask", dtype=dtype)
    stage._losses(one_sample(stage))["loss"].backward()  # type: ignore[no-untyped-call]
    assert without_gradient(stage.model) == {"track_head.project.weight", "track_head.project.bias"}


def test_a_new_teacher_starts_as_the_warp(chain: Path, sample: Sample) -> None:
    """Anchored, and with a head of zeros: its first guess at pure noise is the warped anchor."""
    stage = teacher_stage(chain, dtype="float32")
    t = torch.ones(sample.latents.shape[:2])
    with torch.no_grad():
        context = stage.model.context(sample.prompts)
        guess = stage.model.clean(torch.randn_like(sample.latents), t, sample.conditioning, context)
    torch.testing.assert_close(guess, sample.conditioning.anchor, atol=1e-5, rtol=0)
