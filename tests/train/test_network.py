"""From a recipe's sizes to a network, and from one stage's weights to the next one's start."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from tests.train.smoke import weights

from motionstream.sampling import MotionModel
from motionstream.train import newest_weights
from motionstream.train.network import model_config, new_model
from motionstream.train.recipes import NETWORK, SMALL


@pytest.mark.parametrize("anchored", [True, False])
@pytest.mark.parametrize("latents", [8, 24])
def test_channels_follow_from_the_vae_and_the_conditioning(latents: int, anchored: bool) -> None:
    network = replace(SMALL, anchored=anchored)
    config = model_config(network, latents)
    first, anchor = 4 + latents, (latents + 5) * anchored
    assert config.dit.in_channels == latents + first + network.track_channels + anchor
    assert config.dit.out_channels == latents
    model = new_model(network, latents)
    assert model.track_head.project.out_features == network.track_channels


def test_the_embedded_network_is_as_large_as_its_page_says() -> None:
    """At most 30 MB in half precision, together with the VAE (docs/architecture.md, section 7)."""
    with torch.device("meta"):
        model = MotionModel(model_config(NETWORK, 24))
    assert 5e6 < sum(p.numel() for p in model.parameters()) < 14e6


def test_a_new_network_predicts_nothing_and_an_old_one_is_the_average(chain: Path) -> None:
    assert not new_model(SMALL, 8).dit.head.head.weight.any()
    average = newest_weights(chain / "teacher", "ema", under="average")
    started = weights(new_model(SMALL, 8, chain / "teacher"))
    assert started.keys() == average.keys()
    assert all(torch.equal(started[name], average[name]) for name in average)


def test_a_start_that_was_never_trained_is_explained(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="train that stage first"):
        new_model(SMALL, 8, tmp_path / "teacher")
