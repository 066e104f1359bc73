"""What a stage would take on given GPUs, before one is rented: memory of each, operations a step, time.

Nothing is allocated at full size. Operations are counted by PyTorch's own counter on the meta device, over the very
passes that the stage makes. What a block keeps for its backward pass is measured on a block of the true width over a
few tokens, and is proportional to tokens; the rest follows from numbers of weights. Left out, because no shape tells
it: communication, reading of clips, fragmentation. The time is that of the operations at a rate the caller names.

Legend: T latents, S tokens of a latent, C channels, h w latent cells.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from motionstream.conditioning.track_volume import CODE_WIDTH
from motionstream.dit import ChunkMask, RollingCache, VideoDiT
from motionstream.dit.config import DiTConfig
from motionstream.geometry import chunk_spans
from motionstream.sampling import MotionModel
from motionstream.train.network import model_config
from motionstream.train.recipe import CausalInitRecipe, MotionRecipe, Recipe, SelfForcingRecipe, TeacherRecipe
from motionstream.train.wan_data import CHANNELS, geometry_of

SINGLE, HALF = 4, 2
"""Bytes of a number."""
BACKWARD = 2
"""Operations of a backward pass, in forward passes: one for inputs, one for weights."""
GATHERED_BLOCKS = 2
"""Of sharded blocks, this one and the next are whole at a time."""
GB, PETA = 1e9, 1e15
PICTURE_TOKENS = 257
"""Of CLIP: one for the picture, 16×16 for its patches."""


@dataclass(frozen=True)
class Networks:
    """How many networks a stage holds: trained, averaged, frozen."""

    trained: int
    averaged: int
    frozen: int


@dataclass(frozen=True)
class Passes:
    """Operations of one forward pass over one clip. whole: all latents see all. forced: clean and noisy copy under a
    mask. rolled: one call for each chunk of the clip, with the cache that it finds."""

    whole: float
    forced: float = 0.0
    rolled: float = 0.0


@dataclass(frozen=True)
class Kept:
    """Bytes that a clip's trained pass keeps. block: all of one block; block_input: what a recomputed one keeps;
    past: copies of the rollout's past over all layers."""

    layers: int
    block: float
    block_input: float
    past: float

    def bytes(self, recompute: bool) -> float:
        if recompute:
            return self.layers * self.block_input + self.block + self.past
        return self.layers * self.block + self.past


def dry_run(recipe: Recipe, gpus: int, tflops: float = 400.0, memory: float = 80.0) -> dict[str, Any]:
    """Figures of a stage that trains on prepared clips, as a dict that goes to JSON.

    gpus: processes. tflops: 10¹² operations a second that a GPU gives in the end (an H100's peak is 989 in bfloat16).
    memory: GB of a GPU. Raises ValueError for other stages.
    """
    if gpus < 1 or not tflops > 0 or not memory > 0:
        raise ValueError(f"--gpus {gpus}, --tflops {tflops}, --memory {memory}: all must be positive")
    if not isinstance(recipe, MotionRecipe) or recipe.data != "shards":
        raise ValueError(f"recipe {recipe.name!r} of stage {recipe.stage!r}: a dry run is for those on prepared clips")
    config = model_config(recipe.network, CHANNELS[recipe.vae])
    with torch.device("meta"):
        model = MotionModel(config, text=False)
    parts = _memory(recipe, model, gpus)
    passes = passes_of(recipe, config.dit)
    clips = recipe.batch * recipe.accumulate * gpus
    operations = clips * operations_of(recipe, passes)
    seconds = operations / gpus / (tflops * 1e12)
    total = sum(parts.values())
    other = replace(recipe, activation_checkpointing=not recipe.activation_checkpointing)
    return {
        "stage": recipe.stage,
        "recipe": recipe.name,
        "parameters": sum(p.numel() for p in model.parameters()),
        "gpus": gpus,
        "clips_a_step": clips,
        "recompute": recipe.activation_checkpointing,
        "sharded": recipe.sharded and gpus > 1,
        "memory_gb": {**{name: size / GB for name, size in parts.items()}, "total": total / GB},
        "limit_gb": memory,
        "fits": total / GB <= memory,
        f"total_gb_{'with' if other.activation_checkpointing else 'without'}_recompute": sum(
            _memory(other, model, gpus).values()
        )
        / GB,
        "forward_pflop": {name: value / PETA for name, value in vars(passes).items() if value},
        "step_pflop": operations / PETA,
        "tflops_assumed": tflops,
        "seconds_a_step": seconds,
        "steps": recipe.steps,
        "hours": recipe.steps * seconds / 3600,
    }


# Operations


