"""The cached student, faster: the same weights and the same tokens with fewer passes over memory.

Beside the reference, never instead of it: `fuse` wraps a VideoDiT for streaming without gradients and refuses the rest.
What it saves: weights are packed (`products.py`), timestep modulations are computed once a timestep and folded into
the norms (`modulation.py`), and a prompt that makes next to no difference is a constant (`fuse_block.py`). On a GPU
the elementwise work between products is done by kernels as well (`kernel_block.py`). What each is worth: docs/log.md.

Legend: B batch, T latents, S tokens of a latent, W width.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from threading import Lock
from typing import cast

import torch
from einops import rearrange
from torch import Tensor, nn

from motionstream.dit.attention import Kernel
from motionstream.dit.cache import RollingCache
from motionstream.dit.layers import Block
from motionstream.dit.model import Over, TextContext, VideoDiT
from motionstream.fast.fuse_block import ConstantContext, FusedBlock, constant_context
from motionstream.fast.kernel_block import KernelBlock, kernel_pass
from motionstream.fast.kernels import FusedOps, ops_for, triton_is_here
from motionstream.fast.modulation import Modulations
from motionstream.fast.products import Product
from motionstream.fast.slots import SlotCache

KEPT_TIMESTEPS = 32


def fuse(model: VideoDiT, ops: FusedOps | None = None, prompted: bool = True) -> FusedDiT:
    """The streaming form of a model whose weights will not change. Raises ValueError where it was not built for it.

    ops: elementwise operations for passes over a `SlotCache`; if not given, Triton's kernels where those run.
    prompted: whether the network is given prompts. If it always has the empty one, cross-attention that makes next to
    no difference becomes a constant (`constant_context`).
    """
    if not (model.config.qk_norm and model.config.cross_attn_norm):
        raise ValueError("fuse needs a model with qk_norm and cross_attn_norm: use the VideoDiT itself")
    device = model.head.head.weight.device
    if ops is None and device.type == "cuda" and triton_is_here():
        ops = ops_for(device)
    return FusedDiT(model, ops, prompted)


class FusedDiT(nn.Module):
    """Stands where a VideoDiT stands: same `forward` with a cache, same caches, same text contexts.

    Threads may share it.
    """

    def __init__(self, model: VideoDiT, ops: FusedOps | None, prompted: bool = True) -> None:
        super().__init__()
        self.reference = model.eval()
        self.config, self.prompted = model.config, prompted
        blocks = [cast(Block, block) for block in model.blocks]
        self.fused_blocks = [FusedBlock(block, model.kernel) for block in blocks]
        self.kernel_blocks: list[KernelBlock] = []
        """The same for passes over slots, if there are operations for it."""
        if ops is not None:
            pairs = zip(blocks, self.fused_blocks, strict=True)
            self.kernel_blocks = [KernelBlock(block, fused, ops) for block, fused in pairs]
        conv = model.patch_embedding
        assert conv.bias is not None
        self.patch = Product(conv.weight.flatten(1), conv.bias)
        self._modulations: OrderedDict[tuple[object, ...], Modulations] = OrderedDict()
        self._lock = Lock()

    @property
    def kernel(self) -> Kernel:
        return self.reference.kernel

    def text_context(
        self, text: Tensor, image: Tensor | None = None, lengths: Sequence[int] | None = None
    ) -> TextContext:
        """As `VideoDiT.text_context`; with constants where the network is not prompted."""
        context = self.reference.text_context(text, image, lengths)
        return context if self.prompted else constant_context(self.fused_blocks, context)

    def constants(self) -> list[object]:
        """What passes so far were given besides their arguments: whoever records them must keep it alive."""
        return [*self._modulations.values()]

    def grid(self, height: int, width: int) -> tuple[int, int]:
        """As `VideoDiT.grid`."""
        return self.reference.grid(height, width)

    def forward(
        self, x_BTCHW: Tensor, t: Tensor, context: Tensor | TextContext, over: Over = None, commit: bool = False
    ) -> Tensor:
        """As `VideoDiT.forward` over a cache. Raises ValueError without one, and if gradients are on."""
        if not isinstance(over, RollingCache):
            raise ValueError("a fused model streams with a cache only: use the VideoDiT itself for the rest")
        if torch.is_grad_enabled():
            raise ValueError("a fused model has no gradients: call it under torch.inference_mode()")
        self.reference.check(x_BTCHW, t, over, commit)
        normed = self._normed(x_BTCHW, t, context, over, commit)
        if commit:
            over.advance(x_BTCHW.shape[1])
        return self.reference.unpatchify(self.reference.head.head(normed), x_BTCHW.shape[-2])

    def commit(self, x_BTCHW: Tensor, t: Tensor, context: Tensor | TextContext, cache: RollingCache) -> None:
        """As `VideoDiT.commit`."""
        self(x_BTCHW, t, context, cache, commit=True)

    def _normed(
        self, x_BTCHW: Tensor, t: Tensor, context: Tensor | TextContext, cache: RollingCache, commit: bool
    ) -> Tensor:
        """Through all blocks and the head's norm: (B, T, S, W)."""
        if isinstance(context, Tensor):
            context = self.text_context(context)
        x, latents, grid = self.patch(self._cells(x_BTCHW)), x_BTCHW.shape[1], self.grid(*x_BTCHW.shape[-2:])
        modulations = self._modulations_at(t)
        if self.kernel_blocks and isinstance(cache, SlotCache):
            cache.check_chunk(grid, latents, commit)
            return kernel_pass(self.kernel_blocks, x, modulations, context, cache, commit)
        attend_to = cache.attention(grid, latents, x.device, self.kernel, commit)
        contexts = context.constants if isinstance(context, ConstantContext) else context.layers
        for layer, block in enumerate(self.fused_blocks):
            x = block(x, modulations.blocks[layer], contexts[layer], context.bias, attend_to, layer)
        return modulations.head.norm(x, self.config.eps)

    def _cells(self, x_BTCHW: Tensor) -> Tensor:
        """What a token is made of: (B, T, S, channels · patch)."""
        _, p, q = self.config.patch
        cells = rearrange(x_BTCHW, "b t c (h p) (w q) -> b t (h w) (c p q)", p=p, q=q)
        return cells.to(self.reference.patch_embedding.weight.dtype)

    def _modulations_at(self, t: Tensor) -> Modulations:
        key = (tuple(t.shape), *t.flatten().tolist())
        with self._lock:
            if key not in self._modulations:
                self._modulations[key] = Modulations(self.reference, t)
                if len(self._modulations) > KEPT_TIMESTEPS:
                    self._modulations.popitem(last=False)
            self._modulations.move_to_end(key)
            return self._modulations[key]
