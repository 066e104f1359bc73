"""Floating-point operations, counted by PyTorch on the meta device: nothing is allocated and no weight is needed.

The blocks of a DiT are equal, so one is counted and multiplied. A multiplication with its addition is two operations.
What embeds the timestep is left out (some millionths). Legend: T latents, S tokens of a latent, L text tokens.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from motionstream.dit import ChunkMask, RollingCache, TextContext, VideoDiT
from motionstream.dit.config import DiTConfig
from motionstream.geometry import Geometry, chunk_spans
from motionstream.plan.external import CLIP_TOKENS
from motionstream.plan.models import ModelSizes
from motionstream.tiny.vae import TinyVAE
from motionstream.wan.taehv import PUBLISHED, TaehvDecoder

HALF = 2
"""Bytes of a bfloat16."""
ATTENTION_PARTS = ("self_attention", "cross_attention")


@dataclass(frozen=True)
class ChunkCost:
    """Of one chunk of a live stream whose sink and window are full.

    call: operations of one pass of the DiT, by part. passes: of the DiT, denoising calls and the clean pass.
    calls: of them, those that its frames wait for. prompt: operations once a prompt. decode: of the tiny decoder.
    elementwise_bytes: moved in a call by norms, rotations, gates and activations, where each is one pass over memory.
    """

    call: Mapping[str, float]
    calls: int
    passes: int
    prompt: float
    decode: float
    elementwise_bytes: float
    frames: int

    @property
    def attention(self) -> float:
        """Operations of a call within attention."""
        return sum(self.call[part] for part in ATTENTION_PARTS)

    @property
    def linear(self) -> float:
        """Operations of a call in matrix products with weights."""
        return sum(self.call.values()) - self.attention


def chunk_cost(model: ModelSizes, size: tuple[int, int] | None = None) -> ChunkCost:
    """Of a model at frames of (W, H), the trained ones if not given."""
    live, dit, geometry = model.live, model.network.dit, model.geometry(size)
    return ChunkCost(
        call=dit_operations(dit, geometry, live.chunk, past=live.sink + live.window),
        calls=live.steps,
        passes=live.steps + live.clean_pass,
        prompt=prompt_operations(dit),
        decode=decode_operations(model, geometry),
        elementwise_bytes=elementwise_bytes(dit, live.chunk * geometry.tokens_per_latent),
        frames=live.chunk * geometry.temporal_stride,
    )


def past_latents(latents: int, chunk: int, sink: int, window: int) -> list[tuple[int, int]]:
    """(latents of the chunk, latents of sink and window that it sees) of each chunk of a clip."""
    return [(size, min(begin, sink) + min(max(0, begin - sink), window)) for begin, size in chunk_spans(latents, chunk)]


def dit_operations(
    dit: DiTConfig,
    geometry: Geometry,
    latents: int,
    *,
    past: int = 0,
    mask: ChunkMask | None = None,
    clip_tokens: int = CLIP_TOKENS,
) -> dict[str, float]:
    """Operations of one forward pass over so many latents, by part of the DiT.

    past: latents whose keys and values are kept. mask: which latents see which; all see all without it. clip_tokens:
    of the first picture, where the DiT reads them.
    """
    model, context = _one_block(dit, clip_tokens)
    with torch.device("meta"):
        x = torch.empty(1, latents, dit.in_channels, geometry.latent_height, geometry.latent_width)
        kept = None if not past else _full_cache(model.config, geometry, past)
    counter = FlopCounterMode(display=False)
    with torch.no_grad(), counter:
        model(x, torch.empty(1, device="meta"), context, kept or mask)
    found = {name: sum(by_operator.values()) for name, by_operator in counter.get_flop_counts().items()}
    root = type(model).__name__

    def of(*names: str) -> int:
        return sum(found.get(f"{root}.blocks.0.{name}", 0) for name in names)

    block = {
        "self_qkv": of("self_attn.q", "self_attn.k", "self_attn.v"),
        "self_out": of("self_attn.o"),
        "cross": of("cross_attn.q", "cross_attn.o"),
        "ffn": of("ffn"),
    }
    block["self_attention"] = of("self_attn") - block["self_qkv"] - block["self_out"]
    block["cross_attention"] = of("cross_attn") - block["cross"]
    around = counter.get_total_flops() - sum(block.values())
    return {**{part: float(dit.layers * count) for part, count in block.items()}, "around": float(around)}


def rollout_operations(
    dit: DiTConfig, geometry: Geometry, latents: int, rollout: tuple[int, int, int], clip_tokens: int = CLIP_TOKENS
) -> float:
    """One pass over every chunk of a clip, each with its past. rollout: chunk, sink, window in latents."""
    return sum(
        sum(dit_operations(dit, geometry, size, past=past, clip_tokens=clip_tokens).values())
        for size, past in past_latents(latents, *rollout)
    )


def prompt_operations(dit: DiTConfig, clip_tokens: int = CLIP_TOKENS) -> float:
    """Operations once a prompt (and picture): its embedding, and keys and values of every layer's cross-attention."""
    counts = []
    for layers in (1, 2):
        with torch.device("meta"):
            model = _MetaDiT(replace(dit, layers=layers), kernel="sdpa")
            prompt = _prompt(dit, clip_tokens)
        with torch.no_grad(), FlopCounterMode(display=False) as counter:
            model.text_context(*prompt)
        counts.append(counter.get_total_flops())
    return float(counts[0] + (dit.layers - 1) * (counts[1] - counts[0]))


