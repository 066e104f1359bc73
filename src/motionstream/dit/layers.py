"""The parts of a `VideoDiT`, with the parameter names of Wan's published weights.

Legend: B batch, T latents, S tokens of a latent, L text or image tokens, H heads, D channels of a head.
Inside the network a clip is (B, T, S, width).
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from motionstream.dit.attention import Attend, Kernel, attend
from motionstream.dit.config import DiTConfig

LayerContext = tuple[tuple[Tensor, Tensor], ...]
"""Keys and values (B, L, H, D) for one layer's cross-attention: of the text, then of the image if there is one."""


def layer_norm(x: Tensor, norm: nn.LayerNorm) -> Tensor:
    """LayerNorm in float32, whatever the weights' dtype; returns float32."""
    weight = None if norm.weight is None else norm.weight.float()
    bias = None if norm.bias is None else norm.bias.float()
    return F.layer_norm(x.float(), norm.normalized_shape, weight, bias, norm.eps)


def modulate(x: Tensor, norm: nn.LayerNorm, shift: Tensor, scale: Tensor) -> Tensor:
    """Norm, then scale and shift by the timestep, in float32; dtype of x kept."""
    return (layer_norm(x, norm) * (1 + scale) + shift).type_as(x)


def add_gated(x: Tensor, branch: Tensor, gate: Tensor) -> Tensor:
    """Residual addition in float32; dtype of x kept."""
    return (x.float() + branch.float() * gate).type_as(x)