def passes_of(recipe: MotionRecipe, dit: DiTConfig) -> Passes:
    """Counted on the meta device."""
    geometry = geometry_of(recipe)
    latents = geometry.latents(recipe.frames)
    with torch.device("meta"):
        model = _OnMeta(dit, kernel="sdpa").to(torch.bfloat16)
        clip = torch.empty(1, latents, dit.in_channels, geometry.latent_height, geometry.latent_width)
        clip = clip.to(torch.bfloat16)
        text = torch.empty(1, dit.text_tokens, dit.text_dim, dtype=torch.bfloat16)
        seen = None if dit.image_dim is None else torch.empty(1, PICTURE_TOKENS, dit.image_dim, dtype=torch.bfloat16)
    counter = FlopCounterMode(display=False)
    with torch.no_grad(), counter:
        model(clip, _times(clip), model.text_context(text, seen))
    whole = counter.get_total_flops()
    if isinstance(recipe, CausalInitRecipe):
        sizes = (latents, max(recipe.chunks), max(recipe.sinks), max(recipe.windows))
        mask, twice = ChunkMask.regular(*sizes, teacher_forcing=True), torch.cat([clip, clip], 1)
        counter = FlopCounterMode(display=False)
        with torch.no_grad(), counter:
            model(twice, _times(twice), model.text_context(text, seen), mask=mask)
        return Passes(whole, forced=counter.get_total_flops())
    if isinstance(recipe, SelfForcingRecipe):
        cache = RollingCache(
            dit,
            batch=1,
            tokens=geometry.tokens_per_latent,
            sink=recipe.sink,
            window=recipe.window,
            dtype=torch.bfloat16,
            device="meta",
        )
        context = model.text_context(text, seen)
        counter = FlopCounterMode(display=False)
        with torch.no_grad(), counter:
            for begin, size in chunk_spans(latents, recipe.chunk):
                part = clip[:, begin : begin + size]
                model.commit(part, _times(part), context, cache)
        return Passes(whole, rolled=counter.get_total_flops())
    return Passes(whole)


class _OnMeta(VideoDiT):
    """Without the embedding of times, some millionths of the operations: autocast knows no meta device."""

    def embed_time(self, t: Tensor) -> tuple[Tensor, Tensor]:
        time = torch.empty(*t.shape, self.config.width, device="meta")
        return time, time.unsqueeze(-2).expand(-1, -1, 6, -1)


def _times(clip: Tensor) -> Tensor:
    return torch.empty(clip.shape[:2], device="meta")


def operations_of(recipe: MotionRecipe, passes: Passes) -> float:
    """Of one clip in a step, on average over the run."""
    trained = 1 + BACKWARD + recipe.activation_checkpointing
    if isinstance(recipe, TeacherRecipe):
        return trained * passes.whole
    if isinstance(recipe, CausalInitRecipe):
        distilled = max(0, recipe.steps - recipe.diffusion_steps) / recipe.steps
        scored = _calls(recipe) + 1  # the teacher's step, and the average's guess
        return (trained + distilled * scored) * passes.forced
    assert isinstance(recipe, SelfForcingRecipe)
    # calls up to a random last one, then the clean pass if there is one
    rollout = ((recipe.denoising_steps + 1) / 2 + recipe.clean_pass) * passes.rolled
    critic = rollout + trained * passes.whole
    generator = rollout + (trained - 1) * passes.rolled + (_calls(recipe) + 1) * passes.whole
    return critic + generator / recipe.critic_ratio


def _calls(recipe: CausalInitRecipe | SelfForcingRecipe) -> int:
    """Passes of a guided score."""
    return 3 if recipe.w_t + recipe.w_m else 1


# Memory


def networks_of(recipe: MotionRecipe) -> Networks:
    if isinstance(recipe, CausalInitRecipe):
        return Networks(trained=1, averaged=2, frozen=1)
    if isinstance(recipe, SelfForcingRecipe):
        return Networks(trained=2, averaged=1, frozen=1)
    return Networks(trained=1, averaged=1, frozen=0)


