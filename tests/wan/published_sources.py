"""Reduced weights as publishers ship them: real channels and names, small width."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch
from safetensors.torch import save_file

from motionstream.dit import CONFIGS, DiTConfig, VideoDiT
from motionstream.wan.families import FAMILIES
from motionstream.wan.weight_files import open_weights
from motionstream.wan.weights import diffusers_name, fill, in_wan_names


def sizes(family: str) -> DiTConfig:
    """The published DiT's sizes but for its width and depth."""
    kind = FAMILIES[family]
    row = CONFIGS["wan2.1-1.3b" if kind.latent_channels == 16 else "wan2.2-5b"]
    small = replace(row, width=24, heads=2, layers=2, ffn=48, text_dim=8, image_dim=6 if kind.image else None)
    return replace(small, in_channels=kind.channels)


def random_dit(config: DiTConfig, seed: int = 0) -> VideoDiT:
    """Every weight drawn, weights of norms around 1, so that no branch is silent."""
    torch.manual_seed(seed)
    model = VideoDiT(config)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            weight.normal_(1.0 if "norm" in name and name.endswith("weight") else 0.0, 0.15)
    return model.eval()


def ship(model: VideoDiT, path: Path, *, diffusers: bool = False, more: dict[str, torch.Tensor] | None = None) -> Path:
    """One safetensors file, in Wan's layout or Diffusers'."""
    state = model.state_dict() | (more or {})
    save_file({diffusers_name(name) if diffusers else name: value for name, value in state.items()}, str(path))
    return path


def loaded(config: DiTConfig, path: Path) -> VideoDiT:
    """The network in such files as it is, its input channels in the published order."""
    files = in_wan_names(open_weights(path))
    with torch.device("meta"):
        model = VideoDiT(config)
    fill(model, ((name, files.read(name)) for name in files.shapes), "cpu", torch.float32)
    return model.eval()
