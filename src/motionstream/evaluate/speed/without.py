"""A model of our own without one of its tricks: what `bench tricks` times beside it as shipped.

Nothing of this is in the fast path. A trick is taken away by putting another part in its place: a block, a step, or a
fused transformer that forgets what it would have kept. Each is the same function of the same weights, up to rounding,
unless `Trick.same_picture` says that it is not.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import cast

import torch
from torch import Tensor

from motionstream.dit import RollingCache, TextContext, VideoDiT
from motionstream.dit.attention import Kernel, attention_backend
from motionstream.dit.layers import Block
from motionstream.fast.fuse import FusedDiT, Heard, Steer, fuse
from motionstream.fast.fuse_block import FusedBlock, Said, rms_norm
from motionstream.fast.fuse_past import Past, SlotPast
from motionstream.fast.products import Product
from motionstream.fast.slots import slots_fit
from motionstream.sampling import PlainStep
from motionstream.stream.model import StreamingModel
from motionstream.tiny import vae as tiny
from motionstream.tiny.bundle import load_bundle

CPU = torch.device("cpu")
NARROWER = 4
"""Heads of the network with narrow ones, for each wide one."""


class NotHere(Exception):
    """A trick that this model, or this machine, does not use: there is nothing to take away."""


@dataclass(frozen=True)
class Subject:
    """A model's folder and the dtype it runs in here. Every `load` is a model of its own; `base` is shared."""

    folder: Path
    dtype: torch.dtype

    def load(self, dtype: torch.dtype | None = None, fused: bool = True) -> StreamingModel:
        """The model anew. dtype: another one than its own."""
        return load_bundle(self.folder, CPU, dtype or self.dtype, fused)

    @cached_property
    def shipped(self) -> StreamingModel:
        """As it is."""
        return self.load()

    @cached_property
    def in_float32(self) -> StreamingModel:
        """As it is where float32 is the faster."""
        return self.shipped if self.dtype == torch.float32 else self.load(torch.float32)


@dataclass(frozen=True)
class Trick:
    """One trick. what: it is, and what stands in its place. without: the model that lacks it.

    in_float32: it is one of that dtype alone, so both sides are in it. layout: of what the model without it convolves.
    same_picture: whether that shows the same frames, up to rounding.
    """

    name: str
    what: str
    without: Callable[[Subject], StreamingModel]
    in_float32: bool = False
    same_picture: bool = True
    layout: torch.memory_format = torch.channels_last

    def base(self, subject: Subject) -> StreamingModel:
        """The model with it."""
        return subject.in_float32 if self.in_float32 else subject.shipped


@contextmanager
def laid_out(layout: torch.memory_format) -> Iterator[None]:
    """Meanwhile what the VAE and the detail network convolve lies in memory like this."""
    before, tiny.LAYOUT = tiny.LAYOUT, layout
    try:
        yield
    finally:
        tiny.LAYOUT = before


def plain_transformer(subject: Subject) -> StreamingModel:
    return subject.load(fused=False)


def other_dtype(subject: Subject) -> StreamingModel:
    return subject.load(torch.float32 if subject.dtype != torch.float32 else torch.bfloat16)


def fused_attention(subject: Subject) -> StreamingModel:
    """Raises NotHere where PyTorch's own is what is shipped."""
    model = subject.load()
    transformer = fused_of(model)
    backend = attention_backend(CPU, transformer.kernel, subject.dtype, transformer.config.head_dim)
    if backend == "sdpa" and not any(block.bounded for block in transformer.fused_blocks):
        raise NotHere(f"in {_name(subject.dtype)} PyTorch's own attention is what this machine runs")
    return _with_attention(model, "sdpa")


def whole_softmax(subject: Subject) -> StreamingModel:
    """Raises NotHere where no layer's scores are bounded."""
    model = subject.load(torch.float32)
    if not any(block.bounded for block in fused_of(model).fused_blocks):
        raise NotHere("the norms' weights do not bound any layer's scores")
    return _with_attention(model, "matmul")


def rejoined_past(subject: Subject) -> StreamingModel:
    return _with_transformer(subject, RejoinedPast)