def _memory(recipe: MotionRecipe, model: MotionModel, gpus: int) -> dict[str, float]:
    """Bytes on one GPU, by part."""
    networks, shards = networks_of(recipe), gpus if recipe.sharded else 1
    weights = sum(p.numel() for p in model.parameters())
    single = SINGLE * weights / shards
    half = HALF if recipe.dtype == "bfloat16" else SINGLE
    every = cast(VideoDiT, model.dit).blocks
    block = sum(p.numel() for p in every[0].parameters())
    blocks = block * len(every)
    if shards > 1:
        # gathered weights, a block's gradient before it is split and summed in float32, and what is outside the blocks
        gathered: float = (GATHERED_BLOCKS * half + half + SINGLE) * block + 2 * SINGLE * (weights - blocks)
    else:
        gathered = half * weights if recipe.dtype == "bfloat16" else 0.0  # autocast keeps what it has cast
    return {
        "trained weights": networks.trained * single,
        "gradients": networks.trained * single,
        "moments": 2 * networks.trained * single,
        "averages": networks.averaged * single,
        "frozen weights": networks.frozen * single,
        "gathered": gathered,
        "activations": recipe.batch * kept_by(recipe, model.dit.config).bytes(recipe.activation_checkpointing),
        "cache": recipe.batch * _cache(recipe, model.dit.config),
        "clips": recipe.batch * _sample(recipe, model.config.conditioning.channels),
    }


def kept_by(recipe: MotionRecipe, dit: DiTConfig) -> Kept:
    """Of the pass that keeps most: the teacher's and critic's over a clip, the causal one over both copies of it, the
    rollout's over all chunks."""
    geometry = geometry_of(recipe)
    latents = geometry.latents(recipe.frames)
    copies = 2 if isinstance(recipe, CausalInitRecipe) else 1
    tokens = copies * latents * geometry.tokens_per_latent
    half = HALF if recipe.dtype == "bfloat16" else SINGLE
    past = 0
    if isinstance(recipe, SelfForcingRecipe):
        seen = [
            min(begin, recipe.sink) + min(max(0, begin - recipe.sink), recipe.window)
            for begin, _ in chunk_spans(latents, recipe.chunk)
        ]
        past = sum(seen) * _keys_and_values(recipe, dit)
    dtype = torch.bfloat16 if recipe.dtype == "bfloat16" else torch.float32
    return Kept(dit.layers, tokens * block_bytes_a_token(dit, dtype), tokens * half * dit.width, past)


def _keys_and_values(recipe: MotionRecipe, dit: DiTConfig) -> int:
    """Bytes of one latent's, over all layers."""
    half = HALF if recipe.dtype == "bfloat16" else SINGLE
    return 2 * half * dit.layers * dit.width * geometry_of(recipe).tokens_per_latent


def _cache(recipe: MotionRecipe, dit: DiTConfig) -> int:
    if not isinstance(recipe, SelfForcingRecipe):
        return 0
    return (recipe.sink + recipe.window) * _keys_and_values(recipe, dit)


def _sample(recipe: MotionRecipe, channels: int) -> int:
    """A clip's latents and conditioning in float32, with and without tracks."""
    geometry = geometry_of(recipe)
    cells = geometry.latents(recipe.frames) * geometry.latent_height * geometry.latent_width
    controls = 1 if isinstance(recipe, TeacherRecipe) else 2
    volume = geometry.temporal_stride * CODE_WIDTH
    return SINGLE * cells * (CHANNELS[recipe.vae] + controls * (volume + channels))


@cache
def block_bytes_a_token(dit: DiTConfig, dtype: torch.dtype = torch.bfloat16) -> float:
    """What one block keeps for its backward pass, weights apart, for each token more: measured over a few tokens.

    With a fused attention kernel, which keeps no scores.
    """
    few, many = ((_kept_bytes(dit, 2, side, dtype) - _kept_bytes(dit, 1, side, dtype)) for side in (2, 4))
    return (many - few) / (4 * 4 - 2 * 2)


def _kept_bytes(dit: DiTConfig, layers: int, side: int, dtype: torch.dtype) -> int:
    """Of a pass of so many layers over side × side tokens."""
    with torch.device("meta"):
        model = VideoDiT(replace(dit, layers=layers), kernel="sdpa")
    model = model.to(dtype).to_empty(device="cpu")
    clip = torch.zeros(1, 1, dit.in_channels, side * dit.patch[1], side * dit.patch[2])
    text = torch.zeros(1, 4, dit.text_dim, dtype=dtype)
    seen = None if dit.image_dim is None else torch.zeros(1, 4, dit.image_dim, dtype=dtype)
    context = model.text_context(text, seen)
    return saved_bytes(model, lambda: model(clip, torch.zeros(1, 1), context))


def saved_bytes(module: nn.Module, run: Any) -> int:
    """Bytes that autograd keeps of `run()`, each piece of memory once, without the module's own weights."""
    own = {p.untyped_storage().data_ptr() for p in module.parameters()}
    sizes: dict[int, int] = {}
    alive: list[Tensor] = []

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            sizes[storage.data_ptr()] = storage.nbytes()
            alive.append(tensor)  # so that its place is not given to another
        return tensor

    with torch.enable_grad(), torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        output = run()
    del output
    return sum(sizes.values())
