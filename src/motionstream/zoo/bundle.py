"""A model as a folder: `model.json` (sizes, figures of the rollout, hashes), `network.safetensors`, `vae.safetensors`,
and `detail.safetensors` where a model has that.

Nothing is unpickled; every file is checked against its SHA-256 and every key accounted for before a weight is used.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load, save_file
from torch import Tensor, nn

from motionstream.conditioning import ConditioningConfig
from motionstream.diffusion import few_step_times
from motionstream.dit import DiTConfig, VideoDiT
from motionstream.dit.fuse import fuse
from motionstream.geometry import Geometry
from motionstream.sampling import ModelConfig, MotionModel, Rolling
from motionstream.stream.model import StreamingModel
from motionstream.vae import Detail, DetailConfig, TinyVAE, TinyVAEConfig

FORMAT = 1
HEADER, NETWORK, VAE = "model.json", "network.safetensors", "vae.safetensors"
DETAIL = "detail.safetensors"


@dataclass(frozen=True)
class Live:
    """How a model is run: frame size, frames a second, and the rollout in latents and calls."""

    size: tuple[int, int]
    fps: float
    chunk: int
    sink: int
    window: int
    steps: int
    shift: float

    @property
    def rolling(self) -> Rolling:
        return Rolling(self.chunk, self.sink, self.window, tuple(few_step_times(self.steps, self.shift).tolist()))


def save_bundle(
    folder: Path,
    name: str,
    network: MotionModel,
    vae: TinyVAE,
    live: Live,
    origin: dict[str, Any],
    detail: Detail | None = None,
) -> None:
    """Write a model in bfloat16. origin: where the weights come from (recipes, steps, machine)."""
    folder.mkdir(parents=True, exist_ok=True)
    parts: dict[str, nn.Module] = {NETWORK: network, VAE: vae} | ({} if detail is None else {DETAIL: detail})
    for file, module in parts.items():
        save_file(_packed(module), folder / file)
    header = {
        "format": FORMAT,
        "name": name,
        "live": dataclasses.asdict(live),
        "network": dataclasses.asdict(network.config),
        "vae": dataclasses.asdict(vae.config),
        **({} if detail is None else {"detail": dataclasses.asdict(detail.config)}),
        "sha256": {file: _sha256(folder / file) for file in parts},
        "origin": origin,
    }
    (folder / HEADER).write_text(json.dumps(header, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def load_bundle(folder: Path, device: torch.device, dtype: torch.dtype, fused: bool = True) -> StreamingModel:
    """The model in a folder. fused: with the faster form of the DiT, for streaming only.

    Raises ValueError that names what is missing, damaged or does not fit.
    """
    header = read_header(folder)
    network, vae, detail, live = _described(header, folder)
    parts: dict[str, nn.Module] = {NETWORK: network, VAE: vae} | ({} if detail is None else {DETAIL: detail})
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
    )


def _described(header: dict[str, Any], folder: Path) -> tuple[MotionModel, TinyVAE, Detail | None, Live]:
    """The parts that a header describes, weights still to be filled in."""
    try:
        network = MotionModel(_network_config(header["network"]))
        vae = TinyVAE(TinyVAEConfig(**{key: _tuple(value) for key, value in header["vae"].items()}))
        detail = Detail(DetailConfig(**header["detail"])) if "detail" in header else None
        return network, vae, detail, Live(**{key: _tuple(value) for key, value in header["live"].items()})
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{folder / HEADER} does not describe a model: {error}") from error


def read_header(folder: Path) -> dict[str, Any]:
    """`model.json`: at least `format`, `name` and `sha256` by file. Raises ValueError if there is no such file."""
    path = folder / HEADER
    if not path.is_file():
        raise ValueError(f"{folder} holds no model: {HEADER} is missing")
    try:
        header: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path} is not JSON: {error}") from error
    if not isinstance(header, dict) or header.get("format") != FORMAT:
        raise ValueError(f"{path}: this version reads models of format {FORMAT}")
    hashes = header.get("sha256")
    needed = {NETWORK, VAE} | ({DETAIL} if "detail" in header else set())
    if "name" not in header or not isinstance(hashes, dict) or not needed <= hashes.keys():
        raise ValueError(f"{path} is incomplete: it must have a name and the SHA-256 of {' and '.join(sorted(needed))}")
    return header


def bundle_hash(header: dict[str, Any]) -> str:
    """One short name for these weights: the first 12 digits of the SHA-256 of their files' SHA-256."""
    files = [file for file in (NETWORK, VAE, DETAIL) if file in header["sha256"]]
    return hashlib.sha256("".join(header["sha256"][file] for file in files).encode()).hexdigest()[:12]


def _packed(module: nn.Module) -> dict[str, Tensor]:
    return {name: value.detach().to("cpu", torch.bfloat16).contiguous() for name, value in module.state_dict().items()}


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


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


def _network_config(values: dict[str, Any]) -> ModelConfig:
    dit = DiTConfig(**{key: _tuple(value) for key, value in values["dit"].items()})
    return ModelConfig(dit, ConditioningConfig(**values["conditioning"]), values["parameterization"])


def _tuple(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value
