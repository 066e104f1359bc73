"""`python -m benchmarks speed optimisations`: what each optimisation of the live step gives, ablated one at a time.

A row is a pair of live streams, the model as shipped and the same with another part in one place, which take turns
(`paired.py`); a ratio over 1 says that the optimisation makes the step faster. Both sides are the same function of the
same weights up to rounding; what it does to frames stands beside it. For the embedded kind of model, on a CPU.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn

from benchmarks.speed.compiled import CompiledDiT, compile_decoder
from benchmarks.speed.paired import CPU, LiveForm, Pair, Round, figures
from motionstream.dit import VideoDiT
from motionstream.dit.attention import Kernel, attention_backend
from motionstream.dit.layers import Block
from motionstream.evaluate import machine
from motionstream.fast.dtype import dtype_for
from motionstream.fast.fuse import FusedDiT, fuse
from motionstream.fast.fuse_block import FusedBlock, constant_context, rms_norm
from motionstream.fast.modulation import BlockModulation, Modulations
from motionstream.fast.products import Product
from motionstream.fast.slots import slots_fit
from motionstream.model_folder import OWN, read_header
from motionstream.sampling import PlainStep
from motionstream.stream.model import StreamingModel
from motionstream.tiny.bundle import load_bundle
from motionstream.tiny.finisher import PhotoFinisher
from motionstream.zoo import folder_of

ROUNDS, STEPS = 12, 3

Over = Callable[[Iterable[int]], Iterable[int]]


class NotHere(Exception):
    """An optimisation that this model, or this machine, does not use: there is nothing to ablate."""


@dataclass(frozen=True)
class Shipped:
    """A model's folder and the dtype it runs in. Every `load` is a model of its own; `model` is shared."""

    folder: Path
    dtype: torch.dtype

    def load(self, dtype: torch.dtype | None = None, fused: bool = True) -> StreamingModel:
        """The model anew. dtype: another one than its own."""
        return load_bundle(self.folder, CPU, dtype or self.dtype, fused)

    @cached_property
    def model(self) -> StreamingModel:
        """As it is."""
        return self.load()


@dataclass(frozen=True)
class Optimisation:
    """what: it is, and what stands in its place. without: the model that lacks it; raises NotHere where it is not used.
    layout: of what that model convolves. compiles: whether that takes a compiler, and minutes."""

    name: str
    what: str
    without: Callable[[Shipped], StreamingModel]
    layout: torch.memory_format = torch.channels_last
    compiles: bool = False


def bench_optimisations(
    model: str | Path,
    rounds: int = ROUNDS,
    steps: int = STEPS,
    over: Over = iter,
    dtype: torch.dtype | None = None,
    compiled: bool = True,
) -> dict[str, Any]:
    """What each optimisation gives, JSON-ready; `left_out` says which cannot be ablated here, and why.

    steps: counted in a turn. over: goes through the rounds (a progress bar). dtype: None, the one that is faster here.
    compiled: with the rows that take a compiler. Raises ValueError on fewer than one round or step, and on a model that
    is not of the embedded kind.
    """
    if rounds < 1 or steps < 1:
        raise ValueError(f"{rounds} rounds of {steps} steps: measure at least 1 of 1")
    shipped = shipped_of(model, dtype)
    chosen = [one for one in OPTIMISATIONS if compiled or not one.compiles]
    pairs, left_out = pairs_of(shipped, chosen)
    found = measured(pairs, rounds, steps, over)
    config = shipped.model.network.dit.config
    return {
        "rounds": rounds,
        "steps_a_turn": steps,
        "optimisations": {
            one.name: {"what": one.what, **found[one.name]} for one in OPTIMISATIONS if one.name in found
        },
        "left_out": left_out,
        "model_hash": shipped.model.hash,
        "dtype": _name(shipped.dtype),
        "attention": attention_backend(CPU, dtype=shipped.dtype, head_dim=config.head_dim),
        "size": "x".join(map(str, shipped.model.size)),
        "machine": machine.describe(),
        "date": machine.today(),
    }


def shipped_of(model: str | Path, dtype: torch.dtype | None = None) -> Shipped:
    """The model in the dtype that it runs in here. Raises ValueError on one that is not of the embedded kind."""
    folder = folder_of(model)
    if read_header(folder)["kind"] != OWN:
        raise ValueError(f"{model}: models of the embedded kind only, such as tiny; use speed gpu for others")
    return Shipped(folder, dtype or dtype_for(CPU))


