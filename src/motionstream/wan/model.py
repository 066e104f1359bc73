"""A model on Wan's backbone as a folder: `model.json` and the network's weights in shards.

VAE, text encoder and picture encoder are others' work and large, so the folder names their places and does not copy
them; a place that is not absolute is seen from the folder. Wan 2.1 reads the first picture's CLIP tokens where its
network has that branch; Wan 2.2 does not.

Nothing is unpickled and nothing downloaded.
"""

from __future__ import annotations

import dataclasses
import json
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
    sha256,
    undescribed,
    write_header,
)
from motionstream.sampling import ModelConfig, MotionModel, RolloutConfig
from motionstream.stream.model import StreamingModel
from motionstream.vae import VideoVAE
from motionstream.wan.clip_image import IMAGE_ENCODER, ClipImageEncoder
from motionstream.wan.conversion import NETWORK_FILE
from motionstream.wan.prompt_cache import CachedEncoder, PromptCache, default_folder
from motionstream.wan.resident import Keep
from motionstream.wan.taehv import TaehvDecoder
from motionstream.wan.umt5 import TEXT_ENCODER, UMT5Encoder
from motionstream.wan.vae import WanVAE
from motionstream.wan.weight_files import open_stored
from motionstream.wan.weights import fill
from motionstream.wan.with_decoder import WithDecoder

LIVE = {
    "wan2.1": Live((832, 480), 16.0, chunk=3, sink=3, window=3, steps=3, shift=6.0),
    "wan2.2": Live((1280, 704), 24.0, chunk=3, sink=3, window=3, steps=3, shift=6.0),
}
"""Sizes, rates and rollout of the paper's two students (c3s1w1 in chunks of three: Section 4 and its tables; k = 6:
Section 3.1)."""
ROOMY = 22 << 30
"""Bytes of a GPU on which the text encoder (10.6 GiB) may take turns with the rest."""
CLIP_TOKENS = 257
CHANNELS_2_2 = 48
"""Of a Wan 2.2 latent; a Wan 2.1 one has 16."""


@dataclass(frozen=True)
class Places:
    """Where published parts lie.

    vae: folder of the full VAE, Diffusers' layout. text: folder with text_encoder/ and tokenizer/. picture: folder with
    image_encoder/, for a network with that branch. decoder: file of a tiny decoder; None decodes with the full VAE.
    """

    vae: str
    text: str
    picture: str | None = None
    decoder: str | None = None


def save_wan(
    folder: Path,
    name: str,
    config: ModelConfig,
    live: Live,
    places: Places,
    hashes: dict[str, str],
    origin: Any,
    fp8: bool = False,
) -> None:
    """Write `model.json` beside shards that are in the folder already.

    hashes: SHA-256 by shard. origin: where the weights come from. fp8: round products to that when it is loaded.
    Raises ValueError or FileNotFoundError that names what is missing.
    """
    missing = [shard for shard in hashes if not (folder / shard).is_file()]
    if missing or not hashes:
        raise ValueError(f"{folder}: no weights {', '.join(missing)}; convert first (`motionstream convert --help`)")
    _check_places(folder, config, places)
    more = {
        "places": dataclasses.asdict(places),
        **({"fp8": True} if fp8 else {}),
        "text_identity": UMT5Encoder(folder / places.text).identity,
        "sha256": hashes,
        "origin": origin,
    }
    write_header(folder, name, WAN, live, config, more)


def describe_converted(folder: Path, name: str, places: Places, live: Live | None = None, fp8: bool = False) -> None:
    """Make a folder that `motionstream convert` wrote a model. live: how it is run; else as `live_of_folder` says.

    Raises ValueError or FileNotFoundError where it is not such a folder or a part is missing.
    """
    header = _converted(folder)
    config, live = network_of(header, folder), live or live_of_folder(folder)
    origin = {key: value for key, value in header.items() if key not in ("format", "network", "live", "sha256")}
    save_wan(folder, name, config, live, places, header["sha256"], origin, fp8)


def live_of_folder(folder: Path) -> Live:
    """How the network of a converted folder is run: as it was trained, where that is known, else the paper's way.

    Raises FileNotFoundError or ValueError if it is no such folder.
    """
    header = _converted(folder)
    return live_of(header, folder) if "live" in header else live_like(network_of(header, folder))


def _converted(folder: Path) -> dict[str, Any]:
    file = folder / NETWORK_FILE
    if not file.is_file():
        raise FileNotFoundError(f"{file}: no such file; `motionstream convert SOURCE --to {folder}` writes it")
    try:
        header: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{file} is not JSON ({error}): convert again") from None
    return header


def live_like(config: ModelConfig) -> Live:
    """How the paper runs a backbone with latents of so many channels."""
    return LIVE["wan2.2" if config.conditioning.latent_channels == CHANNELS_2_2 else "wan2.1"]