def fixed_slots(subject: Subject) -> StreamingModel:
    """Raises NotHere where the window is longer than a chunk."""
    model = subject.load()
    if not slots_fit(model.rollout_config.chunk, model.rollout_config.window):
        raise NotHere(
            f"a window of {model.rollout_config.window} latents is longer than a chunk of {model.rollout_config.chunk}"
        )
    model.chunk_step = SlottedStep(model.network, model.rollout_config, model.geometry.token_grid)
    return model


def clean_pass(subject: Subject) -> StreamingModel:
    """Raises NotHere where the model has one."""
    model = subject.load()
    if model.rollout_config.clean_pass:
        raise NotHere("this model passes clean chunks through its network, as the paper does")
    model.rollout_config = replace(model.rollout_config, clean_pass=True)
    return model


def whole_commit(subject: Subject) -> StreamingModel:
    """Raises NotHere where no pass commits and does nothing else."""
    model = _with_transformer(subject, WholeCommit)
    if not model.rollout_config.clean_pass:
        raise NotHere("this model has no clean pass that could be shorter")
    return model


def fresh_modulation(subject: Subject) -> StreamingModel:
    return _with_transformer(subject, FreshModulation)


def apart_modulation(subject: Subject) -> StreamingModel:
    return _with_transformer(subject, ApartModulation)


def three_products(subject: Subject) -> StreamingModel:
    model = subject.load()
    transformer = fused_of(model)
    transformer.fused_blocks = [ThreeProducts(block, transformer.kernel) for block in blocks_of(transformer)]
    return model


def heard_silence(subject: Subject) -> StreamingModel:
    """Raises NotHere where the network is told the prompt."""
    model = subject.load()
    if model.prompted:
        raise NotHere("this network is told the prompt")
    model.network.dit = fuse(fused_of(model).reference)
    return model


def heard_prompt(subject: Subject) -> StreamingModel:
    """Raises NotHere where folding a prompt is more work than it saves, or there is none."""
    model = _with_transformer(subject, HeardPrompt)
    if not model.prompted:
        raise NotHere("this network is not told the prompt")
    transformer, context = fused_of(model), model.context("")
    pairs = zip(transformer.fused_blocks, context.layers, strict=True)
    if context.bias is not None or not any(Said.pays(block, layer) for block, layer in pairs):
        raise NotHere("heads x text tokens are more than the model is wide, so its prompts are not folded")
    return model


def unpacked_products(subject: Subject) -> StreamingModel:
    """Raises NotHere where this PyTorch packs none."""
    model = subject.load()
    transformer = fused_of(model)
    if transformer.fused_blocks[0].out.packed is None:
        raise NotHere("this PyTorch packs no weights")
    transformer._patch.packed = None
    for block in transformer.fused_blocks:
        for part in vars(block).values():
            if isinstance(part, Product):
                part.packed = None
    return model


def channels_first(subject: Subject) -> StreamingModel:
    model = subject.load()
    for part in (model.vae, model.detail):
        if isinstance(part, torch.nn.Module):
            part.to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]
    return model


def narrow_heads(subject: Subject) -> StreamingModel:
    """The same weights read as four times as many heads, which they were not trained for.

    Raises NotHere where heads so narrow have no rotary positions.
    """
    model = subject.load(fused=False)
    wide = cast(VideoDiT, model.network.dit)
    try:
        config = replace(wide.config, heads=wide.config.heads * NARROWER)
    except ValueError as error:
        raise NotHere(str(error)) from error
    narrow = VideoDiT(config).to(subject.dtype)
    narrow.load_state_dict(wide.state_dict())
    model.network.dit = fuse(narrow.requires_grad_(False), prompted=model.prompted)
    return model


def no_detail(subject: Subject) -> StreamingModel:
    """Raises NotHere where there is none."""
    model = subject.load()
    if model.detail is None:
        raise NotHere("this model has no detail network")
    model.detail = None
    return model


class RejoinedPast(FusedDiT):
    """Joins and turns the past at every pass."""

    def _joined(self, cache: RollingCache, x: Tensor, commit: bool) -> Past | SlotPast:
        self._past = None
        return super()._joined(cache, x, commit)


class FreshModulation(FusedDiT):
    """Computes modulations at every pass; they are then folded into the norms as ever."""

    def _steer(self, t: Tensor) -> Steer:
        return Steer(self.reference, t)


class ApartModulation(FusedDiT):
    """Keeps modulations, and applies them after the norms, in float32."""

    def _steer(self, t: Tensor) -> Steer:
        key = (float(t.ndim), *t.flatten().tolist())
        if key not in self._steers:
            self._steers[key] = Steer(self.reference, t, folded=False)
        return self._steers[key]