def pairs_of(shipped: Shipped, optimisations: Iterable[Optimisation]) -> tuple[dict[str, Pair], dict[str, str]]:
    """Pairs of the optimisations that can be ablated here, and why the others cannot."""
    pairs, left_out = {}, {}
    for one in optimisations:
        try:
            lacking = LiveForm(one.without(shipped), one.layout)
        except NotHere as why:
            left_out[one.name] = str(why)
            continue
        pairs[one.name] = Pair(LiveForm(shipped.model), lacking)
    return pairs, left_out


def measured(pairs: Mapping[str, Pair], rounds: int, steps: int, over: Over = iter) -> dict[str, dict[str, Any]]:
    """Figures by name. In every round each pair takes its turns."""
    taken: dict[str, list[Round]] = {name: [] for name in pairs}
    for index in over(range(rounds)):
        for name, pair in pairs.items():
            taken[name].append(pair.round(index, steps))
    return {name: figures(found) for name, found in taken.items()}


def lines(found: Mapping[str, Mapping[str, Any]]) -> list[tuple[str, ...]]:
    """For people: a head and a line for each optimisation."""
    head = ("optimisation", "times", "by CPU time", "95 %", "ms without", "values off", "by at most")
    return [head, *((name, *_cells(row)) for name, row in found.items())]


def _cells(row: Mapping[str, Any]) -> tuple[str, ...]:
    process = row["times_process"]
    return (
        f"{row['times']['median']:.3f}",
        f"{process['median']:.3f}",
        f"{process['low']:.3f}–{process['high']:.3f}",
        f"{row['without_ms']:.1f}",
        f"{row['difference']['share']:.2%}",
        str(row["difference"]["max"]),
    )


def plain_transformer(shipped: Shipped) -> StreamingModel:
    return shipped.load(fused=False)


def compiled_transformer(shipped: Shipped) -> StreamingModel:
    """Raises NotHere without a compiler, and where the past cannot be in fixed slots."""
    _check_compiler()
    model = shipped.load(fused=False)
    _check_slots(model)
    model.network.dit = CompiledDiT(cast(VideoDiT, model.network.dit))
    return model


def compiled_decoder(shipped: Shipped) -> StreamingModel:
    """Raises NotHere without a compiler."""
    _check_compiler()
    return compile_decoder(shipped.load())


def other_dtype(shipped: Shipped) -> StreamingModel:
    return shipped.load(torch.float32 if shipped.dtype != torch.float32 else torch.bfloat16)


def other_attention(shipped: Shipped) -> StreamingModel:
    """Products and a softmax where PyTorch's fused attention is shipped, and the reverse."""
    model = shipped.load()
    transformer = fused_of(model)
    backend = attention_backend(CPU, transformer.kernel, shipped.dtype, transformer.config.head_dim)
    other: Kernel = "matmul" if backend == "sdpa" else "sdpa"
    transformer.reference.kernel = other
    transformer.fused_blocks = [FusedBlock(block, other) for block in blocks_of(transformer)]
    return model


def rolling_cache(shipped: Shipped) -> StreamingModel:
    """Raises NotHere where the window is longer than a chunk."""
    model = shipped.load()
    _check_slots(model)
    model.chunk_step = PlainStep(model.network, model.rollout_config, model.geometry.token_grid)
    return model


def fresh_modulation(shipped: Shipped) -> StreamingModel:
    return _with_transformer(shipped, FreshModulation)


def unfolded_modulation(shipped: Shipped) -> StreamingModel:
    return _with_transformer(shipped, UnfoldedModulation)


def three_products(shipped: Shipped) -> StreamingModel:
    model = shipped.load()
    transformer = fused_of(model)
    transformer.fused_blocks = [ThreeProducts(block, transformer.kernel) for block in blocks_of(transformer)]
    return model


def full_cross_attention(shipped: Shipped) -> StreamingModel:
    """Raises NotHere where cross-attention is not a constant."""
    model = shipped.load()
    transformer = fused_of(model)
    plain = transformer.reference.text_context(_empty_prompt(model))
    if transformer.prompted or constant_context(transformer.fused_blocks, plain) is plain:
        raise NotHere("the cross-attention of this network is not a constant")
    model.network.dit = fuse(transformer.reference)
    return model


