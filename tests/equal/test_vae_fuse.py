"""The fused VAE gives the reference's latents and pixels, shares its memories, and refuses gradients."""

from __future__ import annotations

from unittest.mock import patch

import pytest
import torch
from tests.small import CHANNELS, small_vae
from torch import Tensor

from motionstream.vae import Memory, TinyVAE
from motionstream.vae.fuse import fuse_vae

CLOSE = {"atol": 1e-5, "rtol": 2e-6}
"""Float32 rounding; values reach 20."""
SIZES = [(24, 40), (56, 8)]
STEPS = [(1, 1, 1, 2), (3, 2), (2, 3), (5,)]


def encoded(vaes: list[TinyVAE], clip: Tensor, steps: tuple[int, ...]) -> Tensor:
    """Latents of a clip; the VAEs take turns with one memory."""
    parts, memory, begin = [], None, 0
    for turn, step in enumerate(steps):
        frames = 4 * step - (3 if memory is None else 0)
        part, memory = vaes[turn % len(vaes)].encode_step(clip[:, begin : begin + frames], memory)
        parts.append(part)
        begin += frames
    return torch.cat(parts, 1)


def decoded(vaes: list[TinyVAE], latents: Tensor, steps: tuple[int, ...]) -> Tensor:
    memory: Memory | None = None
    parts = []
    for turn, part in enumerate(latents.split(list(steps), 1)):
        frames, memory = vaes[turn % len(vaes)].decode_step(part, memory)
        parts.append(frames)
    return torch.cat(parts, 1)


@pytest.mark.parametrize("plain", [False, True])
@pytest.mark.parametrize("clips", [1, 2])
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("steps", STEPS)
@torch.inference_mode()
def test_equals_the_reference(steps: tuple[int, ...], size: tuple[int, int], clips: int, plain: bool) -> None:
    vae = small_vae()
    with patch("motionstream.products.fuses_convolutions", return_value=not plain):
        fused = fuse_vae(vae)
    clip = torch.randn(clips, 1 + 4 * (sum(steps) - 1), 3, *size)
    latents, video = vae.encode(clip), vae.decode(vae.encode(clip))
    assert latents.std() > 0.1
    assert video.std() > 0.1
    for vaes in ([fused], [vae, fused], [fused, vae]):
        torch.testing.assert_close(encoded(vaes, clip, steps), latents, **CLOSE)
        torch.testing.assert_close(decoded(vaes, latents, steps), video, **CLOSE)


@torch.inference_mode()
def test_bf16_is_as_close_to_float32_as_the_reference_is() -> None:
    clip, exact, half = torch.rand(1, 9, 3, 24, 40) * 2 - 1, small_vae(), small_vae().bfloat16()
    latents, fused = exact.encode(clip), fuse_vae(half)
    video = exact.decode(latents)

    def errors(vae: TinyVAE) -> tuple[float, float]:
        out, back = vae.encode(clip.bfloat16()), vae.decode(latents.bfloat16())
        assert out.dtype == back.dtype == torch.bfloat16
        return float((out - latents).std()), float((back - video).std())

    assert errors(half)[0] < 0.05 * latents.std()
    for mine, theirs in zip(errors(fused), errors(half), strict=True):
        assert mine < 1.5 * theirs


@torch.inference_mode()
def test_memory_belongs_to_the_caller() -> None:
    fused, latents, clip = fuse_vae(small_vae()), torch.randn(1, 4, CHANNELS, 3, 5), torch.randn(1, 9, 3, 24, 40)
    for step, first, after in (
        (fused.decode_step, latents[:, :2], latents[:, 2:]),
        (fused.encode_step, clip[:, :5], clip[:, 5:]),
    ):
        _, memory = step(first, None)
        kept = [part.clone() for part in memory]
        once, _ = step(after, memory)
        assert torch.equal(once, step(after, memory)[0])
        assert all(torch.equal(a, b) for a, b in zip(memory, kept, strict=True))


def test_refuses_gradients() -> None:
    fused = fuse_vae(small_vae())
    with pytest.raises(ValueError, match="no gradients"):
        fused.decode(torch.randn(1, 1, CHANNELS, 3, 5))
    with pytest.raises(ValueError, match="no gradients"):
        fused.encode(torch.randn(1, 1, 3, 24, 40))
