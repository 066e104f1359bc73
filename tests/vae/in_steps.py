"""A clip through a VAE in pieces, with the memory handed on from step to step."""

from __future__ import annotations

import torch
from torch import Tensor

from motionstream.vae import Memory, VideoVAE
from motionstream.wan.with_decoder import VideoDecoder


def encode_in_steps(vae: VideoVAE, clip: Tensor, steps: tuple[int, ...]) -> Tensor:
    """steps: latents of each."""
    memory: Memory | None = None
    parts, begin = [], 0
    for step in steps:
        frames = 4 * step - (3 if memory is None else 0)
        part, memory = vae.encode_step(clip[:, begin : begin + frames], memory)
        assert part.shape[1] == step
        parts.append(part)
        begin += frames
    assert begin == clip.shape[1]
    return torch.cat(parts, 1)


def decode_in_steps(vae: VideoDecoder, latents: Tensor, steps: tuple[int, ...]) -> Tensor:
    """steps: latents of each."""
    memory: Memory | None = None
    parts = []
    for part in latents.split(list(steps), 1):
        frames, memory = vae.decode_step(part, memory)
        parts.append(frames)
    return torch.cat(parts, 1)


def two_go_on_from_one_point(vae: VideoDecoder, latents: Tensor, done: int) -> tuple[Memory, Memory]:
    """A step leaves the memory it was given as it was, so that another gives the same frames.

    Returns the memory after the first `done` latents, and after the rest.
    """
    _, memory = vae.decode_step(latents[:, :done], None)
    kept = [part.clone() for part in memory]
    first, after = vae.decode_step(latents[:, done:], memory)
    again, _ = vae.decode_step(latents[:, done:], memory)
    assert torch.equal(first, again)
    assert all(torch.equal(a, b) for a, b in zip(memory, kept, strict=True))
    return memory, after
