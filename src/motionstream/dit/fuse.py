"""The cached student, faster: the same weights and the same tokens with fewer passes over memory.

Beside the reference, never instead of it: `fuse` wraps a VideoDiT for streaming without gradients and refuses the rest.
What it saves: timestep modulations are computed once per timestep and folded into the norms; queries, keys and values
are one product; the past is joined and turned once per committed chunk instead of once a pass.

Legend: B batch, T latents, S tokens of a latent, W width, H heads, D channels of a head.
"""

from __future__ import annotations

import time
import weakref
from collections import OrderedDict
from collections.abc import Callable, Sequence
from functools import cache as remember
from threading import Lock
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from motionstream.dit.attention import Kernel, attend
from motionstream.dit.cache import RollingCache
from motionstream.dit.layers import Block, Head, LayerContext, add_gated
from motionstream.dit.mask import ChunkMask
from motionstream.dit.model import TextContext, VideoDiT
from motionstream.dit.rope import Table, rotary_table, rotate

KEPT_TIMESTEPS = 32


def fuse(model: VideoDiT) -> FusedDiT:
    """The streaming form of a model whose weights will not change. Raises ValueError where it was not built for it."""
    if not (model.config.qk_norm and model.config.cross_attn_norm):
        raise ValueError("fuse needs a model with qk_norm and cross_attn_norm: use the VideoDiT itself")
    return FusedDiT(model)


class FusedDiT(nn.Module):
    """Stands where a VideoDiT stands: same `forward` with a rolling cache, same caches, same text contexts.

    The joined past of one cache at a time is kept, under a lock: threads may share it, streams that take turns too.
    """

    def __init__(self, model: VideoDiT) -> None:
        super().__init__()
        self.reference = model.eval()
        self.config = model.config
        self.fused_blocks = [FusedBlock(cast(Block, block)) for block in model.blocks]
        self._steers: OrderedDict[tuple[float, ...], Steer] = OrderedDict()
        self._past: Past | None = None
        self._lock = Lock()

    @property
    def kernel(self) -> Kernel:
        return self.reference.kernel

    def text_context(self, text: Tensor, image: Tensor | None = None) -> TextContext:
        """As `VideoDiT.text_context`."""
        return self.reference.text_context(text, image)

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
        if torch.is_grad_enabled():
            raise ValueError("a fused model has no gradients: call it under torch.inference_mode()")
        self.reference.check(x_BTCHW, t, mask, cache, commit, positions)
        if isinstance(context, Tensor):
            context = self.text_context(context)
        with self._lock:
            return self._run(x_BTCHW, t, context, cache, commit)

    def _run(self, x_BTCHW: Tensor, t: Tensor, context: TextContext, cache: RollingCache, commit: bool) -> Tensor:
        steer, past = self._steer(t), self._joined(cache, x_BTCHW)
        x = self.reference.patchify(x_BTCHW)
        for layer, block in enumerate(self.fused_blocks):
            normed = steer.blocks[layer].attention.norm(x, block.eps)
            x = steer.blocks[layer].attention.add(x, block.look(normed, past, layer, commit, self.kernel))
            x = x + block.cross(x, context.layers[layer], self.kernel)
            x = steer.blocks[layer].ffn.add(x, block.ffn(steer.blocks[layer].ffn.norm(x, block.eps)))
        if commit:
            cache.advance(x_BTCHW.shape[1])
        tokens = self.reference.head.head(steer.head.norm(x, self.config.eps))
        return self.reference.unpatchify(tokens, x_BTCHW.shape[-2])

    def _steer(self, t: Tensor) -> Steer:
        """All modulations of these timesteps; a student meets the same few for ever."""
        key = (float(t.ndim), *t.flatten().tolist())
        if key not in self._steers:
            self._steers[key] = Steer(self.reference, t)
            if len(self._steers) > KEPT_TIMESTEPS:
                self._steers.popitem(last=False)
        self._steers.move_to_end(key)
        return self._steers[key]

    def _joined(self, cache: RollingCache, x: Tensor) -> Past:
        grid = self.grid(*x.shape[-2:])
        if self._past is None or not self._past.serves(cache, grid, x.shape[1]):
            self._past = Past(cache, grid, x.shape[1], self.reference.head.head.weight)
        return self._past


class Modulation:
    """One norm's scale and shift, and the gate of the branch after it.

    Where all latents share a timestep these are vectors, and scale and shift are the norm's own weight and bias.
    """

    def __init__(self, shift: Tensor, scale: Tensor, gate: Tensor | None, shared: bool, dtype: torch.dtype) -> None:
        self.shared = shared
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
        assert self.gate is not None
        return torch.addcmul(x, branch, self.gate) if self.shared else add_gated(x, branch, self.gate)