def _check_places(folder: Path, config: ModelConfig, places: Places) -> None:
    if config.dit.image_dim is not None and places.picture is None:
        raise ValueError("this network reads CLIP tokens of the first picture: name the folder with image_encoder/")
    needed = {
        "vae": (places.vae, "config.json"),
        "text": (places.text, TEXT_ENCODER),
        "picture": (places.picture, IMAGE_ENCODER),
        "decoder": (places.decoder, ""),
    }
    for part, (place, inside) in needed.items():
        if place is not None and not _somewhere(folder / place, part, inside):
            raise FileNotFoundError(f"{part}: nothing at {folder / place / inside}; docs/wan.md says what to fetch")


def _somewhere(place: Path, part: str, inside: str) -> bool:
    """Whether a part is there; a VAE may also be its file, or below a pipeline's folder."""
    if part == "vae":
        return place.is_file() or (place / inside).is_file() or (place / "vae" / inside).is_file()
    return (place / inside).exists()


def load_wan(
    folder: Path, device: torch.device, dtype: torch.dtype, fused: bool = True, verify: bool = False
) -> StreamingModel:
    """The model in a folder, its published parts from their places.

    verify: compare the SHA-256 of every shard first, which reads them twice. Raises ValueError or FileNotFoundError
    that names what is missing, damaged or does not fit.
    """
    header = read_header(folder)
    config, live = network_of(header, folder), live_of(header, folder)
    try:
        places = Places(**header["places"])
    except (KeyError, TypeError) as error:
        raise undescribed(folder, error) from error
    shards = [folder / name for name in sorted(header["sha256"])]
    if verify:
        _verify(shards, header["sha256"])
    network = filled(config, shards, device, dtype)
    vae = _vae(folder, places, device, dtype)
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
        prompts=_prompts(folder, places, header.get("text_identity"), device),
        pictures=_pictures(folder, places, config, device),
    )


def filled(config: ModelConfig, shards: Iterable[Path], device: torch.device, dtype: torch.dtype) -> MotionModel:
    """The network with its shards' weights, each tensor straight to its device and dtype.

    Raises FileNotFoundError, or ValueError unless every name and shape fits.
    """
    with torch.device("meta"):
        network = MotionModel(config, text=False)
    stored = [open_stored(shard) for shard in shards]
    fill(network, ((name, one.read(name)) for one in stored for name in one.shapes), device, dtype)
    return network.eval().requires_grad_(False)


@torch.inference_mode()
def in_fp8(dit: FusedDiT, rollout_config: RolloutConfig, geometry: Geometry, limit: float = LIMIT) -> float:
    """Round the products of a network's blocks to fp8, in place; returns the largest relative change of its output.

    It is asked before and after: the first chunk of a stream of noise under a random prompt, at every time of a call.
    Raises ValueError with the figure where that is over the limit.
    """
    before = _answers(dit, rollout_config, geometry)
    quantise_products(dit.fused_blocks)
    after = _answers(dit, rollout_config, geometry)
    return gate(lambda at: before[at], lambda at: after[at], [{"at": at} for at in range(len(before))], limit)


def _answers(dit: FusedDiT, rollout_config: RolloutConfig, geometry: Geometry) -> list[Tensor]:
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
    return [dit(chunk, t, context, cache=cache) for t in times]


def _verify(shards: Iterable[Path], expected: dict[str, str]) -> None:
    for shard in shards:
        if not shard.is_file():
            raise ValueError(f"{shard} is missing: the model is incomplete")
        if sha256(shard) != expected[shard.name]:
            raise ValueError(f"{shard} is damaged: its SHA-256 is not the one in {HEADER}")


def _vae(folder: Path, places: Places, device: torch.device, dtype: torch.dtype) -> VideoVAE:
    whole = WanVAE.load(folder / places.vae, device, dtype)
    if device.type == "cuda":
        whole.channels_last()
    if places.decoder is None:
        return whole
    return WithDecoder(whole.without_decoder(), TaehvDecoder.load(folder / places.decoder, device, dtype))


def _prompts(folder: Path, places: Places, identity: str | None, device: torch.device) -> CachedEncoder:
    """The text encoder behind the user's cache on disk. identity: its name in that cache, if it was written down."""
    where = _encoders_on(device)
    encoder = UMT5Encoder(folder / places.text, device=where, keep=_between_uses(where), identity=identity)
    return CachedEncoder(encoder, PromptCache(default_folder()))


def _pictures(folder: Path, places: Places, config: ModelConfig, device: torch.device) -> ClipImageEncoder | None:
    if config.dit.image_dim is None:
        return None
    if places.picture is None:
        raise ValueError(f"{folder / HEADER}: this network reads CLIP tokens; places.picture must name their encoder")
    where = _encoders_on(device)
    return ClipImageEncoder(folder / places.picture, device=where, keep=_between_uses(where))


def _encoders_on(device: torch.device) -> torch.device:
    """Encoders run once a prompt and once a picture: on the CPU where a GPU has no room beside the network."""
    if device.type == "cuda" and torch.cuda.get_device_properties(device).total_memory < ROOMY:
        return torch.device("cpu")
    return device


def _between_uses(where: torch.device) -> Keep:
    return "device" if where.type == "cpu" else "cpu"
