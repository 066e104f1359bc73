"""A model on Wan's backbone as a folder: `model.json` and the network's weight files.

VAE, text encoder and image encoder are published weights and large, so `model.json` has their paths and they are not
copied; a relative path starts at the folder. A Wan 2.1 network may also read the first picture's CLIP tokens.

Nothing is unpickled and nothing downloaded.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from motionstream.diffusion import TIMESTEPS
from motionstream.dit import RollingCache, VideoDiT
from motionstream.fast.fp8 import LIMIT, gate, quantise_products
from motionstream.fast.fuse import FusedDiT, fuse
from motionstream.fast.graphed import chunk_step
from motionstream.geometry import Geometry
from motionstream.model_folder import (
    HEADER,
    WAN,
    Live,
    bundle_hash,
    live_of,
    network_of,
    read_header,
    read_json,
    undescribed,
    write_header,
)
from motionstream.sampling import ModelConfig, MotionModel, RolloutConfig
from motionstream.stream.model import StreamingModel
from motionstream.vae import VideoVAE
from motionstream.wan.clip_image import IMAGE_ENCODER, ClipImageEncoder
from motionstream.wan.conversion import NETWORK_FILE
from motionstream.wan.prompt_cache import CachedEncoder, PromptCache, default_folder
from motionstream.wan.taehv import TaehvDecoder
from motionstream.wan.umt5 import TEXT_ENCODER, UMT5Encoder, identity_of
from motionstream.wan.vae import WanVAE
from motionstream.wan.weight_files import open_weights
from motionstream.wan.weights import fill
from motionstream.wan.with_decoder import WithDecoder

LIVE = {
    "wan2.1": Live((832, 480), 16.0, chunk=3, sink=3, window=3, steps=3, shift=6.0),
    "wan2.2": Live((1280, 704), 24.0, chunk=3, sink=3, window=3, steps=3, shift=6.0),
}
"""Sizes, rates and rollout of the paper's two students (c3s1w1 in chunks of three: Section 4 and its tables; k = 6:
Section 3.1)."""
ROOMY = 22 << 30
"""Bytes of memory of a GPU on which the encoders run too; on a smaller one they run on the CPU."""
CLIP_TOKENS = 257
CHANNELS_2_2 = 48
"""Of a Wan 2.2 latent; a Wan 2.1 one has 16."""


@dataclass(frozen=True)
class PartPaths:
    """Where the published parts of a model are: "places" in model.json.

    vae: folder of the full VAE in Diffusers' layout, or its file. text: folder with text_encoder/ and tokenizer/.
    picture: folder with image_encoder/, for a network that reads CLIP tokens. decoder: file of a tiny decoder; without
    one the full VAE decodes.
    """

    vae: str
    text: str
    picture: str | None = None
    decoder: str | None = None


def describe_converted(folder: Path, name: str, paths: PartPaths, live: Live, fp8: bool = False) -> None:
    """Make a folder that `motionstream convert` wrote a model: write its `model.json`.

    live: how it is run. fp8: compute products in it once loaded. Raises ValueError or FileNotFoundError where it is not
    such a folder or a part is missing.
    """
    header = _converted(folder)
    config, hashes = network_of(header, folder), header["sha256"]
    missing = [file for file in hashes if not (folder / file).is_file()]
    if missing or not hashes:
        raise ValueError(f"{folder}: no weights {', '.join(missing)}; convert first (`motionstream convert --help`)")
    _check_paths(folder, config, paths)
    more = {
        "places": dataclasses.asdict(paths),
        **({"fp8": True} if fp8 else {}),
        "text_identity": identity_of(folder / paths.text, torch.bfloat16),
        "sha256": hashes,
        "origin": {key: value for key, value in header.items() if key not in ("format", "network", "live", "sha256")},
    }
    write_header(folder, name, WAN, live, config, more)


def live_of_folder(folder: Path) -> Live:
    """How the network of a converted folder is run: as it was trained, where that is known, else as in the paper.

    Raises FileNotFoundError or ValueError if it is no such folder.
    """
    header = _converted(folder)
    return live_of(header, folder) if "live" in header else live_like(network_of(header, folder))


def _converted(folder: Path) -> dict[str, Any]:
    file = folder / NETWORK_FILE
    if not file.is_file():
        raise FileNotFoundError(f"{file}: no such file; `motionstream convert SOURCE --to {folder}` writes it")
    return read_json(file)


def live_like(config: ModelConfig) -> Live:
    """How the paper runs a backbone with latents of so many channels."""
    return LIVE["wan2.2" if config.conditioning.latent_channels == CHANNELS_2_2 else "wan2.1"]


def _check_paths(folder: Path, config: ModelConfig, paths: PartPaths) -> None:
    if config.dit.image_dim is not None and paths.picture is None:
        raise ValueError("this network reads CLIP tokens of the first picture: name the folder with image_encoder/")
    vae = folder / paths.vae  # a file, a folder, or a pipeline's folder with that as vae/
    found = {"vae": vae if vae.is_file() or (vae / "config.json").is_file() else vae / "vae" / "config.json"}
    found["text"] = folder / paths.text / TEXT_ENCODER
    if paths.picture is not None:
        found["picture"] = folder / paths.picture / IMAGE_ENCODER
    if paths.decoder is not None:
        found["decoder"] = folder / paths.decoder
    for part, path in found.items():
        if not path.exists():
            raise FileNotFoundError(f"{part}: nothing at {path}; docs/wan.md says what to fetch")


def load_wan(folder: Path, device: torch.device, dtype: torch.dtype, fused: bool = True) -> StreamingModel:
    """The model in a folder, with its published parts. fused: with the fused kernels of `fast`, else as it is trained.

    Raises ValueError or FileNotFoundError that names what is missing, damaged or does not fit.
    """
    header = read_header(folder)
    config, live = network_of(header, folder), live_of(header, folder)
    try:
        paths = PartPaths(**header["places"])
    except (KeyError, TypeError) as error:
        raise undescribed(folder, error) from error
    network = filled(config, [folder / name for name in sorted(header["sha256"])], device, dtype)
    vae = _vae(folder, paths, device, dtype)
    geometry = Geometry(*live.size, spatial_stride=vae.spatial_stride)
    if fused and isinstance(network.dit, VideoDiT):
        network.dit = fuse(network.dit)
        if header.get("fp8"):
            in_fp8(network.dit, live.rollout_config, geometry)
    return StreamingModel(
        header["name"],
        network,
        vae,
        geometry,
        live.fps,
        live.rollout_config,
        bundle_hash(header),
        chunk_step=chunk_step,
        prompts=_prompts(folder, paths, header.get("text_identity"), device),
        pictures=_pictures(folder, paths, config, device),
    )


def filled(config: ModelConfig, files: Iterable[Path], device: torch.device, dtype: torch.dtype) -> MotionModel:
    """The network with the weights of these files, each tensor moved straight to its device and dtype.

    Raises FileNotFoundError, or ValueError unless every name and shape fits.
    """
    with torch.device("meta"):
        network = MotionModel(config, text=False)
    opened = [open_weights(file) for file in files]
    fill(network, ((name, weights.read(name)) for weights in opened for name in weights.shapes), device, dtype)
    return network.eval().requires_grad_(False)


@torch.inference_mode()
def in_fp8(dit: FusedDiT, rollout_config: RolloutConfig, geometry: Geometry, limit: float = LIMIT) -> float:
    """Quantise the matrix products of a network's blocks to fp8, in place; returns the largest relative change of its
    output: for one chunk of noise with a random prompt, at every denoising time.

    Raises ValueError with the figure where it is over the limit.
    """
    before = _outputs(dit, rollout_config, geometry)
    quantise_products(dit.fused_blocks)
    after = _outputs(dit, rollout_config, geometry)
    return gate(lambda at: before[at], lambda at: after[at], [{"at": at} for at in range(len(before))], limit)


def _outputs(dit: FusedDiT, rollout_config: RolloutConfig, geometry: Geometry) -> list[Tensor]:
    """Outputs for the same random chunk at each time."""
    config, weight = dit.config, dit.reference.head.head.weight
    numbers = torch.Generator().manual_seed(0)

    def drawn(*shape: int) -> Tensor:
        return torch.randn(shape, generator=numbers).to(weight)

    chunk = drawn(1, rollout_config.chunk, config.in_channels, geometry.latent_height, geometry.latent_width)
    seen = None if config.image_dim is None else drawn(1, CLIP_TOKENS, config.image_dim)
    context = dit.text_context(drawn(1, config.text_tokens, config.text_dim), seen)
    cache = RollingCache(
        config, batch=1, tokens=geometry.tokens_per_latent, sink=0, window=1, dtype=weight.dtype, device=weight.device
    )
    times = [
        torch.full((1, rollout_config.chunk), TIMESTEPS * time, device=weight.device) for time in rollout_config.times
    ]
    return [dit(chunk, t, context, cache) for t in times]


def _vae(folder: Path, paths: PartPaths, device: torch.device, dtype: torch.dtype) -> VideoVAE:
    whole = WanVAE.load(folder / paths.vae, device, dtype)
    if device.type == "cuda":
        whole.channels_last()
    if paths.decoder is None:
        return whole
    return WithDecoder(whole.without_decoder(), TaehvDecoder.load(folder / paths.decoder, device, dtype))


def _prompts(folder: Path, paths: PartPaths, identity: str | None, device: torch.device) -> CachedEncoder:
    """The text encoder, in bfloat16, with the user's cache on disk. identity: in that cache; with it the folder need
    not be there until a prompt has to be encoded."""
    encoder = UMT5Encoder(folder / paths.text, device=_encoder_device(device), offload=True)
    identity = identity or identity_of(encoder.folder, encoder.dtype)
    return CachedEncoder(encoder, PromptCache(default_folder()), identity, encoder.max_tokens)


def _pictures(folder: Path, paths: PartPaths, config: ModelConfig, device: torch.device) -> ClipImageEncoder | None:
    if config.dit.image_dim is None:
        return None
    if paths.picture is None:
        raise ValueError(f"{folder / HEADER}: this network reads CLIP tokens; places.picture must name their encoder")
    return ClipImageEncoder(folder / paths.picture, device=_encoder_device(device), offload=True)


def _encoder_device(device: torch.device) -> torch.device:
    """Encoders run once a prompt and once a picture: on the CPU where a GPU has no room beside the network."""
    if device.type == "cuda" and torch.cuda.get_device_properties(device).total_memory < ROOMY:
        return torch.device("cpu")
    return device
