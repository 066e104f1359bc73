"""The tiny VAE: one function however the clip is cut, causal, and fair before it is trained."""

from __future__ import annotations

import math

import pytest
import torch
from tests.small import CHANNELS, small_vae
from tests.vae.in_steps import decode_in_steps, encode_in_steps, two_go_on_from_one_point
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from motionstream.geometry import Geometry
from motionstream.tiny.vae import TinyVAE, TinyVAEConfig
from motionstream.train import named
from motionstream.train.recipe import TinyVAERecipe
from motionstream.train.tiny_vae import blocks

SIZES = [(24, 40), (56, 8)]
"""(H, W): odd grids of 3 × 5 and 7 × 1 latent cells."""
PARTITIONS = [(1, 1, 1, 1, 1, 1, 1), (3, 3, 1), (2, 1, 4), (1, 6), (7,)]
"""Latents of each step."""
EXACT = {"atol": 1e-12, "rtol": 0}
"""In float64: what is left is rounding."""


def video(latents: int, size: tuple[int, int], clips: int = 2) -> Tensor:
    return torch.randn(clips, 1 + 4 * (latents - 1), 3, *size, dtype=torch.float64)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("steps", PARTITIONS)
def test_the_whole_clip_equals_the_walk_step_by_step(steps: tuple[int, ...], size: tuple[int, int]) -> None:
    vae = small_vae().double()
    clip = video(sum(steps), size)
    latents = vae.encode(clip)
    assert latents.shape == (2, sum(steps), CHANNELS, size[0] // 8, size[1] // 8)
    torch.testing.assert_close(encode_in_steps(vae, clip, steps), latents, **EXACT)
    rebuilt = vae.decode(latents)
    assert rebuilt.shape == clip.shape
    torch.testing.assert_close(decode_in_steps(vae, latents, steps), rebuilt, **EXACT)


def test_the_past_matters() -> None:
    """The equality above would also hold for a VAE without memory: this one has it, on both ways."""
    vae = small_vae().double()
    clip = video(4, SIZES[0])
    latents = vae.encode(clip)
    other = torch.cat([-clip[:, :5], clip[:, 5:]], 1)
    assert (vae.encode(other)[:, 2] - latents[:, 2]).abs().max() > 1e-4
    changed = torch.cat([-latents[:, :1], latents[:, 1:]], 1)
    assert (vae.decode(changed)[:, 1:5] - vae.decode(latents)[:, 1:5]).abs().max() > 1e-4


@pytest.mark.parametrize("known", [1, 2, 4])
def test_the_future_never_changes_the_past(known: int) -> None:
    vae, geometry = small_vae().double(), Geometry(48, 48)
    clip = video(5, SIZES[0])
    latents = vae.encode(clip)
    frames = geometry.frames(known)
    other = vae.encode(torch.cat([clip[:, :frames], torch.randn_like(clip[:, frames:])], 1))
    torch.testing.assert_close(other[:, :known], latents[:, :known], **EXACT)
    assert not torch.allclose(other[:, known:], latents[:, known:])
    rebuilt, of_other = vae.decode(latents), vae.decode(other)
    torch.testing.assert_close(of_other[:, :frames], rebuilt[:, :frames], **EXACT)
    assert not torch.allclose(of_other[:, frames:], rebuilt[:, frames:])


def test_memory_belongs_to_the_caller() -> None:
    """A step leaves the memory it was given as it was: two streams may go on from one point."""
    two_go_on_from_one_point(small_vae(), torch.randn(1, 4, CHANNELS, 3, 5), 2)


@pytest.mark.parametrize("latents", [1, 2, 9])
def test_frame_counts_are_those_of_the_geometry(latents: int) -> None:
    vae, geometry = small_vae(), Geometry(32, 16)
    frames = vae.decode(torch.zeros(1, latents, CHANNELS, 2, 4))
    assert frames.shape == (1, geometry.frames(latents), 3, 16, 32)
    assert vae.encode(frames).shape[1] == latents


@pytest.mark.parametrize("frames", [0, 2, 4, 8])
def test_a_start_of_other_than_1_plus_4n_frames_is_refused(frames: int) -> None:
    with pytest.raises(ValueError, match=r"starts with 1 \+ 4n"):
        small_vae().encode(torch.zeros(1, frames, 3, 16, 16))


@pytest.mark.parametrize("frames", [0, 1, 5])
def test_going_on_with_other_than_4n_frames_is_refused(frames: int) -> None:
    vae = small_vae()
    _, memory = vae.encode_step(torch.zeros(1, 5, 3, 16, 16), None)
    with pytest.raises(ValueError, match="goes on with 4n"):
        vae.encode_step(torch.zeros(1, frames, 3, 16, 16), memory)


def test_started_from_components_it_rebuilds_as_principal_components_do() -> None:
    vae = TinyVAE(TinyVAEConfig(CHANNELS, (8, 8), (8, 8, 8))).double()
    clip = video(5, (24, 16))
    samples = blocks(clip)
    vae.start_from_components(samples)
    mean = samples.mean(0)
    basis = torch.linalg.svd(samples - mean, full_matrices=False).Vh[:CHANNELS]
    expected = mean + (samples - mean) @ basis.T @ basis
    rebuilt = blocks(vae.decode(vae.encode(clip)))
    torch.testing.assert_close(rebuilt, expected, atol=1e-9, rtol=0)
    assert (rebuilt - samples).square().mean() < (mean - samples).square().mean()


def raw_latents() -> Tensor:
    spread = torch.tensor([0.1, 0.5, 1.0, 2.0, 4.0, 8.0])[:, None, None]
    return torch.randn(4, 6, CHANNELS, 5, 5) * spread + torch.arange(6.0)[:, None, None]


@pytest.mark.parametrize("whitening", [0.0, 0.5, 1.0])
def test_statistics_bring_latents_to_mean_0_and_mean_square_1(whitening: float) -> None:
    vae, raw = small_vae(), raw_latents()
    vae.set_statistics(raw, whitening)
    channels = vae.normalise(raw).transpose(0, 2).flatten(1)
    torch.testing.assert_close(channels.mean(1), torch.zeros(CHANNELS), atol=1e-4, rtol=0)
    torch.testing.assert_close(channels.square().mean(), torch.tensor(1.0), atol=1e-2, rtol=0)
    before = raw.transpose(0, 2).flatten(1).std(1)
    kept = (before / before[0]) ** (1 - whitening)
    torch.testing.assert_close(channels.std(1) / channels.std(1)[0], kept, atol=1e-3, rtol=1e-3)
    torch.testing.assert_close(vae.denormalise(vae.normalise(raw)), raw, atol=1e-4, rtol=0)


def test_encoding_normalises_and_decoding_undoes_it() -> None:
    vae = small_vae().double()
    clip = video(2, SIZES[0])
    latents = vae.encode(clip)
    rebuilt = vae.decode(latents)
    mean, scale = vae.mean.clone(), vae.scale.clone()
    vae.mean.zero_()
    vae.scale.fill_(1)
    torch.testing.assert_close(vae.encode(clip), latents * scale[:, None, None] + mean[:, None, None], **EXACT)
    torch.testing.assert_close(vae.decode(vae.encode(clip)), rebuilt, **EXACT)


def test_the_embedded_decoder_takes_at_most_20_gflop_a_chunk_of_12_frames() -> None:
    recipe = named("vae", "tiny_cpu")
    assert isinstance(recipe, TinyVAERecipe)
    geometry = Geometry(256, 144)
    with torch.device("meta"), torch.no_grad():
        vae = TinyVAE(recipe.vae)
        cell = (recipe.vae.latent_channels, geometry.latent_height, geometry.latent_width)
        _, memory = vae.decode_step(torch.zeros(1, 3, *cell), None)
        with FlopCounterMode(display=False) as counter:
            frames, _ = vae.decode_step(torch.zeros(1, 3, *cell), memory)
    assert frames.shape == (1, 12, 3, 144, 256)
    gigaflops = counter.get_total_flops() / 1e9
    assert math.isfinite(gigaflops)
    assert 1 < gigaflops <= 20
