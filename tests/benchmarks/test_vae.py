"""The VAE's figures: a lossless one scores as such, a seam is seen where there is one, and walks are the stream's."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from einops import rearrange
from tests.small import GEOMETRY, small_vae
from torch import Tensor

from benchmarks.vae import border_frames, decoder_gflop, evaluate_vae, flicker, rebuild
from motionstream.evaluate.metrics import BEST_PSNR, Video
from motionstream.geometry import Geometry
from motionstream.lpips import LpipsNetwork
from motionstream.tiny.detail import Detail, DetailConfig
from motionstream.tiny.finisher import PhotoFinisher
from motionstream.vae.pixels import to_frames, to_model

CHUNK = 3


class Lossless:
    """Keeps every pixel: four frames are the channels of a latent. It can be told to err.

    noise: of every frame, in model units. seam: how much brighter every other chunk is.
    """

    latent_channels = 12

    def __init__(self, noise: float = 0.0, seam: float = 0.0) -> None:
        self.noise, self.seam = noise, seam
        self.random = torch.Generator().manual_seed(0)

    def encode(self, video: Tensor) -> Tensor:
        whole = torch.cat([video[:, :1].expand(-1, 3, -1, -1, -1), video], 1)
        return rearrange(whole, "b (t p) c h w -> b t (p c) h w", p=4)

    def decode_step(self, latents: Tensor, memory: tuple[Tensor, ...] | None) -> tuple[Tensor, tuple[Tensor, ...]]:
        done = torch.zeros(()) if memory is None else memory[0]
        video = rearrange(latents, "b t (p c) h w -> b (t p) c h w", p=4)[:, 3 if memory is None else 0 :]
        error = self.noise * torch.randn(video.shape, generator=self.random) + self.seam * (done % 2)
        return video + error, (done + 1,)


def model(vae: Any, geometry: Geometry = GEOMETRY, detail: Detail | None = None) -> Any:
    """What is needed of a `StreamingModel`."""
    device = torch.device("cpu")
    finisher = PhotoFinisher(detail, None, geometry.size, device)
    parts = {"vae": vae, "geometry": geometry, "size": geometry.size, "finisher": finisher}
    return SimpleNamespace(**parts, device=device, dtype=torch.float32)


def clips(count: int = 2, frames: int = 33) -> list[Any]:
    shape = (frames, GEOMETRY.height, GEOMETRY.width, 3)
    return [
        SimpleNamespace(video=np.random.default_rng(i).integers(60, 196, shape).astype(np.uint8)) for i in range(count)
    ]


def test_a_lossless_vae_scores_as_such() -> None:
    figures = evaluate_vae(model(Lossless()), clips())
    assert figures["clips"] == 2
    assert figures["psnr_db"] == BEST_PSNR
    assert figures["ssim"] == pytest.approx(1)
    assert figures["seam_ratio"] is None, "where nothing flickers there is nothing to compare a border with"
    assert {"machine", "date"} <= set(figures)


def test_error_shows_as_lower_psnr_by_the_formula() -> None:
    """Noise of deviation s of a range of 2 has the PSNR −20 log₁₀(s / 2)."""
    figures = evaluate_vae(model(Lossless(noise=0.05)), clips())
    assert figures["psnr_db"] == pytest.approx(-20 * np.log10(0.025), abs=0.1)
    assert figures["ssim"] < 0.999


def test_borders_are_told_apart_only_where_there_are_seams() -> None:
    assert evaluate_vae(model(Lossless(noise=0.05)), clips())["seam_ratio"] == pytest.approx(1, abs=0.02)
    assert evaluate_vae(model(Lossless(noise=0.05, seam=0.3)), clips())["seam_ratio"] > 3


def test_lpips_is_measured_where_there_is_a_network_for_it() -> None:
    network = LpipsNetwork().requires_grad_(False)
    for weigh in network.lin:
        weigh.weight.abs_()
    assert evaluate_vae(model(Lossless()), clips(1))["lpips"] is None
    exact, noisy = (evaluate_vae(model(Lossless(noise)), clips(1), perceptual=network)["lpips"] for noise in (0, 0.2))
    assert exact == 0
    assert noisy > 1e-4


def test_flicker_is_the_change_of_the_error_not_the_error() -> None:
    true: Video = np.full((6, 4, 4, 3), 100, np.uint8)
    brighter_from_3 = true + (np.arange(6) >= 3).astype(np.uint8)[:, None, None, None] * 12
    assert flicker(brighter_from_3, true, {3}) == (12, 0)
    assert flicker(brighter_from_3, true, {2}) == (0, pytest.approx(12 / 4))
    assert flicker(true + 12, true, {3}) == (0, 0), "an error that stays does not flicker"


@pytest.mark.parametrize(("frames", "borders"), [(9, set()), (13, {9}), (33, {9, 21}), (45, {9, 21, 33})])
def test_borders_are_the_first_frames_of_later_chunks(frames: int, borders: set[int]) -> None:
    assert border_frames(model(None), frames, CHUNK) == borders


def test_what_is_measured_is_the_streams_own_walk_and_equals_the_whole_clip() -> None:
    vae, clip = small_vae(), clips(1, 33)[0]
    with torch.inference_mode():
        pixels = to_model(torch.from_numpy(clip.video).permute(0, 3, 1, 2))[None]
        whole = to_frames(vae.decode(vae.encode(pixels))[0])
    stepped = rebuild(model(vae), clip.video, CHUNK)
    assert stepped.shape == clip.video.shape
    assert np.abs(stepped.astype(int) - whole).max() <= 1
    assert whole.std() > 10, "a flat picture would equal itself"


def test_arithmetic_is_that_of_one_later_chunk() -> None:
    """In proportion to latents and to area, and none where there is none."""
    small = model(small_vae())
    one = decoder_gflop(small, CHUNK)
    assert one > 0
    assert decoder_gflop(small, 2 * CHUNK) == pytest.approx(2 * one)
    assert decoder_gflop(model(small_vae(), Geometry(96, 32)), CHUNK) == pytest.approx(2 * one)
    assert decoder_gflop(model(Lossless()), CHUNK) == 0
    with_detail = decoder_gflop(model(small_vae(), detail=Detail(DetailConfig(8))), CHUNK)
    assert with_detail > one, "what follows the decoder is counted with it"
