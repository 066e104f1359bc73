"""A model of our own as a folder: `model.json` (sizes, figures of the rollout, hashes), `network.safetensors`,
`vae.safetensors`, and `detail.safetensors` and `prompt_filter.safetensors` where a model has those.

Nothing is unpickled; every file is checked against its SHA-256 and every key accounted for before a weight is used.
"""

from __future__ import annotations

import dataclasses
import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch
from safetensors.torch import load, save_file
from torch import Tensor, nn

from motionstream.conditioning import TrackConditioner
from motionstream.dit import VideoDiT
from motionstream.fast.fuse import fuse
from motionstream.fast.graphed import chunk_step
from motionstream.geometry import Geometry
from motionstream.model_folder import (
    FILES,
    HEADER,
    OWN,
    Live,
    bundle_hash,
    live_of,
    network_of,
    read_header,
    sha256,
    tuples,
    undescribed,
    write_header,
)
from motionstream.sampling import MotionModel
from motionstream.stream.model import StreamingModel
from motionstream.tiny.conditioner import AnchoredConditioner
from motionstream.tiny.detail import Detail, DetailConfig
from motionstream.tiny.finisher import PhotoFinisher
from motionstream.tiny.network import motion_model
from motionstream.tiny.prompt_filter import PromptFilter, PromptFilterConfig
from motionstream.tiny.vae import TinyVAE, TinyVAEConfig


@dataclass(frozen=True)
class Parts:
    """What a model of our own is made of. detail, prompt_filter: either may be missing."""

    network: MotionModel
    vae: TinyVAE
    detail: Detail | None
    prompt_filter: PromptFilter | None

    def modules(self) -> dict[str, nn.Module]:
        """Those it has, by name."""
        return {name: part for name, part in vars(self).items() if part is not None}


def save_bundle(
    folder: Path,
    name: str,
    network: MotionModel,
    vae: TinyVAE,
    live: Live,
    origin: dict[str, Any],
    detail: Detail | None = None,
    prompt_filter: PromptFilter | None = None,
) -> None:
    """Write a model in bfloat16. origin: where the weights come from (recipes, steps, machine)."""
    folder.mkdir(parents=True, exist_ok=True)
    parts = Parts(network, vae, detail, prompt_filter).modules()
    for part, module in parts.items():
        save_file(_packed(module), folder / FILES[part])
    more = {
        **{part: dataclasses.asdict(cast(Any, module).config) for part, module in parts.items() if part != "network"},
        "sha256": {FILES[part]: sha256(folder / FILES[part]) for part in parts},
        "origin": origin,
    }
    write_header(folder, name, OWN, live, network.config, more)


def load_bundle(folder: Path, device: torch.device, dtype: torch.dtype, fused: bool = True) -> StreamingModel:
    """The model in a folder. fused: with the faster form of the DiT, for streaming only.

    Raises ValueError that names what is missing, damaged or does not fit.
    """
    header = read_header(folder)
    live, parts = live_of(header, folder), stored_parts(folder)
    network = parts.network.to(device, dtype).eval().requires_grad_(False)
    if fused and isinstance(network.dit, VideoDiT):
        network.dit = fuse(network.dit, prompted=live.reads_prompt)
    detail, prompt_filter = parts.detail, parts.prompt_filter
    finisher = PhotoFinisher(
        detail and detail.to(device, dtype), prompt_filter and prompt_filter.to(device), live.size, device
    )
    return StreamingModel(
        header["name"],
        network,
        parts.vae.to(device, dtype),
        Geometry(*live.size),
        live.fps,
        live.rollout_config,
        bundle_hash(header),
        conditioner=AnchoredConditioner if network.config.conditioning.anchored else TrackConditioner,
        finisher=finisher,
        chunk_step=chunk_step,
        reads_prompt=live.reads_prompt,
    )


def stored_parts(folder: Path) -> Parts:
    """What a model is made of, on the CPU in float32. Raises ValueError that names what is missing, damaged or does not
    fit."""
    header = read_header(folder)
    parts = _described(header, folder)
    for part, module in parts.modules().items():
        file = FILES[part]
        _fill(module, _verified(folder / file, header["sha256"][file]), folder / file)
    return parts


def _described(header: dict[str, Any], folder: Path) -> Parts:
    """The parts that a header describes, weights still to be filled in."""
    network = motion_model(network_of(header, folder))
    try:
        vae = TinyVAE(TinyVAEConfig(**tuples(header["vae"])))
        detail = Detail(DetailConfig(**header["detail"])) if "detail" in header else None
        phrases = header.get("prompt_filter")
        return Parts(network, vae, detail, phrases and PromptFilter(PromptFilterConfig(**tuples(phrases))))
    except (KeyError, TypeError, AttributeError) as error:
        raise undescribed(folder, error) from error


def _packed(module: nn.Module) -> dict[str, Tensor]:
    return {name: value.detach().to("cpu", torch.bfloat16).contiguous() for name, value in module.state_dict().items()}


def _verified(path: Path, expected: str) -> bytes:
    if not path.is_file():
        raise ValueError(f"{path} is missing: the model is incomplete")
    data = path.read_bytes()
    if hashlib.sha256(data).hexdigest() != expected:
        raise ValueError(f"{path} is damaged: its SHA-256 is not the one in {HEADER}")
    return data


def _fill(module: nn.Module, data: bytes, path: Path) -> None:
    try:
        module.load_state_dict(load(data))
    except Exception as error:
        raise ValueError(f"{path} does not fit {HEADER}: {' '.join(str(error).split())}") from error
