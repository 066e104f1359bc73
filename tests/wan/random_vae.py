"""Wan's VAEs with random weights and statistics."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import torch

from motionstream.wan.vae import WanVAE

VAE_SIZES: dict[str, dict[str, Any]] = {
    "wan2.1": {"base_dim": 96, "z_dim": 16},
    "wan2.2": {
        "base_dim": 160,
        "decoder_base_dim": 256,
        "z_dim": 48,
        "is_residual": True,
        "in_channels": 12,
        "out_channels": 12,
        "patch_size": 2,
        "scale_factor_spatial": 16,
    },
}
"""What differs from Diffusers' defaults."""
REDUCED = {"base_dim": 8, "decoder_base_dim": 8}


def random_vae(kind: str, reduced: bool = True) -> WanVAE:
    """kind: "wan2.1" or "wan2.2". reduced: narrow layers, strides and channels as published."""
    from diffusers import AutoencoderKLWan

    numbers, channels = random.Random(0), VAE_SIZES[kind]["z_dim"]
    statistics = {
        "latents_mean": [numbers.gauss(0, 1) for _ in range(channels)],
        "latents_std": [numbers.uniform(0.5, 2) for _ in range(channels)],
    }
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return WanVAE(AutoencoderKLWan(**VAE_SIZES[kind] | (REDUCED if reduced else {}) | statistics))


def save_vae(folder: Path, kind: str) -> None:
    """A reduced one in Diffusers' layout."""
    random_vae(kind).network.save_pretrained(folder)
