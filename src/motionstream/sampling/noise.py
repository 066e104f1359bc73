"""Noise keyed by (seed, chunk, step): a resumed, batched or repeated stream draws the same."""

from __future__ import annotations

import hashlib

import torch
from torch import Tensor


def keyed_noise(shape: tuple[int, ...], seed: int, chunk: int, step: int) -> Tensor:
    """Standard normal noise, float32 on the CPU, the same for the same key on every machine."""
    key = hashlib.blake2b(f"{seed}/{chunk}/{step}".encode(), digest_size=8).digest()
    generator = torch.Generator().manual_seed(int.from_bytes(key, "little") >> 1)
    return torch.randn(shape, generator=generator)
