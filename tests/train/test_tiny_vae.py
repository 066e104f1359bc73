"""The VAE's stage: its crops, its losses, and the components it starts from."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from einops import rearrange
from tests.train.smoke import STEPS, changed, finite, make, recipe, vae_stage, weights
from tests.train.test_tiny_decoder import lpips_file
from torch import nn

from motionstream.tiny.vae import TinyVAEConfig
from motionstream.train.checkpoint import newest_weights
from motionstream.train.tiny_vae import TinyVAEStage, blocks, edge_error, finished_vae


@pytest.fixture
def stage(chain: Path) -> TinyVAEStage:
    return vae_stage(chain, crop=32, dtype="float32")


def test_edges_are_compared_along_both_axes_and_brightness_is_not() -> None:
    picture = torch.rand(1, 1, 3, 6, 8)
    assert edge_error(picture + 0.3, picture) < 1e-6
    steps = torch.zeros(1, 1, 1, 4, 4)
    steps[..., 2:] = 1
    assert edge_error(steps, torch.zeros_like(steps)).item() == pytest.approx(1 / 3)
    assert edge_error(steps.mT, torch.zeros_like(steps)).item() == pytest.approx(1 / 3)


def test_edges_count_where_their_weight_says() -> None:
    steps, weight = torch.zeros(1, 1, 1, 4, 4), torch.ones(1, 1, 1, 4, 4)
    steps[..., 2:] = 1
    weight[..., :2, :] = 0
    for turned in (False, True):
        error, where = (steps.mT, weight.mT) if turned else (steps, weight)
        assert edge_error(error, torch.zeros_like(error), where).item() == pytest.approx(1 / 6)


def test_blocks_are_what_the_linear_path_reads(stage: TinyVAEStage) -> None:
    """With the network path silent, latents are the linear layer of the blocks, in their order."""
    clip = torch.randn(2, 9, 3, 16, 24)
    nn.init.zeros_(stage.vae.encoder.out.weight)
    latents = stage.vae.encode(clip)[:, 1:]
    expected = stage.vae.normalise(stage.vae.encoder.linear(blocks(clip)).view(2, 2, 2, 3, -1).movedim(-1, 2))
    torch.testing.assert_close(latents, expected, atol=1e-5, rtol=0)


def test_crops_are_squares_of_the_recipe_from_all_over_the_clip(stage: TinyVAEStage) -> None:
    seen = {tuple(stage._clips()[0, 0, 0, 0, :4].tolist()) for _ in range(4)}
    assert len(seen) == 4
    assert stage._clips().shape == (2, 5, 3, 32, 32)


def test_losses_add_up_as_the_recipe_weighs_them(stage: TinyVAEStage) -> None:
    stage._start()
    recipe, losses = stage.recipe, stage._losses(stage._clips())
    total = losses["l1"] + recipe.edge_weight * losses["edges"] + recipe.size_weight * losses["size"]
    torch.testing.assert_close(losses["loss"], total)
    assert losses["psnr"] > 15


def test_the_start_is_made_once_and_normalises_latents(stage: TinyVAEStage) -> None:
    stage.step(0, 0.0)
    mean, scale = stage.vae.mean.clone(), stage.vae.scale.clone()
    stage.step(1, 0.1)
    assert torch.equal(stage.vae.mean, mean)
    assert torch.equal(stage.vae.scale, scale)
    assert torch.equal(stage.ema.average.get_buffer("scale"), scale)
    latents = stage.vae.encode(torch.cat([stage._clips() for _ in range(8)]))
    assert latents.square().mean().item() == pytest.approx(1, abs=0.5)
    assert stage.state_dict()["started"] is True


def test_the_sheet_shows_true_rebuilt_and_difference(stage: TinyVAEStage) -> None:
    stage.step(0, 0.0)
    sheet = stage.sheet()
    assert sheet is not None
    assert sheet.shape == (3 * 48, 2 * 64, 3)
    true, rebuilt, difference = (sheet[48 * row : 48 * row + 48].astype(float) for row in range(3))
    assert abs(true - rebuilt).mean() < 40
    exact = (4 * abs(true - rebuilt)).clip(0, 255)
    assert abs(difference - exact).mean() < 4


def test_the_decoder_alone_learns_where_latents_are_to_stay(chain: Path) -> None:
    stage = make("vae-decoder", chain, crop=32, dtype="float32")
    assert isinstance(stage, TinyVAEStage)
    finished = newest_weights(chain / "vae", "ema", under="average")
    assert all(torch.equal(value, finished[name]) for name, value in stage.vae.state_dict().items())
    stage.step(0, 0.0)
    moved = changed(finished, stage.vae)
    assert moved
    assert all(name.startswith("decoder.") for name in moved)
    assert any(not torch.equal(value, finished[name]) for name, value in stage.ema.average.state_dict().items())


def test_a_decoder_of_other_sizes_starts_from_the_linear_path(chain: Path) -> None:
    slim = TinyVAEConfig(latent_channels=8, encoder=(16, 16), decoder=(12, 8, 16), half_blocks=1)
    stage = make("vae-decoder", chain, crop=32, dtype="float32", vae=slim)
    assert isinstance(stage, TinyVAEStage)
    before, video = finished_vae(chain / "vae"), stage._clips()
    assert torch.equal(stage.vae.encode(video), before.encode(video))
    latents = torch.randn(1, 2, 8, 4, 4)
    linear = before.decoder.linear(before.denormalise(latents).movedim(2, -1))
    shown = rearrange(linear, "b t h w (p c q r) -> b (t p) c (h q) (w r)", p=4, q=8, r=8)
    torch.testing.assert_close(stage.vae.decode(latents), shown[:, 3:])
    started = {name: value.clone() for name, value in stage.vae.state_dict().items()}
    stage.step(0, 0.0)
    moved = changed(started, stage.vae)
    assert "decoder.out.weight" in moved
    assert all(name.startswith("decoder.") for name in moved)


def test_lpips_is_one_more_loss(chain: Path, tmp_path: Path) -> None:
    file = str(lpips_file(tmp_path))
    stage = make("vae-decoder", chain, crop=32, dtype="float32", lpips=file, lpips_weight=0.5)
    assert isinstance(stage, TinyVAEStage)
    recipe, losses = stage.recipe, stage._losses(stage._clips())
    plain = losses["l1"] + recipe.edge_weight * losses["edges"] + recipe.size_weight * losses["size"]
    torch.testing.assert_close(losses["loss"], plain + 0.5 * losses["lpips"])
    assert losses["lpips"] > 0


def test_a_decoder_that_cannot_be_trained_is_told(chain: Path) -> None:
    with pytest.raises(ValueError, match="decoder_only needs latents that mean something: name init_from"):
        recipe("vae", decoder_only=True)
    with pytest.raises(ValueError, match="no LPIPS weights"):
        make("vae-decoder", chain, lpips_weight=0.5)
    own = TinyVAEConfig(latent_channels=8, encoder=(16, 16), decoder=(16, 16, 16))
    for other in (replace(own, encoder=(16, 24)), replace(own, frame_blocks=2), replace(own, latent_blocks=1)):
        with pytest.raises(ValueError, match=r"vae is TinyVAEConfig.*the recipe wants.*change either"):
            make("vae-decoder", chain, vae=other)
    wider = TinyVAEConfig(latent_channels=8, encoder=(16, 16), decoder=(16, 16, 24))
    with pytest.raises(ValueError, match=r"vae is TinyVAEConfig.*the recipe wants.*change either"):
        make("vae-decoder", chain, vae=wider, decoder_only=False)


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
