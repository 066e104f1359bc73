"""Written-down sizes of published networks, against Transformers and Diffusers."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from motionstream.plan.external import CLIP_PARAMETERS, CLIP_TOKENS, FULL_VAES, UMT5_XXL_PARAMETERS
from motionstream.plan.memory import parameters

LATENT_CELLS = 8 * 8


UMT5_XXL = {"vocab_size": 256384, "d_model": 4096, "d_kv": 64, "d_ff": 10240, "num_layers": 24, "num_heads": 64}
CLIP = {"hidden_size": 1280, "intermediate_size": 5120, "num_hidden_layers": 32, "num_attention_heads": 16}


def test_text_encoder() -> None:
    transformers = pytest.importorskip("transformers")
    config = transformers.UMT5Config(**UMT5_XXL, feed_forward_proj="gated-gelu")
    with torch.device("meta"):
        assert parameters(transformers.UMT5EncoderModel(config)) == UMT5_XXL_PARAMETERS


def test_picture_encoder() -> None:
    transformers = pytest.importorskip("transformers")
    config = transformers.CLIPVisionConfig(**CLIP, patch_size=14, image_size=224)
    with torch.device("meta"):
        clip = transformers.CLIPVisionModel(config)
    assert parameters(clip) == CLIP_PARAMETERS
    assert clip.embeddings.num_positions == CLIP_TOKENS


@pytest.mark.parametrize("kind", FULL_VAES)
@torch.no_grad()
def test_full_vae(kind: str) -> None:
    """Its weights, the memory that a chunk leaves, and the largest input of a layer, at full width without data."""
    pytest.importorskip("diffusers")
    from tests.wan.random_vae import random_vae

    written = FULL_VAES[kind]
    with torch.device("meta"):
        vae = random_vae(kind, reduced=False)
        side = int(LATENT_CELLS**0.5)
        pixels = side * vae.spatial_stride
        video, latents = torch.zeros(1, 9, 3, pixels, pixels), torch.zeros(1, 3, vae.latent_channels, side, side)
    assert (vae.spatial_stride, vae.latent_channels) == (written.stride, written.channels)
    network = vae.network
    assert parameters(network.encoder) + parameters(network.quant_conv) == written.encoder.parameters
    assert parameters(network.decoder) + parameters(network.post_quant_conv) == written.decoder.parameters
    largest = {half: _largest_input(getattr(network, half)) for half in ("encoder", "decoder")}
    encoded, decoded = vae.encode_step(video, None)[1], vae.decode_step(latents, None)[1]
    assert sum(part.numel() for part in encoded) == written.encoder.memory * LATENT_CELLS
    assert sum(part.numel() for part in decoded) == written.decoder.memory * LATENT_CELLS
    # an encoder's layer that halves the picture reads one padded by a row and a column
    assert largest["encoder"][0] == pytest.approx(written.encoder.largest * LATENT_CELLS, rel=0.04)
    assert largest["decoder"][0] == written.decoder.largest * LATENT_CELLS


def _largest_input(network: nn.Module) -> list[int]:
    """Filled while it runs: the most values that a layer with weights reads."""
    found = [0]

    def note(layer: nn.Module, inputs: tuple[torch.Tensor, ...]) -> None:
        found[0] = max(found[0], inputs[0].numel())

    for layer in network.modules():
        if any(True for _ in layer.parameters(recurse=False)):
            layer.register_forward_pre_hook(note)
    return found
