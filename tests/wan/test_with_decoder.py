"""Two VAEs as one: the first encodes, the second decodes, each with its own memory."""

from __future__ import annotations

import pytest
import torch
from tests.small import CHANNELS, small_vae

from motionstream.tiny.vae import TinyVAE, TinyVAEConfig
from motionstream.wan.with_decoder import WithDecoder


def test_one_encodes_and_the_other_decodes() -> None:
    first, second = small_vae(0), small_vae(1)
    both = WithDecoder(first, second)
    assert (both.latent_channels, both.spatial_stride, both.temporal_stride) == (CHANNELS, 8, 4)
    clip = torch.rand(1, 9, 3, 16, 24) * 2 - 1
    latents = first.encode(clip)
    assert torch.equal(both.encode(clip), latents)
    assert torch.equal(both.decode(latents), second.decode(latents))
    assert not torch.allclose(both.decode(latents), first.decode(latents))


def test_it_goes_on_with_each_ones_memory() -> None:
    first, second = small_vae(0), small_vae(1)
    both = WithDecoder(first, second)
    clip = torch.rand(1, 9, 3, 16, 24) * 2 - 1
    part, memory = both.encode_step(clip[:, :5], None)
    rest, _ = both.encode_step(clip[:, 5:], memory)
    latents = torch.cat([part, rest], 1)
    torch.testing.assert_close(latents, first.encode(clip), atol=1e-5, rtol=0)
    shown, memory = both.decode_step(latents[:, :2], None)
    more, _ = both.decode_step(latents[:, 2:], memory)
    torch.testing.assert_close(torch.cat([shown, more], 1), second.decode(latents), atol=1e-5, rtol=0)


def test_it_moves_and_freezes_as_one() -> None:
    both = WithDecoder(small_vae(0), small_vae(1)).bfloat16().requires_grad_(False)
    assert {weight.dtype for weight in both.parameters()} == {torch.bfloat16}
    assert both.decode(torch.zeros(1, 2, CHANNELS, 2, 3, dtype=torch.bfloat16)).dtype == torch.bfloat16


def test_a_decoder_of_other_latents_is_refused() -> None:
    other = TinyVAE(TinyVAEConfig(CHANNELS + 1, (8, 8), (8, 8, 8)))
    with pytest.raises(ValueError, match=f"latent_channels {CHANNELS + 1} beside a VAE with {CHANNELS}"):
        WithDecoder(small_vae(), other)
