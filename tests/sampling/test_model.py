"""`MotionModel`: what its output means, and what it reads."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from tests.small import CHANNELS, GEOMETRY, PROMPTS, small_conditioning, small_config, small_model

from motionstream.conditioning import Conditioning
from motionstream.diffusion import clean_of
from motionstream.sampling import ModelConfig, MotionModel


def noisy(latents: int = 3) -> torch.Tensor:
    torch.manual_seed(4)
    return torch.randn(2, latents, CHANNELS, GEOMETRY.latent_height, GEOMETRY.latent_width)


def silenced(model: MotionModel) -> MotionModel:
    with torch.no_grad():
        model.dit.head.head.weight.zero_()
        model.dit.head.head.bias.zero_()
    return model


@torch.no_grad()
def test_an_anchored_network_that_knows_nothing_returns_the_warp() -> None:
    model, parts = silenced(small_model()), small_conditioning(3, clips=2)
    guess = model.clean(noisy(), torch.rand(2, 3), parts, model.context(PROMPTS))
    torch.testing.assert_close(guess, parts.anchor, atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_its_velocity_leads_from_wherever_it_stands_to_the_warp() -> None:
    model, parts, x = silenced(small_model()), small_conditioning(3, clips=2), noisy()
    velocity = model.velocity(x, torch.full((2, 3), 0.5), parts, model.context(PROMPTS))
    torch.testing.assert_close(x - 0.5 * velocity, parts.anchor, atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_a_velocity_network_that_knows_nothing_moves_nothing() -> None:
    model, parts = silenced(small_model(False)), small_conditioning(3, clips=2)
    assert not model.velocity(noisy(), torch.ones(2, 3), parts, model.context(PROMPTS)).any()


@pytest.mark.parametrize("anchored", [True, False])
@torch.no_grad()
def test_clean_is_the_velocitys_other_name(anchored: bool) -> None:
    model, parts, x = small_model(anchored), small_conditioning(3, clips=2), noisy()
    context, t = model.context(PROMPTS), torch.rand(2, 3) * 0.9 + 0.1
    velocity = model.velocity(x, t, parts, context)
    assert velocity.shape == x.shape
    torch.testing.assert_close(model.clean(x, t, parts, context), clean_of(velocity, x, t), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("part", ["first", "volume", "anchor", "support"])
@torch.no_grad()
def test_every_part_of_the_conditioning_is_heard(part: str) -> None:
    model, parts = small_model(), small_conditioning(3, clips=2)
    mute = replace(parts, **{part: torch.zeros_like(getattr(parts, part))})
    said, unsaid = (model.dit.patchify(torch.cat([noisy(), model.channels(p)], 2)) for p in (parts, mute))
    assert (said - unsaid).abs().max() > 1e-3


@torch.no_grad()
def test_without_the_warped_anchor_its_channels_are_not_there() -> None:
    model, parts = small_model(False), small_conditioning(3, clips=2)
    mute = replace(parts, anchor=torch.zeros_like(parts.anchor), support=torch.zeros_like(parts.support))
    t, context = torch.rand(2, 3), model.context(PROMPTS)
    assert torch.equal(model.velocity(noisy(), t, parts, context), model.velocity(noisy(), t, mute, context))


@torch.no_grad()
def test_the_prompt_is_heard() -> None:
    model, parts, t = small_model(), small_conditioning(3, clips=2), torch.rand(2, 3)
    said, unsaid = (model.velocity(noisy(), t, parts, model.context(p)) for p in (PROMPTS, ["", ""]))
    assert (said - unsaid).abs().max() > 1e-3


def test_a_model_without_text_encoder_asks_for_an_encoded_prompt() -> None:
    model = MotionModel(small_config(), text=False)
    with pytest.raises(ValueError, match="no text encoder"):
        model.context([""])


def test_configurations_that_contradict_themselves_are_refused() -> None:
    config = small_config()
    with pytest.raises(ValueError, match="its conditioning makes"):
        replace(config, dit=replace(config.dit, in_channels=9))
    with pytest.raises(ValueError, match="its conditioning makes"):
        ModelConfig(config.dit, small_config(False).conditioning)


@torch.no_grad()
def test_an_anchored_network_asks_for_an_anchor() -> None:
    model, parts = small_model(), small_conditioning(3, clips=2)
    with pytest.raises(TypeError, match="AnchoredConditioner"):
        model.clean(noisy(), torch.rand(2, 3), Conditioning(parts.first, parts.volume), model.context(PROMPTS))
