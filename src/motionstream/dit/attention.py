"""Attention itself, behind one switch, and the teacher's way of looking: everything sees everything.

Legend: B batch, T latents, S tokens of a latent, L tokens, H heads, D channels of a head.
"""

from __future__ import annotations

from functools import cache
from typing import Literal, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from motionstream.dit.rope import Table, rotate

Kernel = Literal["auto", "sdpa", "matmul"]
"""sdpa: PyTorch's fused kernel. matmul: product, softmax, product. auto: whichever is faster on this device."""


class Attend(Protocol):
    """How one forward pass looks at tokens: whole clip, chunk mask or rolling cache.

    Called once a layer with queries, keys and values (B, T, S, H, D) before rotary positions; returns the same shape.
    """

    def __call__(self, layer: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor: ...


class WholeAttention:
    """Every latent sees every latent: the teacher."""

    def __init__(self, table: Table, kernel: Kernel) -> None:
        self.table = table
        self.kernel = kernel

    def __call__(self, layer: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        turned_q, turned_k = rotate(q, self.table), rotate(k, self.table)
        out = attend(turned_q.flatten(1, 2), turned_k.flatten(1, 2), v.flatten(1, 2), kernel=self.kernel)
        return out.reshape(q.shape)


def attend(
    q_BLHD: Tensor, k_BLHD: Tensor, v_BLHD: Tensor, *, mask: Tensor | None = None, kernel: Kernel = "auto"
) -> Tensor:
    """softmax(q kᵀ / √D) v → (B, L, H, D).

    mask: (L of q, L of k) bool, True where a query sees a key; the fused kernel does it.
    """
    q, k, v = (x.transpose(1, 2) for x in (q_BLHD, k_BLHD, v_BLHD))
    if mask is None and (kernel == "matmul" or (kernel == "auto" and _matmul_is_faster(q))):
        out = _matmul_attention(q, k, v)
    else:
        out = F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
    heads_last: Tensor = out.transpose(1, 2)
    return heads_last


def _matmul_attention(q_BHLD: Tensor, k_BHLD: Tensor, v_BHLD: Tensor) -> Tensor:
    scores = torch.matmul(q_BHLD * q_BHLD.shape[-1] ** -0.5, k_BHLD.transpose(-1, -2))
    return torch.matmul(scores.softmax(-1, dtype=scores.dtype), v_BHLD)


def _matmul_is_faster(q: Tensor) -> bool:
    if q.device.type != "cpu":
        return False
    # The fused CPU kernel's backward is slow in every dtype: a training step of `tiny` takes 1.7 times as long.
    if torch.is_grad_enabled() and q.requires_grad:
        return True
    # Forward it packs bf16 only where the CPU has AMX (pytorch#138783); plain products use AVX512_BF16 everywhere.
    return (q.dtype != torch.float32 or torch.is_autocast_enabled("cpu")) and not _has_amx()


@cache
def _has_amx() -> bool:
    probe = getattr(torch.cpu, "_is_amx_tile_supported", None)
    return bool(probe and probe())
