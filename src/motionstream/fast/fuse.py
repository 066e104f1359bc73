"""The cached student, faster: the same weights and the same tokens with fewer passes over memory.

Beside the reference, never instead of it: `fuse` wraps a VideoDiT for streaming without gradients and refuses the rest.
Over fixed slots on a GPU the passes between products are joined as well (`fuse_lean.py`).
What it saves: timestep modulations are computed once per timestep and folded into the norms; queries, keys and values
are one product; the past is joined and turned once per committed chunk instead of once a pass; a prompt is merged with
what follows it (`Said`), or, where it is not to be heard, a constant (`Unheard`); a commit ends with the last keys.

Legend: B batch, T latents, S tokens of a latent, W width, H heads, D channels of a head.
"""

from __future__ import annotations

import weakref
from collections import OrderedDict
from collections.abc import Sequence
from threading import Lock
from typing import cast

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from motionstream.dit.attention import Kernel
from motionstream.dit.cache import RollingCache
from motionstream.dit.layers import Block, Head, LayerContext, add_gated
from motionstream.dit.mask import ChunkMask
from motionstream.dit.model import TextContext, VideoDiT
from motionstream.fast.fuse_block import FusedBlock, Said, Unheard
from motionstream.fast.fuse_lean import LeanBlock, lean_pass
from motionstream.fast.fuse_past import Past, Scores, SlotPast
from motionstream.fast.kernels import FusedOps, ops_for, triton_is_here
from motionstream.fast.products import Product
from motionstream.fast.slots import SlotCache

KEPT_TIMESTEPS = 32
KEPT_PROMPTS = 8


def fuse(model: VideoDiT, ops: FusedOps | None = None, prompted: bool = True) -> FusedDiT:
    """The streaming form of a model whose weights will not change. Raises ValueError where it was not built for it.

    ops: the joined elementwise work for passes over a `SlotCache`; if not given, Triton's kernels where those run.
    prompted: whether it is to tell texts apart. If not, and the tokens say nearly the same, a layer adds one vector for
    the one text there is, whatever is in the picture.
    """
    if not (model.config.qk_norm and model.config.cross_attn_norm):
        raise ValueError("fuse needs a model with qk_norm and cross_attn_norm: use the VideoDiT itself")
    device = model.head.head.weight.device
    if ops is None and device.type == "cuda" and triton_is_here():
        ops = ops_for(device)
    return FusedDiT(model, ops, prompted)


Heard = tuple[list[Said | Unheard | LayerContext], Tensor | None]
"""The prompt as each layer takes it, and the bias of its logits."""


