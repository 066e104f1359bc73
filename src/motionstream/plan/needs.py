"""The parts of a running model and their bytes: those it has once, and those every session has.

Legend: B sessions, T latents, C channels, h w latent cells.
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
from motionstream.dit import RollingCache
from motionstream.dit.layers import Block
from motionstream.geometry import Geometry
from motionstream.plan import others
from motionstream.plan.subject import Subject
from motionstream.sampling import MotionModel
from motionstream.tiny.vae import TinyVAE, TinyVAEConfig
from motionstream.vae import Memory
from motionstream.wan.taehv import PUBLISHED, TaehvDecoder

HALF, EIGHTH, SCALE = 2, 1, 4
"""Bytes of a bfloat16, of an fp8 number, and of the scale that each row of an fp8 weight has."""
MIB, GIB = 1 << 20, 1 << 30
CUDA_BYTES = GIB
"""What the driver, cuBLAS and cuDNN take for themselves: an estimate."""
COPIES = 5
"""Of the largest layer's input that a full VAE holds at once (input, normed, padded, output, shortcut): an estimate."""
FLOAT = 4

Decoder = Literal["tiny", "full"]
Once = Literal["model", "session"]
Place = Literal["gpu", "cpu"]


@dataclass(frozen=True)
class Choice:
    """How a model is run. decoder: tiny or full (a model of our own has its own). encoders: where UMT5 and CLIP
    compute. fp8: weights of the DiT's blocks. size: (W, H) of a frame."""

    decoder: Decoder
    encoders: Place
    fp8: bool
    size: tuple[int, int]


@dataclass(frozen=True)
class Part:
    """name: what it is. bytes: of it, once a model or once a session. place: whose memory it takes."""

    name: str
    bytes: int
    once: Once = "model"
    place: Place = "gpu"


@dataclass(frozen=True)
class Codec:
    """Bytes of half a VAE. memory: what a session keeps of it. work: what it needs while it runs."""

    weights: int
    memory: int
    work: int


@cache
def parts(subject: Subject, choice: Choice) -> tuple[Part, ...]:
    """All parts that the model has when it is run so; none of zero bytes. Raises ValueError for an impossible frame."""
    geometry = subject.geometry(choice.size)
    decoder, encoder = _decoder(subject, choice, geometry), _encoder(subject, geometry)
    slots = _slots(subject, geometry)
    found = [
        Part("DiT weights", _dit_weights(subject, choice.fp8)),
        *_encoders(subject, choice.encoders),
        Part("VAE encoder", encoder.weights),
        Part("decoder", decoder.weights),
        Part("keys and values of the chunk at hand", slots[1]),
        Part("working memory", max(_dit_work(subject, geometry), decoder.work, encoder.work)),
        Part("CUDA and its libraries", CUDA_BYTES),
        Part("keys and values of the past", slots[0], "session"),
        Part("keys and values of the prompt", _prompt(subject), "session"),
        Part("decoder's memory", decoder.memory, "session"),
        Part("encoder's memory", encoder.memory if subject.network.conditioning.anchored else 0, "session"),
        Part("picture and conditioning", _conditioning(subject, geometry), "session"),
    ]
    return tuple(part for part in found if part.bytes)


@cache
def _dit_weights(subject: Subject, fp8: bool) -> int:
    """DiT, track head and own text encoder. fp8: the matrices of the blocks, with a scale a row."""
    with torch.device("meta"):
        network = MotionModel(subject.network, text=isinstance(subject.vae, TinyVAEConfig))
    total = HALF * _count(network)
    if not fp8:
        return total
    blocks = [part for part in network.modules() if isinstance(part, Block)]
    matrices = [part.weight for block in blocks for part in block.modules() if isinstance(part, nn.Linear)]
    return total + sum((EIGHTH - HALF) * matrix.numel() + SCALE * matrix.shape[0] for matrix in matrices)


def _encoders(subject: Subject, place: Place) -> list[Part]:
    """Text and picture encoders that are not part of the network."""
    if isinstance(subject.vae, TinyVAEConfig):
        return []
    text = Part("text encoder", HALF * others.UMT5_XXL.parameters, place=place)
    if subject.network.dit.image_dim is None:
        return [text]
    return [text, Part("picture encoder", HALF * others.CLIP_VIT_H.parameters, place=place)]


