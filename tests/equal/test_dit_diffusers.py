"""The same weights give Diffusers' output, with text, timesteps and image conditioning; full sizes have its names."""

import warnings
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from tests.equal.dit_small import small_config
from tests.wan.published_sources import loaded
from torch import nn

from benchmarks.speed.compare import diffusers_model
from motionstream.dit import CONFIGS, VideoDiT
from motionstream.wan.weights import diffusers_name, shapes_of

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    pytest.importorskip("diffusers")

CLIP_DIM = 24
TOLERANCE = 1e-5


def reference(image: bool) -> nn.Module:
    """A small random model of theirs; 512 text tokens because its image branch counts on them."""
    torch.manual_seed(0)
    return diffusers_model(small_config(image_dim=CLIP_DIM if image else None))[0]


def ours(theirs: nn.Module, image: bool, folder: Path) -> VideoDiT:
    """Our model with their weights, by way of a file in their layout."""
    save_file(theirs.state_dict(), str(folder / "theirs.safetensors"))
    model = loaded(small_config(image_dim=CLIP_DIM if image else None), folder)
    assert {diffusers_name(name) for name in model.state_dict()} == set(theirs.state_dict())
    return model


@pytest.mark.parametrize("image", [False, True])
@pytest.mark.parametrize("per_latent", [False, True])
@torch.no_grad()
def test_equals_diffusers(image: bool, per_latent: bool, tmp_path: Path) -> None:
    theirs = reference(image)
    model = ours(theirs, image, tmp_path)
    latents, (height, width) = 3, (6, 10)
    tokens = height * width // 4
    x = torch.randn(2, latents, model.config.in_channels, height, width)
    text = torch.randn(2, 512, model.config.text_dim)
    clip = torch.randn(2, 257, CLIP_DIM) if image else None
    t = torch.rand(2, latents) * 1000 if per_latent else torch.tensor([37.0, 901.0])
    expected = theirs(
        hidden_states=x.transpose(1, 2),
        timestep=t.repeat_interleave(tokens, 1) if per_latent else t,
        encoder_hidden_states=text,
        encoder_hidden_states_image=clip,
        return_dict=False,
    )[0].transpose(1, 2)
    assert expected.abs().mean() > 0.05
    torch.testing.assert_close(model(x, t, model.text_context(text, clip)), expected, atol=TOLERANCE, rtol=0)


@pytest.mark.parametrize("row", ["wan2.1-1.3b", "wan2.1-1.3b-i2v", "wan2.2-5b"])
def test_full_sizes_have_diffusers_names_and_shapes(row: str) -> None:
    with torch.device("meta"):
        ours, theirs = VideoDiT(CONFIGS[row]), diffusers_model(CONFIGS[row])[0]
    assert {diffusers_name(name): shape for name, shape in shapes_of(ours.state_dict()).items()} == shapes_of(
        theirs.state_dict()
    )


@torch.no_grad()
def test_a_clean_first_latent_is_taken_as_wan_2_2_takes_the_picture(tmp_path: Path) -> None:
    """48 channels, the picture's latent at t = 0 before noisy ones, weights in several files: as TI2V-5B runs."""
    config = small_config(in_channels=48, out_channels=48)
    torch.manual_seed(0)
    theirs = diffusers_model(config)[0]
    theirs.save_pretrained(tmp_path, max_shard_size="200KB")
    assert len(list(tmp_path.glob("*.safetensors"))) > 1
    model = loaded(config, tmp_path)
    latents, (height, width) = 3, (4, 6)
    x, text = torch.randn(1, latents, 48, height, width), torch.randn(1, 512, config.text_dim)
    t = torch.tensor([[0.0, 812.5, 812.5]])
    expected = theirs(
        hidden_states=x.transpose(1, 2),
        timestep=t.repeat_interleave(height * width // 4, 1),
        encoder_hidden_states=text,
        return_dict=False,
    )[0].transpose(1, 2)
    assert expected.abs().mean() > 0.05
    torch.testing.assert_close(model(x, t, text), expected, atol=TOLERANCE, rtol=0)
    assert (model(x, t.clamp(min=812.5), text) - expected).abs().max() > 1e-3, "the clean latent's time matters"