class FusedDiT(nn.Module):
    """Stands where a VideoDiT stands: same `forward` with a rolling cache, same caches, same text contexts.

    The joined past of one cache at a time is kept, under a lock: threads may share it, streams that take turns too.
    """

    def __init__(self, model: VideoDiT, ops: FusedOps | None, prompted: bool = True) -> None:
        super().__init__()
        self.reference = model.eval()
        self.config, self.prompted = model.config, prompted
        self.fused_blocks = [FusedBlock(cast(Block, block), model.kernel) for block in model.blocks]
        self.lean_blocks: list[LeanBlock] = []
        """The same for passes over slots, if there are operations for it."""
        if ops is not None:
            pairs = zip(model.blocks, self.fused_blocks, strict=True)
            self.lean_blocks = [LeanBlock(cast(Block, block), fused, ops) for block, fused in pairs]
        self._steers: OrderedDict[tuple[float, ...], Steer] = OrderedDict()
        self._heard: OrderedDict[int, tuple[weakref.ref[TextContext], Heard]] = OrderedDict()
        conv = model.patch_embedding
        assert conv.bias is not None
        self._patch = Product(conv.weight.flatten(1), conv.bias)
        self._past: Past | None = None
        self._scores = Scores(model.head.head.weight)
        self._lock = Lock()

    @property
    def kernel(self) -> Kernel:
        return self.reference.kernel

    def text_context(
        self, text: Tensor, image: Tensor | None = None, lengths: Sequence[int] | None = None
    ) -> TextContext:
        """As `VideoDiT.text_context`."""
        return self.reference.text_context(text, image, lengths)

    def constants(self) -> list[object]:
        """What passes so far were given besides their arguments: whoever records them must keep it alive."""
        return [*self._steers.values(), self._scores]

    def grid(self, height: int, width: int) -> tuple[int, int]:
        """As `VideoDiT.grid`."""
        return self.reference.grid(height, width)

    def forward(
        self,
        x_BTCHW: Tensor,
        t: Tensor,
        context: Tensor | TextContext,
        *,
        mask: ChunkMask | None = None,
        cache: RollingCache | None = None,
        commit: bool = False,
        positions: Sequence[float] | None = None,
    ) -> Tensor:
        """As `VideoDiT.forward` with a cache. Raises ValueError for other ways of looking, and if gradients are on."""
        if cache is None or mask is not None or positions is not None:
            raise ValueError("a fused model streams with a rolling cache only: use the VideoDiT itself for the rest")
        with self._lock:
            x, steer, past = self._begin(x_BTCHW, t, cache, commit)
            normed = self._through(x, steer, past, self._hear(context), commit)
            if commit:
                cache.advance(x_BTCHW.shape[1])
            return self.reference.unpatchify(self.reference.head.head(normed), x_BTCHW.shape[-2])

    def commit(self, x_BTCHW: Tensor, t: Tensor, context: Tensor | TextContext, cache: RollingCache) -> None:
        """`forward` with commit, for the cache's sake alone: it ends with the keys and values of the last block."""
        with self._lock:
            x, steer, past = self._begin(x_BTCHW, t, cache, True)
            heard, last = self._hear(context), len(self.fused_blocks) - 1
            if self.lean_blocks and isinstance(past, SlotPast):
                self._through(x, steer, past, heard, True)
            else:
                for layer in range(last):
                    x = self._block(layer, x, steer, past, heard, True)
                block = self.fused_blocks[last]
                block.remember(steer.blocks[last].attention.norm(x, block.eps), past, last)
            cache.advance(x_BTCHW.shape[1])

    def _begin(self, x: Tensor, t: Tensor, cache: RollingCache, commit: bool) -> tuple[Tensor, Steer, Past | SlotPast]:
        """Tokens, modulations and past. Raises ValueError for what does not fit."""
        if torch.is_grad_enabled():
            raise ValueError("a fused model has no gradients: call it under torch.inference_mode()")
        self.reference.check(x, t, None, cache, commit, None)
        return self._patch(self._cells(x)), self._steer(t), self._joined(cache, x, commit)

    def _through(self, x: Tensor, steer: Steer, past: Past | SlotPast, heard: Heard, commit: bool) -> Tensor:
        """Tokens through all blocks and the head's norm."""
        if self.lean_blocks and isinstance(past, SlotPast):
            return lean_pass(self.lean_blocks, x, steer.blocks, steer.head, past, heard, commit)
        for layer in range(len(self.fused_blocks)):
            x = self._block(layer, x, steer, past, heard, commit)
        return steer.head.norm(x, self.config.eps)

    def _block(self, layer: int, x: Tensor, steer: Steer, past: Past | SlotPast, heard: Heard, commit: bool) -> Tensor:
        block, by = self.fused_blocks[layer], steer.blocks[layer]
        x = by.attention.add(x, block.self_attend(by.attention.norm(x, block.eps), past, layer, commit))
        x = block.cross(x, heard[0][layer], heard[1])
        return by.ffn.add(x, block.ffn(by.ffn.norm(x, block.eps)))

    def _cells(self, x_BTCHW: Tensor) -> Tensor:
        """What a token is made of: (B, T, S, channels · patch)."""
        _, p, q = self.config.patch
        cells = rearrange(x_BTCHW, "b t c (h p) (w q) -> b t (h w) (c p q)", p=p, q=q)
        return cells.to(self.reference.patch_embedding.weight.dtype)

    def _hear(self, context: Tensor | TextContext) -> Heard:
        """The prompt as each layer takes it; made once a prompt."""
        if isinstance(context, Tensor):
            return self._merged(self.text_context(context))
        if context.fixed:
            return list(context.layers), context.bias
        known, heard = self._heard.get(id(context), (None, None))
        if heard is None or known is None or known() is not context:
            heard = self._merged(context)
            self._heard[id(context)] = weakref.ref(context), heard
            if len(self._heard) > KEPT_PROMPTS:
                self._heard.popitem(last=False)
        self._heard.move_to_end(id(context))
        return heard

    def _merged(self, context: TextContext) -> Heard:
        if context.bias is not None or self.lean_blocks:
            return list(context.layers), context.bias
        pairs = list(zip(self.fused_blocks, context.layers, strict=True))
        if not self.prompted and all(Unheard.fits(block, layer) for block, layer in pairs):
            return [Unheard(block, layer) for block, layer in pairs], None
        return [Said(block, layer) if Said.pays(block, layer) else layer for block, layer in pairs], None

    def _steer(self, t: Tensor) -> Steer:
        """All modulations of these timesteps; a student meets the same few for ever."""
        key = (float(t.ndim), *t.flatten().tolist())
        if key not in self._steers:
            self._steers[key] = Steer(self.reference, t)
            if len(self._steers) > KEPT_TIMESTEPS:
                self._steers.popitem(last=False)
        self._steers.move_to_end(key)
        return self._steers[key]

    def _joined(self, cache: RollingCache, x: Tensor, commit: bool) -> Past | SlotPast:
        grid = self.grid(*x.shape[-2:])
        if isinstance(cache, SlotCache):
            cache.check_chunk(grid, x.shape[1], commit)
            if cache.keys.dtype != self.reference.head.head.weight.dtype:
                raise ValueError(f"slots of {cache.keys.dtype}: make the SlotCache in the model's dtype")
            return SlotPast(cache, x.shape[1], self._scores)
        if self._past is None or not self._past.serves(cache, grid, x.shape[1]):
            self._past = Past(cache, grid, x.shape[1], self.reference.head.head.weight)
        return self._past


