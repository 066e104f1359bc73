"""One transformer block for streaming: joined projections, packed products, branches added as they are made.

Legend: B batch, T latents, S tokens of a latent, L tokens, R rows of text over all heads, W width, H heads, D channels
of a head.
"""

from __future__ import annotations

from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from motionstream.dit.attention import Kernel, attend
from motionstream.dit.layers import Attention, Block, LayerContext, cross_attend
from motionstream.fast.fuse_past import HIGHEST_SCORE, Past, SlotPast, attend_bounded, highest_score, turn
from motionstream.fast.products import Product


class FusedBlock:
    """One block with its query, key and value projections joined, and its products packed.

    bounded: whether scores that cannot leave float32 get the plain softmax.
    """

    def __init__(self, block: Block, kernel: Kernel, bounded: bool = True) -> None:
        attention, cross = block.self_attn, block.cross_attn
        self.eps, self.heads, self.kernel = block.norm1.eps, attention.heads, kernel
        self.qkv, self.kv = joined(attention.q, attention.k, attention.v), joined(attention.k, attention.v)
        norms = rms_weight(attention.norm_q), rms_weight(attention.norm_k)
        self.bounded = bounded and is_bounded(attention)
        scale = (norms[0].numel() // self.heads) ** -0.5 if self.bounded else 1.0
        self.norm_qk = torch.stack([norms[0] * scale, norms[1]])
        self.out = Product.of(attention.o)
        self.cross_norm = cast(nn.LayerNorm, block.norm3)
        self.cross_q, self.cross_out = Product.of(cross.q), Product.of(cross.o)
        self.norm_cross = rms_weight(cross.norm_q)
        self.widen = Product.of(cast(nn.Linear, block.ffn[0]), "gelu")
        self.narrow = Product.of(cast(nn.Linear, block.ffn[2]))

    def self_attend(self, x: Tensor, past: Past | SlotPast, layer: int, commit: bool) -> Tensor:
        """Self-attention of the chunk over the past and itself."""
        q, k, v = self.project(x)
        keys, values = past.join(layer, k, v)
        q, keys, values = (part.flatten(1, 2) for part in (turn(q, past.own), keys, values))
        if self.bounded:
            out = attend_bounded(q, keys, values, past.scores)
        else:
            out = attend(q, keys, values, kernel=self.kernel)
        if commit:
            past.store(layer, k, v)
        return self.out(out.reshape(x.shape))

    def project(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Queries and keys, normed but not turned, and values: (B, T, S, H, D)."""
        width = x.shape[-1]
        qk, v = self.qkv(x).split((2 * width, width), dim=-1)
        qk = rms_norm(qk.unflatten(-1, (2, width)), self.norm_qk, self.eps)
        q, k = qk.to(x.dtype).unflatten(-1, (self.heads, -1)).unbind(3)
        return q, k, v.unflatten(-1, (self.heads, -1))

    def remember(self, x: Tensor, past: Past | SlotPast, layer: int) -> None:
        """Commit the chunk's keys and values, and nothing more: what the last block owes the cache."""
        k, v = self.kv(x).chunk(2, dim=-1)
        k = rms_norm(k, self.norm_qk[1], self.eps).to(x.dtype).unflatten(-1, (self.heads, -1))
        v = v.unflatten(-1, (self.heads, -1))
        past.join(layer, k, v)
        past.store(layer, k, v)

    def cross(self, x: Tensor, context: Said | Unheard | LayerContext, bias: Tensor | None) -> Tensor:
        """x with what it hears of the prompt added. bias (B, L): of the text's logits."""
        if isinstance(context, Unheard):
            return context.onto(x)
        norm = self.cross_norm
        q = self.cross_q(F.layer_norm(x, norm.normalized_shape, norm.weight, norm.bias, norm.eps))
        if isinstance(context, Said):
            return context.onto(x, q, self.eps)
        q = rms_norm(q, self.norm_cross, self.eps).to(x.dtype).unflatten(-1, (self.heads, -1)).flatten(1, 2)
        return self.cross_out.onto(x, cross_attend(q, context, self.kernel, bias).reshape(x.shape))

    def ffn(self, x: Tensor) -> Tensor:
        return self.narrow(self.widen(x))


class Said:
    """A short prompt as one layer hears it: norm and scale folded into its keys, the output product into its values.

    Where all its rows (H · text tokens) are fewer than the model is wide, that is less work than the output product.
    """

    def __init__(self, block: FusedBlock, context: LayerContext) -> None:
        ((k_BLHD, v_BLHD),) = context
        self.heads = block.heads
        scale = k_BLHD.shape[-1] ** -0.5
        keys = k_BLHD.float() * block.norm_cross.view(self.heads, -1) * scale
        apart = torch.eye(self.heads, device=keys.device)
        self.keys_BWR = torch.einsum("blhd,hg->bhdgl", keys, apart).flatten(3).flatten(1, 2).to(k_BLHD.dtype)
        values = spoken(block, v_BLHD)
        values[:, 0] += block.cross_out.bias.float()  # the weights of a head sum to 1
        self.values_BRW = values.flatten(1, 2).to(v_BLHD.dtype)

    @staticmethod
    def pays(block: FusedBlock, context: LayerContext) -> bool:
        return len(context) == 1 and context[0][0].shape[1] * block.heads <= block.norm_cross.numel()

    def onto(self, x: Tensor, q: Tensor, eps: float) -> Tensor:
        """x plus what queries q, before their norm, hear; both (B, T, S, W)."""
        rows = q.flatten(1, 2)
        scores = torch.bmm(rows, self.keys_BWR).float().mul_(inverse_length(rows, eps))
        weights = scores.unflatten(-1, (self.heads, -1)).softmax(-1).flatten(-2)
        return torch.baddbmm(x.flatten(1, 2), weights.to(x.dtype), self.values_BRW).view(x.shape)


ALIKE = 0.25
"""Of what a layer adds for a text, how far the most that it could hear otherwise may be from it, to be left out."""


class Unheard:
    """What one layer adds for a text that says nothing, whoever asks: the mean of what its tokens would add.

    For a network that is always given the empty prompt, and has learned to hear nearly the same in all of it (`fits`).
    """

    def __init__(self, block: FusedBlock, context: LayerContext) -> None:
        ((_, v_BLHD),) = context
        self.added_B11W = _added(block, spoken(block, v_BLHD))[:, None, None].to(v_BLHD.dtype)

    @staticmethod
    def fits(block: FusedBlock, context: LayerContext) -> bool:
        """Whether the tokens are so much alike, all heads at the one that differs most."""
        if len(context) != 1:
            return False
        values_BHLW = spoken(block, context[0][1])
        apart_BHL = (values_BHLW - values_BHLW.mean(2, keepdim=True)).norm(dim=-1)
        return bool((apart_BHL.amax(2).sum(1) <= ALIKE * _added(block, values_BHLW).norm(dim=-1)).all())

    def onto(self, x: Tensor) -> Tensor:
        """x (B, T, S, W) with it added."""
        return x + self.added_B11W


def spoken(block: FusedBlock, v_BLHD: Tensor) -> Tensor:
    """What each token of a text adds for a head that attends to it alone: (B, H, L, W) float32, without bias."""
    mix = block.cross_out.weight.float().unflatten(1, (block.heads, -1))
    return torch.einsum("blhd,whd->bhlw", v_BLHD.float(), mix)


def _added(block: FusedBlock, values_BHLW: Tensor) -> Tensor:
    """(B, W): what is added if all tokens are heard alike."""
    return values_BHLW.mean(2).sum(1) + block.cross_out.bias.float()


def joined(*linears: nn.Linear) -> Product:
    return Product(torch.cat([part.weight.detach() for part in linears]), torch.cat([part.bias for part in linears]))


def is_bounded(attention: Attention) -> bool:
    """Whether this layer's scores cannot leave float32, and the plain softmax is the faster one."""
    weight = attention.q.weight
    if weight.device.type != "cpu" or weight.dtype != torch.float32:
        return False
    norms = rms_weight(attention.norm_q), rms_weight(attention.norm_k)
    return highest_score(*norms, weight.shape[0] // attention.heads) <= HIGHEST_SCORE


def rms_weight(norm: nn.Module) -> Tensor:
    return cast(nn.RMSNorm, norm).weight.detach().float()


def inverse_length(x: Tensor, eps: float) -> Tensor:
    """1 / root mean square over the last channels, float32, (…, 1)."""
    length = torch.linalg.vector_norm(x, dim=-1, keepdim=True, dtype=torch.float32)
    inverse: Tensor = length.square_().mul_(1 / x.shape[-1]).add_(eps).rsqrt_()
    return inverse


def rms_norm(x: Tensor, weight: Tensor, eps: float) -> Tensor:
    """RMSNorm over the last channels in fewer passes; returns float32."""
    return (x * inverse_length(x, eps)).mul_(weight)