class HeardPrompt(FusedDiT):
    """Attends to the prompt's keys and values as they are."""

    def _merged(self, context: TextContext) -> Heard:
        return list(context.layers), context.bias


class WholeCommit(FusedDiT):
    """Commits by a whole pass."""

    def commit(self, x_BTCHW: Tensor, t: Tensor, context: Tensor | TextContext, cache: RollingCache) -> None:
        self(x_BTCHW, t, context, cache=cache, commit=True)


class ThreeProducts(FusedBlock):
    """Makes queries, keys and values each by itself."""

    def __init__(self, block: Block, kernel: Kernel) -> None:
        super().__init__(block, kernel)
        attention = block.self_attn
        self.apart = [Product.of(part) for part in (attention.q, attention.k, attention.v)]

    def project(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        q, k, v = (product(x) for product in self.apart)
        q, k = (rms_norm(part, norm, self.eps).to(x.dtype) for part, norm in zip((q, k), self.norm_qk, strict=True))
        q, k, v = (part.unflatten(-1, (self.heads, -1)) for part in (q, k, v))
        return q, k, v


class SlottedStep(PlainStep):
    """Keeps a stream's past in fixed slots, as on a GPU."""

    slots = True


def fused_of(model: StreamingModel) -> FusedDiT:
    """Its transformer, if it is a fused one."""
    assert isinstance(model.network.dit, FusedDiT)
    return model.network.dit


def blocks_of(transformer: FusedDiT) -> list[Block]:
    """The blocks that the fused ones were made of."""
    return [cast(Block, block) for block in transformer.reference.blocks]


def _with_transformer(subject: Subject, kind: type[FusedDiT]) -> StreamingModel:
    """The model with another kind of fused transformer."""
    model = subject.load()
    model.network.dit = kind(fused_of(model).reference, None, model.prompted)
    return model


def _with_attention(model: StreamingModel, kernel: Kernel) -> StreamingModel:
    """The model with this attention in all blocks, whatever bounds their scores."""
    transformer = fused_of(model)
    transformer.fused_blocks = [FusedBlock(block, kernel, bounded=False) for block in blocks_of(transformer)]
    return model


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


TRICKS = (
    Trick("fused transformer", "the streaming form as a whole; without: VideoDiT as it is trained", plain_transformer),
    Trick("fastest dtype", "bfloat16 or float32, whichever multiplies faster here; without: the other", other_dtype),
    Trick("matmul attention", "products and a softmax; without: PyTorch's fused attention", fused_attention),
    Trick(
        "bounded softmax",
        "no pass for the largest score, in float32; without: the whole softmax",
        whole_softmax,
        in_float32=True,
    ),
    Trick("kept past", "the past joined and turned once a chunk; without: at every pass", rejoined_past),
    Trick(
        "no clean pass",
        "later chunks see what a chunk's last call saw; without: what a pass over the clean chunk sees",
        clean_pass,
        same_picture=False,
    ),
    Trick("short commit", "a commit ends with the last keys and values; without: a whole pass", whole_commit),
    Trick("past beside a ring", "how a CPU keeps it; instead: the fixed slots of a GPU's stream", fixed_slots),
    Trick("kept modulation", "computed once a timestep; without: at every pass", fresh_modulation),
    Trick("folded modulation", "scale and shift are the norm's own; without: applied after it", apart_modulation),
    Trick("fused QKV", "queries, keys and values in one product; without: in three", three_products),
    Trick("folded prompt", "norm and output product folded into its keys and values; without: attention", heard_prompt),
    Trick("unheard silence", 'a network not told the prompt adds a constant; without: it hears ""', heard_silence),
    Trick("packed products", "weights in oneDNN's order, GELU inside; without: F.linear, then GELU", unpacked_products),
    Trick(
        "channels last",
        "convolutions of VAE and detail network; without: channels first",
        channels_first,
        layout=torch.contiguous_format,
    ),
    Trick(
        "wide heads",
        f"without: the same width in {NARROWER} times as many heads, untrained for them",
        narrow_heads,
        same_picture=False,
    ),
    Trick("detail network", "what it costs; without: the decoded frames are shown", no_detail, same_picture=False),
)
"""All that can be switched in one process, in the order of the table."""
