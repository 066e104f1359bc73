"""Floating-point operations, counted by PyTorch on the meta device: nothing is allocated and no weight is needed.

The blocks of a DiT are equal, so one is counted and multiplied. A multiplication with its addition is two operations.
What embeds the timestep is left out (some millionths).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from motionstream.dit import ChunkMask, RollingCache, TextContext, VideoDiT
from motionstream.dit.config import DiTConfig
from motionstream.geometry import Geometry
from motionstream.plan.external import CLIP_TOKENS

LINEAR = {"mm", "addmm"}
"""PyTorch's operators that multiply with weights; the others are attention's."""


def dit_operations(
    dit: DiTConfig,
    geometry: Geometry,
    latents: int,
    *,
    past: int = 0,
    mask: ChunkMask | None = None,
    clip_tokens: int = CLIP_TOKENS,
) -> dict[str, int]:
    """Operations of one forward pass over so many latents: "linear" (products with weights) and "attention".

    past: latents whose keys and values are kept. mask: which latents see which; all see all without it. clip_tokens:
    of the first picture, where the DiT reads them.
    """

    def forward(model: VideoDiT, context: TextContext) -> None:
        cache, tokens = None, geometry.tokens_per_latent
        if past:
            cache = RollingCache(model.config, batch=1, tokens=tokens, sink=past, window=0, device="meta")
            cache.sink_filled = past
        x = torch.empty(1, latents, dit.in_channels, geometry.latent_height, geometry.latent_width)
        model(x, torch.empty(1), context, mask if cache is None else cache)

    return _counted(dit, clip_tokens, forward)


def prompt_operations(dit: DiTConfig, clip_tokens: int = CLIP_TOKENS) -> int:
    """Operations once a prompt (and picture): its embedding, and keys and values of every layer's cross-attention."""
    prompt = _prompt(dit, clip_tokens)
    return sum(_counted(dit, clip_tokens, lambda model, _: model.text_context(*prompt)).values())


class _MetaDiT(VideoDiT):
    """Without the embedding of times: autocast has no meta device."""

    def embed_time(self, t: Tensor) -> tuple[Tensor, Tensor]:
        width = self.config.width
        return torch.empty(1, 1, width), torch.empty(1, 1, 6, width)


def _counted(dit: DiTConfig, clip_tokens: int, run: Callable[[VideoDiT, TextContext], object]) -> dict[str, int]:
    """Operations of `run` on a DiT of this size and a prompt, from its counts with one layer and with two."""
    counts = []
    for layers in (1, 2):
        with torch.device("meta"), torch.no_grad():
            model = _MetaDiT(replace(dit, layers=layers), kernel="sdpa")
            context = model.text_context(*_prompt(dit, clip_tokens))
            with FlopCounterMode(display=False) as counter:
                run(model, context)
        by_operator = counter.get_flop_counts()["Global"]
        linear = sum(count for operator, count in by_operator.items() if operator.__name__ in LINEAR)
        counts.append({"linear": linear, "attention": counter.get_total_flops() - linear})
    one, two = counts
    return {kind: one[kind] + (dit.layers - 1) * (two[kind] - one[kind]) for kind in one}


def _prompt(dit: DiTConfig, clip_tokens: int) -> tuple[Tensor, Tensor | None]:
    picture = None if dit.image_dim is None else torch.empty(1, clip_tokens, dit.image_dim, device="meta")
    return torch.empty(1, dit.text_tokens, dit.text_dim, device="meta"), picture
