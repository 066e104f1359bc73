"""A model of our own as a folder: `model.json` (sizes, figures of the rollout, hashes), `network.safetensors`,
`vae.safetensors`, and `detail.safetensors` and `look.safetensors` where a model has those.

Nothing is unpickled; every file is checked against its SHA-256 and every key accounted for before a weight is used.
"""

from __future__ import annotations

import dataclasses
import hashlib
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load, save_file
from torch import Tensor, nn

from motionstream.dit import VideoDiT
from motionstream.dit.fuse import fuse
from motionstream.geometry import Geometry
from motionstream.sampling import MotionModel
from motionstream.stream.model import StreamingModel
from motionstream.vae import Detail, DetailConfig, Look, LookConfig, TinyVAE, TinyVAEConfig
from motionstream.zoo.header import (
    DETAIL,
    HEADER,
    LOOK,
    NETWORK,
    OPTIONAL,
    OWN,
    VAE,
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


def save_bundle(
    folder: Path,
    name: str,
    network: MotionModel,
    vae: TinyVAE,
    live: Live,
    origin: dict[str, Any],
    detail: Detail | None = None,
    look: Look | None = None,
) -> None:
    """Write a model in bfloat16. origin: where the weights come from (recipes, steps, machine)."""
    folder.mkdir(parents=True, exist_ok=True)
    optional = {name: part for name, part in (("detail", detail), ("look", look)) if part is not None}
    parts: dict[str, nn.Module] = {NETWORK: network, VAE: vae, **{OPTIONAL[name]: optional[name] for name in optional}}
    for file, module in parts.items():
        save_file(_packed(module), folder / file)
    more = {
        "vae": dataclasses.asdict(vae.config),
        **{name: dataclasses.asdict(part.config) for name, part in optional.items()},
        "sha256": {file: sha256(folder / file) for file in parts},
        "origin": origin,
    }
    write_header(folder, name, OWN, live, network.config, more)


def load_bundle(folder: Path, device: torch.device, dtype: torch.dtype, fused: bool = True) -> StreamingModel:
    """The model in a folder. fused: with the faster form of the DiT, for streaming only.

    Raises ValueError that names what is missing, damaged or does not fit.
    """
    header = read_header(folder)
    network, vae, detail, look, live = _described(header, folder)
    named = {NETWORK: network, VAE: vae, DETAIL: detail, LOOK: look}
    parts: dict[str, nn.Module] = {file: module for file, module in named.items() if module is not None}
    for file, module in parts.items():
        _fill(module, _verified(folder / file, header["sha256"][file]), folder / file)
    network = network.to(device, dtype).eval().requires_grad_(False)
    if fused and isinstance(network.dit, VideoDiT):
        network.dit = fuse(network.dit)
    return StreamingModel(
        header["name"],
        network,
        vae.to(device, dtype),
        Geometry(*live.size),
        live.fps,
        live.rolling,
        bundle_hash(header),
        None if detail is None else detail.to(device, dtype),
        None if look is None else look.to(device),
        prompted=live.prompted,
    )


def _described(header: dict[str, Any], folder: Path) -> tuple[MotionModel, TinyVAE, Detail | None, Look | None, Live]:
    """The parts that a header describes, weights still to be filled in."""
    network = MotionModel(network_of(header, folder))
    try:
        vae = TinyVAE(TinyVAEConfig(**tuples(header["vae"])))
        detail = Detail(DetailConfig(**header["detail"])) if "detail" in header else None
        look = Look(LookConfig(**header["look"])) if "look" in header else None
    except (KeyError, TypeError, AttributeError) as error:
        raise undescribed(folder, error) from error
    return network, vae, detail, look, live_of(header, folder)


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