def decode_operations(model: ModelSizes, geometry: Geometry) -> float:
    """Operations of the model's tiny decoder over the first chunk of a clip."""
    with torch.device("meta"):
        latents = torch.empty(
            1, model.live.chunk, model.network.dit.out_channels, geometry.latent_height, geometry.latent_width
        )
        decoder = tiny_decoder(model)
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        decoder.decode_step(latents, None)
    return float(counter.get_total_flops())


def tiny_decoder(model: ModelSizes) -> TinyVAE | TaehvDecoder:
    """The model's own VAE, or the published tiny decoder of Wan's latents."""
    return TaehvDecoder(PUBLISHED[model.vae]) if isinstance(model.vae, str) else TinyVAE(model.vae)


def elementwise_bytes(dit: DiTConfig, tokens: int) -> float:
    """Bytes of a call in half precision where each step is one pass: 18 widths and twice the inner width a token.

    Adding, gating and norming three times (read two, write two), norms and rotation of q, k and v (read and write
    three), activation (read and write the inner one).
    """
    return float(HALF * tokens * dit.layers * (18 * dit.width + 2 * dit.ffn))


class _MetaDiT(VideoDiT):
    """Without the embedding of times: autocast has no meta device."""

    def embed_time(self, t: Tensor) -> tuple[Tensor, Tensor]:
        width = self.config.width
        return torch.empty(1, 1, width, device="meta"), torch.empty(1, 1, 6, width, device="meta")


@cache
def _one_block(dit: DiTConfig, clip_tokens: int) -> tuple[VideoDiT, TextContext]:
    """The DiT with its first block alone, and a prompt."""
    with torch.device("meta"), torch.no_grad():
        model = _MetaDiT(replace(dit, layers=1), kernel="sdpa")
        return model, model.text_context(*_prompt(dit, clip_tokens))


def _prompt(dit: DiTConfig, clip_tokens: int) -> tuple[Tensor, Tensor | None]:
    picture = None if dit.image_dim is None else torch.empty(1, clip_tokens, dit.image_dim)
    return torch.empty(1, dit.text_tokens, dit.text_dim), picture


def _full_cache(dit: DiTConfig, geometry: Geometry, past: int) -> RollingCache:
    made = RollingCache(dit, batch=1, tokens=geometry.tokens_per_latent, sink=past, window=0, device="meta")
    made.sink_filled = past
    return made
