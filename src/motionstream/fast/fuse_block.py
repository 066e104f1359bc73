"""One transformer block for streaming: one product for queries, keys and values, packed weights, and residual
additions inside the products. And a prompt that adds the same to every token, as that constant.

Legend: B batch, T latents, S tokens of a latent, L text tokens, W width, H heads, D channels of a head.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from motionstream.dit.attention import Attend, Kernel
from motionstream.dit.layers import Block, LayerContext, cross_attend
from motionstream.dit.model import TextContext
from motionstream.fast.modulation import BlockModulation
from motionstream.fast.products import Product


class FusedBlock:
    """One block of a VideoDiT, for passes without gradients."""

    def __init__(self, block: Block, kernel: Kernel) -> None:
        attention, cross = block.self_attn, block.cross_attn
        self.eps, self.heads, self.kernel = block.norm1.eps, attention.heads, kernel
        self.qkv = joined(attention.q, attention.k, attention.v)
        self.norm_qk = torch.stack([rms_weight(attention.norm_q), rms_weight(attention.norm_k)])
        self.out = Product.of(attention.o)
        self.cross_norm = cast(nn.LayerNorm, block.norm3)
        self.cross_q, self.cross_out = Product.of(cross.q), Product.of(cross.o)
        self.norm_cross = rms_weight(cross.norm_q)
        self.widen = Product.of(cast(nn.Linear, block.ffn[0]), "gelu")
        self.narrow = Product.of(cast(nn.Linear, block.ffn[2]))

    def __call__(
        self,
        x: Tensor,
        by: BlockModulation,
        context: LayerContext | Tensor,
        bias: Tensor | None,
        attend_to: Attend,
        layer: int,
    ) -> Tensor:
        """x (B, T, S, W) → the same; x may be overwritten. context: of the prompt, or the constant that it adds."""
        x = by.attention.add(x, self.self_attend(by.attention.norm(x, self.eps), attend_to, layer))
        x = x + context if isinstance(context, Tensor) else self.cross(x, context, bias)
        return by.ffn.add(x, self.ffn(by.ffn.norm(x, self.eps)))

    def self_attend(self, x: Tensor, attend_to: Attend, layer: int) -> Tensor:
        """Self-attention of the chunk over the past and itself."""
        return self.out(attend_to(layer, *self.project(x)).reshape(x.shape))

    def project(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Queries and keys, normed and before rotary positions, and values: (B, T, S, H, D)."""
        width = x.shape[-1]
        qk, v = self.qkv(x).split((2 * width, width), dim=-1)
        qk = rms_norm(qk.unflatten(-1, (2, width)), self.norm_qk, self.eps)
        q, k = qk.to(x.dtype).unflatten(-1, (self.heads, -1)).unbind(3)
        return q, k, v.unflatten(-1, (self.heads, -1))

    def cross(self, x: Tensor, context: LayerContext, bias: Tensor | None) -> Tensor:
        """x plus its cross-attention to the prompt. bias (B, L): added to the logits of the text's keys."""
        norm = self.cross_norm
        q = self.cross_q(F.layer_norm(x, norm.normalized_shape, norm.weight, norm.bias, norm.eps))
        q = rms_norm(q, self.norm_cross, self.eps).to(x.dtype).unflatten(-1, (self.heads, -1)).flatten(1, 2)
        return self.cross_out.onto(x, cross_attend(q, context, self.kernel, bias).reshape(x.shape))

    def ffn(self, x: Tensor) -> Tensor:
        return self.narrow(self.widen(x))


@dataclass(frozen=True)
class ConstantContext(TextContext):
    """A prompt whose cross-attention is taken as one vector a layer, `constants` (B, 1, 1, W), whatever the query.

    For a network that is always given the empty prompt, and whose attention to its tokens makes next to no difference.
    """

    constants: tuple[Tensor, ...] = ()


ALIKE = 0.25
"""How far what a layer adds may be from its mean over the tokens, relative to that mean, to be taken as constant."""


def constant_context(blocks: Sequence[FusedBlock], context: TextContext) -> TextContext:
    """The context with the mean of what its tokens would add as constants; as it is where some layer's tokens differ
    too much (`ALIKE`, all heads at the token that differs most), or there is a picture or a bias."""
    if context.bias is not None or any(len(layer) != 1 for layer in context.layers):
        return context
    constants = []
    for block, ((_, v_BLHD),) in zip(blocks, context.layers, strict=True):
        added_BHLW = _added_by_token(block, v_BLHD)
        mean_BHW = added_BHLW.mean(2)
        constant_BW = mean_BHW.sum(1) + block.cross_out.bias.float()
        apart_BHL = (added_BHLW - mean_BHW.unsqueeze(2)).norm(dim=-1)
        if bool((apart_BHL.amax(2).sum(1) > ALIKE * constant_BW.norm(dim=-1)).any()):
            return context
        constants.append(constant_BW[:, None, None].to(v_BLHD.dtype))
    return ConstantContext(context.layers, constants=tuple(constants))


def _added_by_token(block: FusedBlock, v_BLHD: Tensor) -> Tensor:
    """What each token of a text adds for a head that attends to it alone: (B, H, L, W) float32, without bias."""
    mix = block.cross_out.weight.float().unflatten(1, (block.heads, -1))
    return torch.einsum("blhd,whd->bhlw", v_BLHD.float(), mix)


def joined(*linears: nn.Linear) -> Product:
    """Linear layers over the same input as one product, their outputs behind one another."""
    return Product(torch.cat([part.weight.detach() for part in linears]), torch.cat([part.bias for part in linears]))


def rms_weight(norm: nn.Module) -> Tensor:
    return cast(nn.RMSNorm, norm).weight.detach().float()


def rms_norm(x: Tensor, weight: Tensor, eps: float) -> Tensor:
    """RMSNorm over the last channels in fewer passes; returns float32."""
    length = torch.linalg.vector_norm(x, dim=-1, keepdim=True, dtype=torch.float32)
    inverse: Tensor = length.square_().mul_(1 / x.shape[-1]).add_(eps).rsqrt_()
    return (x * inverse).mul_(weight)