class BlockModulation:
    """The two steered branches of a block."""

    def __init__(self, block: Block, steer_BT6W: Tensor, shared: bool, dtype: torch.dtype) -> None:
        shift, scale, gate, ffn_shift, ffn_scale, ffn_gate = (block.modulation.float() + steer_BT6W).unbind(2)
        self.attention = Modulation(shift, scale, gate, shared, dtype)
        self.ffn = Modulation(ffn_shift, ffn_scale, ffn_gate, shared, dtype)


class Steer:
    """Everything that depends on the timesteps alone."""

    def __init__(self, model: VideoDiT, t: Tensor) -> None:
        dtype = model.head.head.weight.dtype
        time_BTW, steer_BT6W = model.embed_time(t)
        shared = bool((t == t.flatten()[0]).all())
        self.blocks = [BlockModulation(cast(Block, block), steer_BT6W, shared, dtype) for block in model.blocks]
        self.head = _head_modulation(model.head, time_BTW, shared, dtype)


def _head_modulation(head: Head, time_BTW: Tensor, shared: bool, dtype: torch.dtype) -> Modulation:
    shift, scale = (head.modulation.float() + time_BTW.unsqueeze(2)).unbind(2)
    return Modulation(shift, scale, None, shared, dtype)


class Past:
    """[sink | window | room for the chunk] of one cache, keys turned: all layers' (B, filled + T, S, H, D)."""

    def __init__(self, cache: RollingCache, grid: tuple[int, int], latents: int, like: Tensor) -> None:
        self.cache = weakref.ref(cache)
        self.made_for = cache.version, grid, latents
        self.filled = cache.filled
        head_dim = cache.config.head_dim
        own = range(self.filled, self.filled + latents)
        cos, sin = rotary_table(own, grid, head_dim, like.device)
        self.own = torch.complex(cos, sin).unsqueeze(2)
        layers, batch, _, *rest = cache.keys.shape
        with torch.inference_mode(False):
            self.keys = like.new_empty((layers, batch, self.filled + latents, *rest))
            self.values = torch.empty_like(self.keys)
        self._fill(cache, rotary_table(cache.positions()[cache.sink_filled :], grid, head_dim, like.device))

    def _fill(self, cache: RollingCache, window: Table) -> None:
        sink = cache.sink_filled
        for layer in range(len(self.keys)):
            past_k, past_v = cache.read(layer)
            self.keys[layer, :, :sink] = past_k[:, :sink]
            self.keys[layer, :, sink : self.filled] = rotate(past_k[:, sink:], window)
            self.values[layer, :, : self.filled] = past_v

    def serves(self, cache: RollingCache, grid: tuple[int, int], latents: int) -> bool:
        return self.cache() is cache and self.made_for == (cache.version, grid, latents)

    def join(self, layer: int, turned_k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        """Put the chunk behind the past: keys and values of all, (B, filled + T, S, H, D)."""
        self.keys[layer, :, self.filled :] = turned_k
        self.values[layer, :, self.filled :] = v
        return self.keys[layer], self.values[layer]

    def store(self, layer: int, raw_k: Tensor, turned_k: Tensor, v: Tensor) -> None:
        """Commit one layer of the chunk to the cache."""
        cache = self.cache()
        assert cache is not None
        cache.store(layer, raw_k, turned_k, v)


class FusedBlock:
    """One block with its query, key and value projections joined, and its products packed."""

    def __init__(self, block: Block) -> None:
        attention, cross = block.self_attn, block.cross_attn
        projections = attention.q, attention.k, attention.v
        self.eps = block.norm1.eps
        self.heads = attention.heads
        self.qkv = Product(
            torch.cat([part.weight.detach() for part in projections]),
            torch.cat([part.bias.detach() for part in projections]),
        )
        self.norm_qk = torch.stack([rms_weight(attention.norm_q), rms_weight(attention.norm_k)])
        self.out = Product.of(attention.o)
        self.cross_norm = cast(nn.LayerNorm, block.norm3)
        self.cross_q, self.cross_out = Product.of(cross.q), Product.of(cross.o)
        self.norm_cross = rms_weight(cross.norm_q)
        self.widen = Product.of(cast(nn.Linear, block.ffn[0]), gelu=True)
        self.narrow = Product.of(cast(nn.Linear, block.ffn[2]))

    def look(self, x: Tensor, past: Past, layer: int, commit: bool, kernel: Kernel) -> Tensor:
        width = x.shape[-1]
        qk, v = self.qkv(x).split((2 * width, width), dim=-1)
        v = v.unflatten(-1, (self.heads, -1))
        qk = rms_norm(qk.unflatten(-1, (2, width)), self.norm_qk, self.eps).unflatten(-1, (self.heads, -1))
        turned_q, turned_k = turn(qk, past.own).to(x.dtype).unbind(3)
        keys, values = past.join(layer, turned_k, v)
        out = attend(turned_q.flatten(1, 2), keys.flatten(1, 2), values.flatten(1, 2), kernel=kernel)
        if commit:
            past.store(layer, qk[:, :, :, 1], turned_k, v)
        return self.out(out.reshape(x.shape))

    def cross(self, x: Tensor, context: LayerContext, kernel: Kernel) -> Tensor:
        norm = self.cross_norm
        q = self.cross_q(F.layer_norm(x, norm.normalized_shape, norm.weight, norm.bias, norm.eps))
        q = rms_norm(q, self.norm_cross, self.eps).to(x.dtype).unflatten(-1, (self.heads, -1)).flatten(1, 2)
        seen = [attend(q, k, v, kernel=kernel) for k, v in context]
        total = seen[0] if len(seen) == 1 else seen[0] + seen[1]
        return self.cross_out(total.reshape(x.shape))

    def ffn(self, x: Tensor) -> Tensor:
        return self.narrow(self.widen(x))


class Product:
    """x wᵀ + b, then tanh-GELU if asked.

    On a CPU with oneDNN the weight is packed once and bias and GELU happen inside the product, through the operators
    that torch.compile uses there. They are not public, so the plain form stays beside them.
    """

    def __init__(self, weight: Tensor, bias: Tensor, gelu: bool = False) -> None:
        self.weight, self.bias = weight.detach(), bias.detach()
        self.gelu = gelu
        self.packed = pack(self.weight)

    @classmethod
    def of(cls, linear: nn.Linear, gelu: bool = False) -> Product:
        return cls(linear.weight, linear.bias, gelu)

    def __call__(self, x: Tensor) -> Tensor:
        if self.packed is None:
            out = F.linear(x, self.weight, self.bias)
            return F.gelu(out, approximate="tanh") if self.gelu else out
        kind, form = ("gelu", "tanh") if self.gelu else ("none", "")
        rows = torch.ops.mkldnn._linear_pointwise(x.flatten(0, -2), self.packed, self.bias, kind, [], form)
        result: Tensor = rows.view(*x.shape[:-1], -1)
        return result


def pack(weight: Tensor) -> Tensor | None:
    """The weight in oneDNN's order, or None where that is not to be had."""
    known = hasattr(torch.ops.mkldnn, "_linear_pointwise") and hasattr(torch.ops.mkldnn, "_reorder_linear_weight")
    if weight.device.type != "cpu" or not torch.backends.mkldnn.is_available() or not known:
        return None
    packed: Tensor = torch.ops.mkldnn._reorder_linear_weight(weight.contiguous(), None)
    return packed


def rms_weight(norm: nn.Module) -> Tensor:
    return cast(nn.RMSNorm, norm).weight.detach().float()


def rms_norm(x: Tensor, weight: Tensor, eps: float) -> Tensor:
    """RMSNorm over the last channels in fewer passes; returns float32."""
    length = torch.linalg.vector_norm(x, dim=-1, keepdim=True, dtype=torch.float32)
    return torch.mul(x * (length.square() / x.shape[-1] + eps).rsqrt(), weight)


def turn(x: Tensor, turns: Tensor) -> Tensor:
    """`rotate` in one pass, float32 (B, T, S, 2, H, D): neighbouring channels are one complex number."""
    pairs = torch.view_as_complex(x.unflatten(-1, (-1, 2)))
    return torch.view_as_real(pairs * turns).flatten(-2)


@remember
def fastest_dtype(device: torch.device | str) -> torch.dtype:
    """float32 or bfloat16, whichever multiplies faster here; bfloat16 on accelerators.

    Not to be guessed from the processor's flags: Zen 4 doubles its speed in bfloat16, while Xeons whose AMX is masked
    take 1.6 times as long as in float32. Measured once, in some 10 ms.
    """
    if torch.device(device).type != "cpu":
        return torch.bfloat16
    return min((torch.float32, torch.bfloat16), key=_product_time)


def _product_time(dtype: torch.dtype) -> float:
    """Shortest of a few runs of a product of `tiny`'s size, in seconds of processor time."""
    x, weight = torch.ones(432, 256, dtype=dtype), torch.ones(1024, 256, dtype=dtype)
    return min(_seconds(lambda: F.linear(x, weight)) for _ in range(5))


def _seconds(work: Callable[[], object]) -> float:
    begin = time.process_time()
    work()
    return time.process_time() - begin
