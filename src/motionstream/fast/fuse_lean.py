"""The fused pass over fixed slots with its elementwise work joined too: what a GPU runs.

There products are so fast that passes over memory in between cost as much. Here every branch's addition, the norm that
follows and its modulation are one pass, and so are the norm and rotation of queries and keys, which write keys and
values straight into their slots (`kernels`). Same weights and products as the fused blocks.

Legend: B batch, T latents, S tokens of a latent, W width, H heads, D channels of a head.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import torch.nn.functional as F
from torch import Tensor

from motionstream.dit.attention import attend
from motionstream.dit.layers import Block, LayerContext, cross_attend
from motionstream.fast.fuse_block import FusedBlock, Said, Unheard, rms_weight
from motionstream.fast.fuse_past import SlotPast
from motionstream.fast.kernels import FusedOps


class Steered(Protocol):
    """The raw modulation of one norm and of the branch after it: float32, (W,) or (B, T or 1, W); scale around 0."""

    @property
    def raw(self) -> tuple[Tensor, Tensor, Tensor | None]: ...


class SteeredBlock(Protocol):
    """Both of a block."""

    @property
    def attention(self) -> Steered: ...
    @property
    def ffn(self) -> Steered: ...


class LeanBlock:
    """One block's branches; additions and norms are between them (`lean_pass`)."""

    def __init__(self, block: Block, fused: FusedBlock, ops: FusedOps) -> None:
        attention, cross = block.self_attn, block.cross_attn
        self.fused, self.ops, self.eps, self.heads = fused, ops, fused.eps, fused.heads
        dtype = attention.q.weight.dtype
        norms = attention.norm_q, attention.norm_k, cross.norm_q
        self.norm_q, self.norm_k, self.norm_cross = (rms_weight(norm).to(dtype) for norm in norms)
        self.cross_weight, self.cross_bias = fused.cross_norm.weight.detach(), fused.cross_norm.bias.detach()

    def self_attend(self, h: Tensor, past: SlotPast, layer: int, commit: bool) -> Tensor:
        """Self-attention of the chunk over its slots and itself; with commit, it is then kept there."""
        qkv = self.fused.qkv(h)
        end = past.filled + past.latents
        q = self._store(qkv, past, layer, past.filled, past.latents)
        keys, values = (slots[layer, :, :end].flatten(1, 2) for slots in (past.cache.keys, past.cache.values))
        out = attend(q.flatten(1, 2), keys, values, kernel=self.fused.kernel)
        window = past.cache.window
        if commit and window and past.cache.replaces(past.latents):
            self._store(qkv[:, past.latents - window :], past, layer, past.cache.sink, window)
        branch: Tensor = self.fused.out(out.reshape(h.shape))
        return branch

    def cross(self, h: Tensor, context: LayerContext, bias: Tensor | None) -> Tensor:
        """What the chunk hears of the prompt."""
        q = self.fused.cross_q(h)
        q = F.rms_norm(q, q.shape[-1:], self.norm_cross, self.eps).unflatten(-1, (self.heads, -1)).flatten(1, 2)
        branch: Tensor = self.fused.cross_out(cross_attend(q, context, self.fused.kernel, bias).reshape(h.shape))
        return branch

    def _store(self, qkv: Tensor, past: SlotPast, layer: int, begin: int, latents: int) -> Tensor:
        """Put keys and values into slots [begin, begin + latents), turned for them; returns queries turned alike."""
        cache, slots = past.cache, slice(begin, begin + latents)
        cos, sin = cache.table(begin, latents)
        keys, values = cache.keys[layer, :, slots], cache.values[layer, :, slots]
        return self.ops.norm_rope_store(qkv, self.norm_q, self.norm_k, cos, sin, keys, values, self.eps)


def lean_pass(
    blocks: Sequence[LeanBlock],
    x: Tensor,
    steers: Sequence[SteeredBlock],
    head: Steered,
    past: SlotPast,
    heard: tuple[Sequence[Said | Unheard | LayerContext], Tensor | None],
    commit: bool,
) -> Tensor:
    """Tokens (B, T, S, W) through all blocks and the head's norm."""
    ops, eps = blocks[0].ops, blocks[0].eps
    shift, scale, _ = steers[0].attention.raw
    h = ops.norm_modulate(x, shift, scale, eps)
    for layer, (block, by) in enumerate(zip(blocks, steers, strict=True)):
        context = heard[0][layer]
        assert not isinstance(context, Said | Unheard)  # merged prompts are for blocks that add for themselves
        x, h = ops.add_gated_norm(
            x, block.self_attend(h, past, layer, commit), _gate(by.attention), block.cross_weight, block.cross_bias, eps
        )
        shift, scale, _ = by.ffn.raw
        x, h = ops.add_norm_modulate(x, block.cross(h, context, heard[1]), shift, scale, eps)
        shift, scale, _ = (steers[layer + 1].attention if layer + 1 < len(blocks) else head).raw
        x, h = ops.add_gated_norm_modulate(x, block.fused.ffn(h), _gate(by.ffn), shift, scale, eps)
    return h


def _gate(steered: Steered) -> Tensor:
    gate = steered.raw[2]
    assert gate is not None
    return gate