def _slots(subject: Subject, geometry: Geometry) -> tuple[int, int]:
    """Self-attention's keys and values: of sink and window, a session's own; of the chunk, which sessions share."""
    live, bytes_of = subject.live, []
    for latents in (live.sink + live.window, live.chunk):
        cache = RollingCache(
            subject.network.dit,
            batch=1,
            tokens=geometry.tokens_per_latent,
            sink=0,
            window=latents,
            dtype=torch.bfloat16,
            device="meta",
        )
        bytes_of.append(cache.keys.nbytes + cache.values.nbytes)
    return bytes_of[0], bytes_of[1]


def _prompt(subject: Subject) -> int:
    """Cross-attention's keys and values, of a prompt as long as may be and of the picture."""
    dit = subject.network.dit
    tokens = dit.text_tokens + (0 if dit.image_dim is None else others.CLIP_VIT_H.tokens)
    return 2 * HALF * tokens * dit.width * dit.layers


def _conditioning(subject: Subject, geometry: Geometry) -> int:
    """Latents and conditioning of the window and of the chunk at hand, kept for a change of prompt."""
    conditioning, live = subject.network.conditioning, subject.live
    cells = geometry.latent_width * geometry.latent_height
    stride, latent = conditioning.temporal_stride, conditioning.latent_channels
    channels = 3 * latent + stride + stride * CODE_WIDTH + stride + 1
    return HALF * ((live.window + live.chunk) * channels * cells + 2 * 3 * geometry.width * geometry.height)


def _dit_work(subject: Subject, geometry: Geometry) -> int:
    """Tensors alive at once within a block, counted by hand: in self-attention, or in the feed-forward."""
    dit, live = subject.network.dit, subject.live
    here = live.chunk * geometry.tokens_per_latent
    seen = (live.sink + live.window + live.chunk) * geometry.tokens_per_latent
    attention = here * dit.width * (7 * HALF + 2 * FLOAT) + seen * dit.width * 2 * HALF
    feed_forward = here * (dit.ffn * 2 * HALF + dit.width * (2 * HALF + 2 * FLOAT))
    return max(attention, feed_forward)


def _decoder(subject: Subject, choice: Choice, geometry: Geometry) -> Codec:
    cells = geometry.latent_width * geometry.latent_height
    if isinstance(subject.vae, str) and choice.decoder == "full":
        layers = list(others.decoder(others.WAN_VAES[subject.vae]))
        return _full(layers, cells)
    with torch.device("meta"):
        own = TaehvDecoder(PUBLISHED[subject.vae]) if isinstance(subject.vae, str) else TinyVAE(subject.vae)
        vae = own.to(torch.bfloat16)
        shape = 1, subject.live.chunk, subject.network.dit.out_channels, geometry.latent_height, geometry.latent_width
        latents = torch.empty(shape, dtype=torch.bfloat16)
    memory, work = _walked(lambda: vae.decode_step(latents, None)[1])
    return Codec(HALF * _count(vae.decoder), memory, work)


def _encoder(subject: Subject, geometry: Geometry) -> Codec:
    if isinstance(subject.vae, str):
        cells = geometry.latent_width * geometry.latent_height
        return _full(list(others.encoder(others.WAN_VAES[subject.vae])), cells)
    with torch.device("meta"):
        vae = TinyVAE(subject.vae).to(torch.bfloat16)
        frames = geometry.frames(subject.live.chunk)
        video = torch.empty(1, frames, 3, geometry.height, geometry.width, dtype=torch.bfloat16)
    memory, work = _walked(lambda: vae.encode_step(video, None)[1])
    return Codec(HALF * _count(vae.encoder), memory, work)


def _full(layers: list[others.Layer], cells: int) -> Codec:
    return Codec(
        HALF * others.weights(layers),
        HALF * others.remembered(layers) * cells,
        HALF * others.largest(layers) * cells * COPIES,
    )


def _walked(step: Callable[[], Memory]) -> tuple[int, int]:
    """Bytes of the memory that a step leaves, and of all that was alive at once while it ran, on tensors without
    storage."""
    with torch.no_grad(), _Alive() as alive:
        memory = step()
    return sum(tensor.nbytes for tensor in memory), alive.most


class _Alive(TorchDispatchMode):
    """Counts the bytes of tensors made within it that are alive at once."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.now = self.most = 0
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
        self.most = max(self.most, self.now)
        weakref.finalize(storage, self._forget, storage._cdata, storage.nbytes())

    def _forget(self, storage: int, size: int) -> None:
        self.known.discard(storage)
        self.now -= size


def _count(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())