class Modulation:
    """One norm's scale and shift, and the gate of the branch after it.

    Where all latents share a timestep these are vectors, and scale and shift are the norm's own weight and bias.
    """

    def __init__(self, shift: Tensor, scale: Tensor, gate: Tensor | None, shared: bool, dtype: torch.dtype) -> None:
        self.shared = shared
        """Whether all latents share a timestep."""
        self.raw = _flat(shift, shared), _flat(scale, shared), None if gate is None else _flat(gate, shared)
        """Shift, scale and gate in float32, (W,) if shared, else (B, T, W)."""
        self.shift, self.scale, self.gate = (
            None if part is None else self._stored(part, dtype) for part in (shift, 1 + scale, gate)
        )

    def _stored(self, part_BTW: Tensor, dtype: torch.dtype) -> Tensor:
        return part_BTW[0, 0].to(dtype).contiguous() if self.shared else part_BTW.unsqueeze(2)

    def norm(self, x: Tensor, eps: float) -> Tensor:
        if self.shared:
            return F.layer_norm(x, x.shape[-1:], self.scale, self.shift, eps)
        assert self.scale is not None
        assert self.shift is not None
        return (F.layer_norm(x.float(), x.shape[-1:], eps=eps) * self.scale + self.shift).type_as(x)

    def add(self, x: Tensor, branch: Tensor) -> Tensor:
        """x, which may be overwritten, plus the branch as far as the gate lets it through."""
        assert self.gate is not None
        return x.addcmul_(branch, self.gate) if self.shared else add_gated(x, branch, self.gate)


def _flat(part_BTW: Tensor, shared: bool) -> Tensor:
    return (part_BTW[0, 0] if shared else part_BTW).contiguous()


class BlockModulation:
    """The two steered branches of a block."""

    def __init__(self, block: Block, steer_BT6W: Tensor, shared: bool, dtype: torch.dtype) -> None:
        shift, scale, gate, ffn_shift, ffn_scale, ffn_gate = (block.modulation.float() + steer_BT6W).unbind(2)
        self.attention = Modulation(shift, scale, gate, shared, dtype)
        self.ffn = Modulation(ffn_shift, ffn_scale, ffn_gate, shared, dtype)


class Steer:
    """Everything that depends on the timesteps alone.

    folded: into the norms, if all latents share a timestep.
    """

    def __init__(self, model: VideoDiT, t: Tensor, folded: bool = True) -> None:
        dtype = model.head.head.weight.dtype
        time_BTW, steer_BT6W = model.embed_time(t)
        shared = folded and bool((t == t.flatten()[0]).all())
        self.blocks = [BlockModulation(cast(Block, block), steer_BT6W, shared, dtype) for block in model.blocks]
        self.head = _head_modulation(model.head, time_BTW, shared, dtype)


def _head_modulation(head: Head, time_BTW: Tensor, shared: bool, dtype: torch.dtype) -> Modulation:
    shift, scale = (head.modulation.float() + time_BTW.unsqueeze(2)).unbind(2)
    return Modulation(shift, scale, None, shared, dtype)
