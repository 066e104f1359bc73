"""The memory of a model that streams, part by part: what it has once, and what every session adds.

Exact but for working memory and CUDA's own, which are estimates (said where they are made), and a detail network
(0.1 MiB), which is left out.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from motionstream.conditioning.track_volume import CODE_WIDTH
from motionstream.dit.config import DiTConfig
from motionstream.dit.layers import Block
from motionstream.geometry import Geometry
from motionstream.plan.external import CLIP_PARAMETERS, CLIP_TOKENS, UMT5_XXL_PARAMETERS, VAEHalf
from motionstream.plan.models import ModelSizes
from motionstream.plan.operations import HALF, tiny_decoder
from motionstream.sampling import MotionModel
from motionstream.tiny.vae import TinyVAE
from motionstream.vae import Memory

FP8, FP8_SCALE, SINGLE = 1, 4, 4
"""Bytes of an fp8 number, of the scale that each row of an fp8 matrix has, and of a float32."""
MIB, GIB = 1 << 20, 1 << 30
CUDA_BYTES = GIB
"""What the driver, cuBLAS and cuDNN take for themselves: an estimate."""
FULL_VAE_COPIES = 5
"""Of its largest layer's input that a full VAE holds at once (input, normed, padded, output, shortcut): an estimate."""

Decoder = Literal["tiny", "full"]
Owner = Literal["model", "session"]
Place = Literal["gpu", "cpu"]


@dataclass(frozen=True)
class Setup:
    """How a model is run.

    decoder: tiny or full (a model with a VAE of its own has no choice). encoders: where text and picture encoder
    compute. fp8: matrices of the DiT's blocks. size: (W, H) of a frame in pixels.
    """

    decoder: Decoder
    encoders: Place
    fp8: bool
    size: tuple[int, int]


@dataclass(frozen=True)
class Part:
    """bytes: once a model or once a session (owner), in the memory of the GPU or of the machine (place)."""

    name: str
    bytes: int
    owner: Owner = "model"
    place: Place = "gpu"


@dataclass(frozen=True)
class VAEBytes:
    """Of an encoder or a decoder. memory: what a session keeps between chunks. work: what a chunk needs meanwhile."""

    weights: int
    memory: int
    work: int


@cache
def parts(model: ModelSizes, setup: Setup) -> tuple[Part, ...]:
    """All parts of a model that is run so; none of zero bytes. Raises ValueError for an impossible frame."""
    geometry, dit, live = model.geometry(setup.size), model.network.dit, model.live
    decoder, encoder = _decoder(model, setup, geometry), _encoder(model, geometry)
    tokens = geometry.tokens_per_latent
    prompt_tokens = dit.text_tokens + (0 if dit.image_dim is None else CLIP_TOKENS)
    found = [
        Part("DiT weights", _dit_weights(model, setup.fp8)),
        *_encoders(model, setup.encoders),
        Part("VAE encoder", encoder.weights),
        Part("decoder", decoder.weights),
        Part("keys and values of the chunk at hand", key_value_bytes(dit, live.chunk * tokens)),
        Part("working memory", max(_dit_work(model, geometry), decoder.work, encoder.work)),
        Part("CUDA and its libraries", CUDA_BYTES),
        Part("keys and values of the past", key_value_bytes(dit, (live.sink + live.window) * tokens), "session"),
        Part("keys and values of the prompt", key_value_bytes(dit, prompt_tokens), "session"),
        Part("decoder's memory", decoder.memory, "session"),
        Part("encoder's memory", encoder.memory if model.network.conditioning.anchored else 0, "session"),
        Part("picture and conditioning", _conditioning(model, geometry), "session"),
    ]
    return tuple(part for part in found if part.bytes)


def key_value_bytes(dit: DiTConfig, tokens: int, number: int = HALF) -> int:
    """Of keys and values of all layers for so many tokens, in numbers of so many bytes."""
    return 2 * number * tokens * dit.width * dit.layers


def parameters(module: nn.Module) -> int:
    """How many numbers its weights are."""
    return sum(parameter.numel() for parameter in module.parameters())


@cache
def _dit_weights(model: ModelSizes, fp8: bool) -> int:
    """DiT, track head and own text encoder. fp8: the matrices of the blocks, with a scale a row."""
    with torch.device("meta"):
        network = MotionModel(model.network, text=model.full_vae is None)
    total = HALF * parameters(network)
    if not fp8:
        return total
    blocks = [part for part in network.modules() if isinstance(part, Block)]
    matrices = [part.weight for block in blocks for part in block.modules() if isinstance(part, nn.Linear)]
    return total + sum((FP8 - HALF) * matrix.numel() + FP8_SCALE * matrix.shape[0] for matrix in matrices)


