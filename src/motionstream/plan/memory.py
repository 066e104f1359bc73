"""The memory of a model that streams, part by part: what it has once, and what every session adds.

Exact but for working memory and CUDA's own, which are estimates (said where they are made), and a detail network
(0.1 MiB), which is left out.
"""

from __future__ import annotations

import weakref
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from motionstream.conditioning.track_volume import CODE_WIDTH
from motionstream.dit.config import DiTConfig
from motionstream.dit.layers import Block
from motionstream.geometry import Geometry
from motionstream.plan.external import CLIP_PARAMETERS, CLIP_TOKENS, UMT5_XXL_PARAMETERS
from motionstream.plan.models import ModelSizes
from motionstream.sampling import MotionModel
from motionstream.tiny.vae import TinyVAE
from motionstream.wan.taehv import PUBLISHED, TaehvDecoder

FP8, HALF, SINGLE, FP8_SCALE = 1, 2, 4, 4
"""Bytes of a number in fp8, bfloat16 and float32, and of the scale that each row of an fp8 matrix has."""
MIB, GIB = 1 << 20, 1 << 30
CUDA_BYTES = GIB
"""What the driver, cuBLAS and cuDNN take for themselves: an estimate."""
FULL_VAE_COPIES = 5
"""Of its largest layer's input that a full VAE holds at once (input, normed, padded, output, shortcut): an estimate."""

Decoder = Literal["tiny", "full"]
Owner = Literal["model", "session"]
Place = Literal["gpu", "cpu"]


@dataclass(frozen=True)
class Part:
    """bytes: once a model or once a session (owner), in the memory of the GPU or of the machine (place)."""

    name: str
    bytes: int
    owner: Owner = "model"
    place: Place = "gpu"


@dataclass(frozen=True)
class Setup:
    """How a model is run. size: (W, H) of a frame in pixels. fp8: matrices of the DiT's blocks.

    encoders: where text and picture encoder compute. decoder: a model with a VAE of its own has only the tiny one.
    """

    decoder: Decoder
    encoders: Place
    fp8: bool
    size: tuple[int, int]


class VAEBytes(NamedTuple):
    """Of an encoder or a decoder. memory: what a session keeps between chunks. work: what a chunk needs meanwhile."""

    weights: int
    memory: int
    work: int


@cache
def parts(model: ModelSizes, setup: Setup) -> tuple[Part, ...]:
    """All parts of a model that is run so; none of zero bytes. Raises ValueError for an impossible frame."""
    geometry, dit, live = model.geometry(setup.size), model.network.dit, model.live
    on_wan, reads_picture = model.full_vae is not None, dit.image_dim is not None
    encoder = _vae(model, "encoder", on_wan, geometry)
    decoder = _vae(model, "decoder", on_wan and setup.decoder == "full", geometry)
    tokens, prompt_tokens = geometry.tokens_per_latent, dit.text_tokens + CLIP_TOKENS * reads_picture
    found = [
        Part("DiT weights", _dit_weights(model, setup.fp8)),
        Part("text encoder", HALF * UMT5_XXL_PARAMETERS * on_wan, place=setup.encoders),
        Part("picture encoder", HALF * CLIP_PARAMETERS * (on_wan and reads_picture), place=setup.encoders),
        Part("VAE encoder", encoder.weights),
        Part("decoder", decoder.weights),
        Part("keys and values of the chunk at hand", key_value_bytes(dit, live.chunk * tokens)),
        Part("working memory", max(_dit_work(model, geometry), decoder.work, encoder.work)),
        Part("CUDA and its libraries", CUDA_BYTES),
        Part("keys and values of the past", key_value_bytes(dit, (live.sink + live.window) * tokens), "session"),
        Part("keys and values of the prompt", key_value_bytes(dit, prompt_tokens), "session"),
        Part("decoder's memory", decoder.memory, "session"),
        Part("encoder's memory", encoder.memory * model.network.conditioning.anchored, "session"),
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
    blocks = [part for part in network.modules() if isinstance(part, Block)]
    matrices = [part.weight for block in blocks for part in block.modules() if isinstance(part, nn.Linear)]
    saved = sum((HALF - FP8) * matrix.numel() - FP8_SCALE * matrix.shape[0] for matrix in matrices)
    return HALF * parameters(network) - fp8 * saved


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


def _vae(model: ModelSizes, part: Literal["encoder", "decoder"], full: bool, geometry: Geometry) -> VAEBytes:
    """Of Wan's full VAE from its written sizes, of a tiny one measured over a chunk on tensors without storage."""
    width, height = geometry.latent_width, geometry.latent_height
    if full:
        half, cells = getattr(model.full_vae, part), width * height
        work = HALF * half.largest * cells * FULL_VAE_COPIES
        return VAEBytes(HALF * half.parameters, HALF * half.memory * cells, work)
    shape: tuple[int, ...] = model.live.chunk, model.network.dit.out_channels, height, width
    if part == "encoder":
        shape = geometry.frames(model.live.chunk), 3, geometry.height, geometry.width
    with torch.device("meta"), torch.no_grad():
        vae = tiny_vae(model).to(torch.bfloat16)
        step = vae.encode_step if part == "encoder" else vae.decode_step
        chunk = torch.empty(1, *shape, dtype=torch.bfloat16)
        with LiveBytes() as live:
            memory = step(chunk, None)[1]
    return VAEBytes(HALF * parameters(getattr(vae, part)), sum(tensor.nbytes for tensor in memory), live.peak)


def tiny_vae(model: ModelSizes) -> Any:
    """The model's own VAE, or the published tiny decoder of Wan's latents."""
    return TaehvDecoder(PUBLISHED[model.vae]) if isinstance(model.vae, str) else TinyVAE(model.vae)


class LiveBytes(TorchDispatchMode):
    """Counts the bytes of tensors made within it that are alive at once: `now`, and at most (`peak`)."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.now = self.peak = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        made = func(*args, **(kwargs or {}))
        given = _storages((args, kwargs))
        for key, storage in _storages(made).items():
            if key not in given:
                self._add(storage.nbytes())
                weakref.finalize(storage, self._add, -storage.nbytes())
        return made

    def _add(self, size: int) -> None:
        self.now += size
        self.peak = max(self.peak, self.now)


def _storages(tree: Any) -> dict[int, torch.UntypedStorage]:
    """Of all tensors in a tree, by address."""
    storages = (leaf.untyped_storage() for leaf in tree_leaves(tree) if isinstance(leaf, Tensor))
    return {storage._cdata: storage for storage in storages}