def timestep_sinusoid(t: Tensor, channels: int) -> Tensor:
    """(…,) timesteps in 0…1000 → (…, channels) float32: cosines, then sines."""
    powers = torch.arange(channels // 2, dtype=torch.float32, device=t.device) / (channels // 2)
    angles = t.float()[..., None] * torch.exp(-math.log(10000) * powers)
    return torch.cat((angles.cos(), angles.sin()), dim=-1)


class RMSNorm(nn.RMSNorm):
    """RMSNorm over all heads at once, in float32 also under autocast; dtype of x kept."""

    def forward(self, x: Tensor) -> Tensor:
        return F.rms_norm(x.float(), self.normalized_shape, self.weight.float(), self.eps).type_as(x)


class Attention(nn.Module):
    """Projections shared by self- and cross-attention."""

    def __init__(self, config: DiTConfig) -> None:
        super().__init__()
        width = config.width
        self.heads = config.heads
        self.q = nn.Linear(width, width)
        self.k = nn.Linear(width, width)
        self.v = nn.Linear(width, width)
        self.o = nn.Linear(width, width)
        self.norm_q = RMSNorm(width, config.eps) if config.qk_norm else nn.Identity()
        self.norm_k = RMSNorm(width, config.eps) if config.qk_norm else nn.Identity()

    def split(self, x: Tensor) -> Tensor:
        """(…, width) → (…, H, D)."""
        heads: Tensor = x.unflatten(-1, (self.heads, -1))
        return heads


class SelfAttention(Attention):
    """Self-attention, over the tokens that the pass allows."""

    def forward(self, x_BTSW: Tensor, attend_to: Attend, layer: int) -> Tensor:
        q = self.split(self.norm_q(self.q(x_BTSW)))
        k = self.split(self.norm_k(self.k(x_BTSW)))
        v = self.split(self.v(x_BTSW))
        out: Tensor = self.o(attend_to(layer, q, k.type_as(q), v.type_as(q)).flatten(-2))
        return out


class CrossAttention(Attention):
    """Cross-attention to the prompt, and to the CLIP tokens of the first picture where the model has that branch."""

    def __init__(self, config: DiTConfig) -> None:
        super().__init__(config)
        self.has_image = config.image_dim is not None
        if self.has_image:
            self.k_img = nn.Linear(config.width, config.width)
            self.v_img = nn.Linear(config.width, config.width)
            self.norm_k_img = RMSNorm(config.width, config.eps) if config.qk_norm else nn.Identity()

    def context(self, text_BLW: Tensor, image_BLW: Tensor | None) -> LayerContext:
        """Keys and values of a prompt; they serve until the prompt changes."""
        text = self.split(self.norm_k(self.k(text_BLW))), self.split(self.v(text_BLW))
        if image_BLW is None:
            return (text,)
        return text, (self.split(self.norm_k_img(self.k_img(image_BLW))), self.split(self.v_img(image_BLW)))

    def forward(self, x_BTSW: Tensor, context: LayerContext, kernel: Kernel, bias: Tensor | None = None) -> Tensor:
        q = self.split(self.norm_q(self.q(x_BTSW))).flatten(1, 2)
        out: Tensor = self.o(cross_attend(q, context, kernel, bias).flatten(-2))
        return out.reshape(x_BTSW.shape)


def cross_attend(q_BLHD: Tensor, context: LayerContext, kernel: Kernel, bias: Tensor | None) -> Tensor:
    """Cross-attention to the text plus that to the picture, (B, L, H, D). bias (B, L): of the text's logits."""
    (k, v), *picture = ((k.type_as(q_BLHD), v.type_as(q_BLHD)) for k, v in context)
    total = attend(q_BLHD, k, v, bias=bias, kernel=kernel)
    for k, v in picture:
        total = total + attend(q_BLHD, k, v, kernel=kernel)
    return total


class Block(nn.Module):
    """Self-attention, cross-attention, feed-forward; the first and last modulated by the timestep (adaLN)."""

    def __init__(self, config: DiTConfig) -> None:
        super().__init__()
        width = config.width
        self.norm1 = nn.LayerNorm(width, config.eps, elementwise_affine=False)
        self.self_attn = SelfAttention(config)
        self.norm3 = nn.LayerNorm(width, config.eps) if config.cross_attn_norm else None
        self.cross_attn = CrossAttention(config)
        self.norm2 = nn.LayerNorm(width, config.eps, elementwise_affine=False)
        self.ffn = nn.Sequential(
            nn.Linear(width, config.ffn), nn.GELU(approximate="tanh"), nn.Linear(config.ffn, width)
        )
        self.modulation = nn.Parameter(torch.empty(1, 6, width))

    def forward(
        self,
        x: Tensor,
        timestep_BT6W: Tensor,
        context: LayerContext,
        attend_to: Attend,
        layer: int,
        kernel: Kernel,
        text_bias: Tensor | None = None,
    ) -> Tensor:
        """x (B, T, S, width) → the same. timestep_BT6W: the projected timestep, (B, T or 1, 6, width) float32.

        text_bias (B, L): added to the logits of the text's keys.
        """
        modulation = (self.modulation.float() + timestep_BT6W).unsqueeze(3).unbind(2)
        shift, scale, gate, ffn_shift, ffn_scale, ffn_gate = modulation
        attended = self.self_attn(modulate(x, self.norm1, shift, scale), attend_to, layer)
        x = add_gated(x, attended, gate)
        crossed = x if self.norm3 is None else layer_norm(x, self.norm3).type_as(x)
        x = x + self.cross_attn(crossed, context, kernel, text_bias).type_as(x)
        fed = self.ffn(modulate(x, self.norm2, ffn_shift, ffn_scale))
        return add_gated(x, fed, ffn_gate)


class Head(nn.Module):
    """Tokens → latent cells, modulated by the timestep."""

    def __init__(self, config: DiTConfig) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(config.width, config.eps, elementwise_affine=False)
        self.head = nn.Linear(config.width, math.prod(config.patch) * config.out_channels)
        self.modulation = nn.Parameter(torch.empty(1, 2, config.width))

    def forward(self, x: Tensor, time_BTW: Tensor) -> Tensor:
        """x (B, T, S, width), time (B, T or 1, width) float32 → (B, T, S, patch · out_channels)."""
        shift, scale = (self.modulation.float() + time_BTW.unsqueeze(2)).unsqueeze(3).unbind(2)
        out: Tensor = self.head(modulate(x, self.norm, shift, scale))
        return out


class ImageEmbedding(nn.Module):
    """CLIP image tokens (B, L, image_dim) → (B, L, width)."""

    def __init__(self, image_dim: int, width: int) -> None:
        super().__init__()
        self.proj = nn.Sequential(
            nn.LayerNorm(image_dim),
            nn.Linear(image_dim, image_dim),
            nn.GELU(),
            nn.Linear(image_dim, width),
            nn.LayerNorm(width),
        )

    def forward(self, image: Tensor) -> Tensor:
        out: Tensor = self.proj(image)
        return out