def _encoders(model: ModelSizes, place: Place) -> list[Part]:
    """Text and picture encoders that are not part of the network."""
    if model.full_vae is None:
        return []
    text = Part("text encoder", HALF * UMT5_XXL_PARAMETERS, place=place)
    if model.network.dit.image_dim is None:
        return [text]
    return [text, Part("picture encoder", HALF * CLIP_PARAMETERS, place=place)]


def _conditioning(model: ModelSizes, geometry: Geometry) -> int:
    """Latents and conditioning of the window and of the chunk at hand, kept for a change of prompt."""
    conditioning, live = model.network.conditioning, model.live
    cells = geometry.latent_width * geometry.latent_height
    stride, latent = conditioning.temporal_stride, conditioning.latent_channels
    anchor = latent + stride + 1 if conditioning.anchored else 0
    channels = 2 * latent + stride + stride * CODE_WIDTH + anchor
    return HALF * ((live.window + live.chunk) * channels * cells + 2 * 3 * geometry.width * geometry.height)


def _dit_work(model: ModelSizes, geometry: Geometry) -> int:
    """Tensors alive at once within a block, counted by hand: in self-attention, or in the feed-forward."""
    dit, live = model.network.dit, model.live
    queries = live.chunk * geometry.tokens_per_latent
    keys = (live.sink + live.window + live.chunk) * geometry.tokens_per_latent
    attention = queries * dit.width * (7 * HALF + 2 * SINGLE) + keys * dit.width * 2 * HALF
    feed_forward = queries * (dit.ffn * 2 * HALF + dit.width * (2 * HALF + 2 * SINGLE))
    return max(attention, feed_forward)


def _decoder(model: ModelSizes, setup: Setup, geometry: Geometry) -> VAEBytes:
    if model.full_vae is not None and setup.decoder == "full":
        return _full(model.full_vae.decoder, geometry)
    cells = geometry.latent_height, geometry.latent_width
    with torch.device("meta"):
        vae = tiny_decoder(model).to(torch.bfloat16)
        latents = torch.empty(1, model.live.chunk, model.network.dit.out_channels, *cells, dtype=torch.bfloat16)
    return _measured(vae.decoder, lambda: vae.decode_step(latents, None)[1])


def _encoder(model: ModelSizes, geometry: Geometry) -> VAEBytes:
    if model.full_vae is not None:
        return _full(model.full_vae.encoder, geometry)
    assert not isinstance(model.vae, str)
    with torch.device("meta"):
        vae = TinyVAE(model.vae).to(torch.bfloat16)
        frames = geometry.frames(model.live.chunk)
        video = torch.empty(1, frames, 3, geometry.height, geometry.width, dtype=torch.bfloat16)
    return _measured(vae.encoder, lambda: vae.encode_step(video, None)[1])


def _full(half: VAEHalf, geometry: Geometry) -> VAEBytes:
    cells = geometry.latent_width * geometry.latent_height
    return VAEBytes(HALF * half.parameters, HALF * half.memory * cells, HALF * half.largest * cells * FULL_VAE_COPIES)


def _measured(network: nn.Module, step: Callable[[], Memory]) -> VAEBytes:
    """Of a network and a step that returns the memory it leaves, on tensors without storage."""
    with torch.no_grad(), LiveBytes() as live:
        memory = step()
    return VAEBytes(HALF * parameters(network), sum(tensor.nbytes for tensor in memory), live.peak)


class LiveBytes(TorchDispatchMode):
    """Counts the bytes of tensors made within it that are alive at once: `now`, and at most (`peak`)."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.now = self.peak = 0
        self.known: set[int] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        given = {leaf.untyped_storage()._cdata for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)}
        made = func(*args, **(kwargs or {}))
        for leaf in tree_leaves(made):
            if isinstance(leaf, Tensor) and leaf.untyped_storage()._cdata not in given | self.known:
                self._count(leaf.untyped_storage())
        return made

    def _count(self, storage: Any) -> None:
        self.known.add(storage._cdata)
        self.now += storage.nbytes()
        self.peak = max(self.peak, self.now)
        weakref.finalize(storage, self._forget, storage._cdata, storage.nbytes())

    def _forget(self, storage: int, size: int) -> None:
        self.known.discard(storage)
        self.now -= size
