"""What a training stage would take on given GPUs, before one is rented: memory of each, operations a step, time.

Nothing is allocated at full size. What a block keeps for its backward pass is measured on a block of the true width
over a few tokens, and is proportional to tokens; the rest follows from numbers of weights. Left out, because no shape
tells it: communication, reading of clips, fragmentation. The time is that of the operations at a rate the caller names.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import cache
from typing import Any, cast

import torch
from torch import Tensor, nn

from motionstream.conditioning.track_volume import CODE_WIDTH
from motionstream.dit import ChunkMask, VideoDiT
from motionstream.dit.config import DiTConfig
from motionstream.geometry import chunk_spans
from motionstream.plan.external import CLIP_TOKENS
from motionstream.plan.memory import HALF, SINGLE, key_value_bytes, parameters
from motionstream.plan.operations import dit_operations, prompt_operations
from motionstream.sampling import MotionModel
from motionstream.train.network import model_config
from motionstream.train.recipe import CausalInitRecipe, MotionRecipe, Recipe, SelfForcingRecipe, TeacherRecipe
from motionstream.train.wan_data import CHANNELS, geometry_of

BACKWARD = 2
"""Operations of a backward pass, in forward passes: one for inputs, one for weights."""
GATHERED_BLOCKS = 2
"""Of sharded blocks, this one and the next are whole at a time."""
GB, PETA = 1e9, 1e15


def dry_run(recipe: Recipe, gpus: int, tflops: float = 400.0, memory: float = 80.0) -> dict[str, Any]:
    """Figures of a stage that trains on prepared clips, as a dict that goes to JSON.

    gpus: processes. tflops: 10¹² operations a second that a GPU gives in the end (an H100's peak is 989 in bfloat16).
    memory: GB of a GPU. Raises ValueError for other stages.
    """
    if gpus < 1 or not tflops > 0 or not memory > 0:
        raise ValueError(f"--gpus {gpus}, --tflops {tflops}, --memory {memory}: all must be positive")
    if not isinstance(recipe, MotionRecipe) or recipe.data != "shards":
        raise ValueError(
            f"recipe {recipe.name!r}, stage {recipe.stage!r}: only stages on clips of `data encode` have a dry run"
        )
    config = model_config(recipe.network, CHANNELS[recipe.vae])
    with torch.device("meta"):
        model = MotionModel(config, text=False)
    passes, memory_by_part = passes_of(recipe, config.dit), _memory(recipe, model, gpus)
    clips, total = recipe.batch * recipe.accumulate * gpus, sum(memory_by_part.values())
    operations = clips * operations_of(recipe, passes)
    seconds = operations / gpus / (tflops * 1e12)
    other = replace(recipe, activation_checkpointing=not recipe.activation_checkpointing)
    other_total = sum(_memory(other, model, gpus).values())
    return {
        "stage": recipe.stage,
        "recipe": recipe.name,
        "parameters": parameters(model),
        "gpus": gpus,
        "clips_a_step": clips,
        "recompute": recipe.activation_checkpointing,
        "sharded": recipe.sharded and gpus > 1,
        "memory_gb": {**{name: size / GB for name, size in memory_by_part.items()}, "total": total / GB},
        "limit_gb": memory,
        "fits": total / GB <= memory,
        f"total_gb_{'with' if other.activation_checkpointing else 'without'}_recompute": other_total / GB,
        "forward_pflop": {name: value / PETA for name, value in passes.items()},
        "step_pflop": operations / PETA,
        "tflops_assumed": tflops,
        "seconds_a_step": seconds,
        "steps": recipe.steps,
        "hours": recipe.steps * seconds / 3600,
    }


def passes_of(recipe: MotionRecipe, dit: DiTConfig, clip_tokens: int = CLIP_TOKENS) -> dict[str, float]:
    """Operations of one forward pass over one clip, by its kind, counted on the meta device.

    whole: all latents see all. forced: clean and noisy copy under a mask (teacher forcing). Both with the prompt's keys
    and values. rolled: one call for each chunk, with the cache that it finds; the prompt's are made before.
    clip_tokens: of the first picture, where the DiT reads them.
    """
    geometry = geometry_of(recipe)
    latents, prompt = geometry.latents(recipe.frames), prompt_operations(dit, clip_tokens)

    def counted(latents: int, past: int = 0, mask: ChunkMask | None = None) -> int:
        return sum(dit_operations(dit, geometry, latents, past=past, mask=mask, clip_tokens=clip_tokens).values())

    passes: dict[str, float] = {"whole": prompt + counted(latents)}
    if isinstance(recipe, CausalInitRecipe):
        sizes = latents, max(recipe.chunks), max(recipe.sinks), max(recipe.windows)
        passes["forced"] = prompt + counted(2 * latents, mask=ChunkMask.regular(*sizes, teacher_forcing=True))
    if isinstance(recipe, SelfForcingRecipe):
        passes["rolled"] = sum(counted(size, past) for size, past in past_latents(recipe))
    return passes


def past_latents(recipe: SelfForcingRecipe) -> list[tuple[int, int]]:
    """(latents of the chunk, latents of sink and window that it sees) of each chunk of a clip."""
    sink, window = recipe.sink, recipe.window
    spans = chunk_spans(geometry_of(recipe).latents(recipe.frames), recipe.chunk)
    return [(size, min(begin, sink) + min(max(0, begin - sink), window)) for begin, size in spans]


def operations_of(recipe: MotionRecipe, passes: Mapping[str, float]) -> float:
    """Of one clip in a step, on average over the run."""
    trained = 1 + BACKWARD + recipe.activation_checkpointing
    if isinstance(recipe, TeacherRecipe):
        return trained * passes["whole"]
    if isinstance(recipe, CausalInitRecipe):
        distilled = max(0, recipe.steps - recipe.diffusion_steps) / recipe.steps
        scored = _calls(recipe) + 1  # the teacher's step, and the average's guess
        return (trained + distilled * scored) * passes["forced"]
    assert isinstance(recipe, SelfForcingRecipe)
    # calls up to a random last one, then the clean pass if there is one
    rollout = ((recipe.denoising_steps + 1) / 2 + recipe.clean_pass) * passes["rolled"]
    critic = rollout + trained * passes["whole"]
    generator = rollout + (trained - 1) * passes["rolled"] + (_calls(recipe) + 1) * passes["whole"]
    return critic + generator / recipe.critic_ratio


def _calls(recipe: CausalInitRecipe | SelfForcingRecipe) -> int:
    """Passes of a guided score."""
    return 3 if recipe.w_t + recipe.w_m else 1


def _memory(recipe: MotionRecipe, model: MotionModel, gpus: int) -> dict[str, float]:
    """Bytes on one GPU, by part."""
    trained, averaged, frozen = 1, 1, 0  # networks
    past = 0  # tokens in the rollout's cache
    geometry = geometry_of(recipe)
    if isinstance(recipe, CausalInitRecipe):
        trained, averaged, frozen = 1, 2, 1
    elif isinstance(recipe, SelfForcingRecipe):
        trained, averaged, frozen = 2, 1, 1
        past = (recipe.sink + recipe.window) * geometry.tokens_per_latent
    dit, pieces = model.dit.config, gpus if recipe.sharded else 1
    weights = SINGLE * parameters(model) / pieces
    # latents and conditioning in float32, with and without tracks
    cells = geometry.latents(recipe.frames) * geometry.latent_height * geometry.latent_width
    controls = 1 if isinstance(recipe, TeacherRecipe) else 2
    channels = geometry.temporal_stride * CODE_WIDTH + model.config.conditioning.channels
    return {
        "trained weights": trained * weights,
        "gradients": trained * weights,
        "moments": 2 * trained * weights,
        "averages": averaged * weights,
        "frozen weights": frozen * weights,
        "gathered": _gathered(recipe, model, pieces),
        "activations": recipe.batch * activation_bytes(recipe, dit),
        "cache": recipe.batch * key_value_bytes(dit, past, _dtype(recipe).itemsize),
        "clips": recipe.batch * SINGLE * cells * (CHANNELS[recipe.vae] + controls * channels),
    }


def _gathered(recipe: MotionRecipe, model: MotionModel, pieces: int) -> float:
    """Whole weights beside the sharded ones: of two blocks, a block's gradient before it is split and summed in
    float32, and what is outside the blocks. Where nothing is sharded, the copies that autocast keeps."""
    weights, blocks, number = parameters(model), cast(VideoDiT, model.dit).blocks, _dtype(recipe).itemsize
    if pieces == 1:
        return HALF * weights if recipe.dtype == "bfloat16" else 0.0
    block = parameters(blocks[0])
    outside = weights - block * len(blocks)
    return (GATHERED_BLOCKS * number + number + SINGLE) * block + 2 * SINGLE * outside


def activation_bytes(recipe: MotionRecipe, dit: DiTConfig) -> float:
    """What a clip's trained pass keeps for its backward pass: all of every block, or of each its input and all of one.

    Of the pass that keeps most: the teacher's and critic's over a clip, the causal one over both copies of it, the
    rollout's over all chunks, which also keeps copies of the keys and values that each chunk saw.
    """
    geometry, dtype = geometry_of(recipe), _dtype(recipe)
    copies = 2 if isinstance(recipe, CausalInitRecipe) else 1
    tokens = copies * geometry.latents(recipe.frames) * geometry.tokens_per_latent
    past = 0
    if isinstance(recipe, SelfForcingRecipe):
        seen = sum(past for _, past in past_latents(recipe))
        past = key_value_bytes(dit, seen * geometry.tokens_per_latent, dtype.itemsize)
    block = tokens * block_bytes_a_token(dit, dtype)
    if recipe.activation_checkpointing:
        return dit.layers * tokens * dit.width * dtype.itemsize + block + past
    return dit.layers * block + past


def _dtype(recipe: MotionRecipe) -> torch.dtype:
    """That a pass computes with."""
    return torch.bfloat16 if recipe.dtype == "bfloat16" else torch.float32


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
    picture = None if dit.image_dim is None else torch.zeros(1, 4, dit.image_dim, dtype=dtype)
    context = model.text_context(text, picture)
    return saved_bytes(model, lambda: model(clip, torch.zeros(1, 1), context))


def saved_bytes(module: nn.Module, run: Callable[[], object]) -> int:
    """Bytes that autograd keeps of `run()`, each piece of memory once, without the module's own weights."""
    kept: dict[int, torch.UntypedStorage] = {}  # by address; kept alive, so that none is given to another

    def keep(tensor: Tensor) -> Tensor:
        kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage()
        return tensor

    with torch.enable_grad(), torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        run()
    own = {parameter.untyped_storage().data_ptr() for parameter in module.parameters()}
    return sum(storage.nbytes() for address, storage in kept.items() if address not in own)
