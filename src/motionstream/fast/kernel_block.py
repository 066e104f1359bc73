"""The fused pass over fixed slots with its elementwise work done by kernels: what a GPU runs.

There products are so fast that passes over memory in between cost as much. Here every branch's addition, the norm that
follows and its modulation are one pass, and so are the norm and rotation of queries and keys, which write keys and
values straight into their slots (`kernels`). Same weights and products as the fused blocks.

Legend: B batch, T latents, S tokens of a latent, W width, H heads, D channels of a head.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor

from motionstream.dit.attention import attend
from motionstream.dit.layers import Block, LayerContext, cross_attend
from motionstream.dit.model import TextContext
from motionstream.fast.fuse_block import FusedBlock, rms_weight
from motionstream.fast.kernels import FusedOps
from motionstream.fast.modulation import Modulation, Modulations
from motionstream.fast.slots import SlotCache


class KernelBlock:
    """One block's branches; additions and norms are between them (`kernel_pass`)."""

    def __init__(self, block: Block, fused: FusedBlock, ops: FusedOps) -> None:
        attention, cross = block.self_attn, block.cross_attn
        self.fused, self.ops, self.eps, self.heads = fused, ops, fused.eps, fused.heads
        dtype = attention.q.weight.dtype
        norms = attention.norm_q, attention.norm_k, cross.norm_q
        self.norm_q, self.norm_k, self.norm_cross = (rms_weight(norm).to(dtype) for norm in norms)
        self.cross_weight, self.cross_bias = fused.cross_norm.weight.detach(), fused.cross_norm.bias.detach()

    def self_attend(self, h: Tensor, cache: SlotCache, layer: int, commit: bool) -> Tensor:
        """Self-attention of the chunk over its slots and itself; with commit, it is then kept there."""
        qkv, latents, window = self.fused.qkv(h), h.shape[1], cache.window
        q = self._store(qkv, cache, layer, cache.filled)
        end = cache.filled + latents
        keys, values = (slots[layer, :, :end].flatten(1, 2) for slots in (cache.keys, cache.values))
        out = attend(q.flatten(1, 2), keys, values, kernel=self.fused.kernel)
        if commit and window and cache.replaces(latents):
            self._store(qkv[:, latents - window :], cache, layer, cache.sink)
        return self.fused.out(out.reshape(h.shape))

    def cross(self, h: Tensor, context: LayerContext, bias: Tensor | None) -> Tensor:
        """Cross-attention of the chunk to the prompt."""
        q = self.fused.cross_q(h)
        q = F.rms_norm(q, q.shape[-1:], self.norm_cross, self.eps).unflatten(-1, (self.heads, -1)).flatten(1, 2)
        return self.fused.cross_out(cross_attend(q, context, self.fused.kernel, bias).reshape(h.shape))

    def _store(self, qkv: Tensor, cache: SlotCache, layer: int, begin: int) -> Tensor:
        """Put keys, turned for their slots, and values into those from `begin` on; returns queries turned alike."""
        latents = qkv.shape[1]
        cos, sin = cache.table(begin, latents)
        keys, values = (slots[layer, :, begin : begin + latents] for slots in (cache.keys, cache.values))
        return self.ops.norm_rope_store(qkv, self.norm_q, self.norm_k, cos, sin, keys, values, self.eps)


def kernel_pass(
    blocks: Sequence[KernelBlock],
    x: Tensor,
    modulations: Modulations,
    context: TextContext,
    cache: SlotCache,
    commit: bool,
) -> Tensor:
    """Tokens (B, T, S, W) through all blocks and the head's norm."""
    ops, eps = blocks[0].ops, blocks[0].eps
    following = [*(by.attention for by in modulations.blocks[1:]), modulations.head]
    shift, scale, _ = modulations.blocks[0].attention.raw
    h = ops.norm_modulate(x, shift, scale, eps)
    for layer, (block, by) in enumerate(zip(blocks, modulations.blocks, strict=True)):
        branch = block.self_attend(h, cache, layer, commit)
        x, h = ops.add_gated_norm(x, branch, _gate(by.attention), block.cross_weight, block.cross_bias, eps)
        shift, scale, _ = by.ffn.raw
        x, h = ops.add_norm_modulate(x, block.cross(h, context.layers[layer], context.bias), shift, scale, eps)
        shift, scale, _ = following[layer].raw
        x, h = ops.add_gated_norm_modulate(x, block.fused.ffn(h), _gate(by.ffn), shift, scale, eps)
    return h


def _gate(modulation: Modulation) -> Tensor:
    gate = modulation.raw[2]
    assert gate is not None
    return gate