def unpacked_products(shipped: Shipped) -> StreamingModel:
    """Raises NotHere where this PyTorch packs none."""
    model = shipped.load()
    products = products_of(fused_of(model))
    if products[0].packed is None:
        raise NotHere("this PyTorch packs no weights")
    for product in products:
        product.packed = None
    return model


def channels_first(shipped: Shipped) -> StreamingModel:
    model = shipped.load()
    for part in (model.vae, cast(PhotoFinisher, model.finisher).detail):
        if isinstance(part, nn.Module):
            part.to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]
    return model


class FreshModulation(FusedDiT):
    """Computes modulations at every pass."""

    def _modulations_at(self, t: Tensor) -> Modulations:
        return Modulations(self.reference, t)


class UnfoldedModulation(FusedDiT):
    """Applies scale and shift after the norms, in float32."""

    def _modulations_at(self, t: Tensor) -> Modulations:
        found = super()._modulations_at(t)
        if found.head.shared:
            time, projected = self.reference.embed_time(t)
            dtype = self.reference.head.head.weight.dtype
            found.blocks = [BlockModulation(block, projected, False, dtype) for block in blocks_of(self)]
            found.head = type(found).of_head(self.reference.head, time, False, dtype)
        return found


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


def fused_of(model: StreamingModel) -> FusedDiT:
    """Its transformer, if it is a fused one."""
    assert isinstance(model.network.dit, FusedDiT)
    return model.network.dit


def blocks_of(transformer: FusedDiT) -> list[Block]:
    """The blocks that the fused ones were made of."""
    return [cast(Block, block) for block in transformer.reference.blocks]


def products_of(transformer: FusedDiT) -> list[Product]:
    """All whose weights may be packed."""
    parts = [part for block in transformer.fused_blocks for part in vars(block).values()]
    return [part for part in (transformer.patch, *parts) if isinstance(part, Product)]


def _with_transformer(shipped: Shipped, kind: type[FusedDiT]) -> StreamingModel:
    """The model with another kind of fused transformer."""
    model = shipped.load()
    transformer = fused_of(model)
    model.network.dit = kind(transformer.reference, None, transformer.prompted)
    return model


def _empty_prompt(model: StreamingModel) -> Tensor:
    assert model.network.text is not None
    text: Tensor = model.network.text([""]).to(model.dtype)
    return text


def _check_slots(model: StreamingModel) -> None:
    chunk, window = model.rollout_config.chunk, model.rollout_config.window
    if not slots_fit(chunk, window):
        raise NotHere(f"a window of {window} latents is longer than a chunk of {chunk}")


def _check_compiler() -> None:
    if shutil.which(os.environ.get("CXX", "g++")) is None:
        raise NotHere("torch.compile needs a C++ compiler")


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


OPTIMISATIONS = (
    Optimisation("fused transformer", "FusedDiT as a whole; without: VideoDiT as it is trained", plain_transformer),
    Optimisation(
        "fused transformer over torch.compile",
        "FusedDiT as a whole; instead: VideoDiT compiled as one graph",
        compiled_transformer,
        compiles=True,
    ),
    Optimisation(
        "eager decoder and detail over torch.compile",
        "both networks as they are; instead: compiled. Under 1, compiled is the faster",
        compiled_decoder,
        compiles=True,
    ),
    Optimisation("number format", "bfloat16 or float32, whichever the CPU has; without: the other", other_dtype),
    Optimisation("attention", "PyTorch's fused attention or products, as chosen; without: the other", other_attention),
    Optimisation("fixed slots", "a past that is turned once; without: a RollingCache", rolling_cache),
    Optimisation("kept modulation", "computed once a timestep; without: at every pass", fresh_modulation),
    Optimisation("folded modulation", "scale and shift are the norm's own; without: after it", unfolded_modulation),
    Optimisation("joined QKV", "queries, keys and values in one product; without: in three", three_products),
    Optimisation("constant cross-attention", "for a network without prompts; without: attention", full_cross_attention),
    Optimisation("packed products", "weights in oneDNN's order; without: F.linear, then GELU", unpacked_products),
    Optimisation(
        "channels last", "convolutions of VAE and detail network; without: channels first", channels_first,
        layout=torch.contiguous_format,
    ),
)  # fmt: skip
"""All that can be ablated in one process, in the order of the table."""
