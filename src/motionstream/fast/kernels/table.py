"""The table of operations that a fused block is built with.

Legend: B batch, T latents, S tokens of a latent, W width, H heads, D channels of a head. A shift, scale or gate
is what a timestep gives one norm or branch: (W,), or (B, T or 1, W) with or without an axis for the tokens; scales are
around 0. Insides are float32; what is returned has the dtype of x (B, T, S, W).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

Pair = tuple[Tensor, Tensor]
"""The new x and its norm, or values and their scales."""
E4M3 = torch.float8_e4m3fn
HIGHEST = float(torch.finfo(E4M3).max)  # 448
LEAST_SCALE = 1e-12


@dataclass(frozen=True)
class FusedOps:
    """One form of every operation.

    norm_modulate (x, shift, scale, eps): LayerNorm(x) (1 + scale) + shift.
    add_gated_norm (x, branch, gate, weight, bias, eps): x + branch · gate, and the LayerNorm of that with weight and
        bias (W,): after self-attention.
    add_norm_modulate (x, branch, shift, scale, eps): x + branch, and that normed and modulated: after cross-attention.
    add_gated_norm_modulate (x, branch, gate, shift, scale, eps): x + branch · gate, and that normed and modulated:
        after one block's feed-forward, before the next block.
    norm_rope_store (qkv, norm_q, norm_k, cos, sin, keys, values, eps): RMSNorm over all heads, with weights (W,), and
        rotary positions, cos and sin (T, S, 1, D/2), of the queries and keys in qkv (B, T, S, 3 W). Writes keys and
        values where `keys` and `values` (B, T, S, H, D) are, such as part of a cache, whose tokens of a clip must lie
        behind one another; returns queries (B, T, S, H, D).
    quantise_rows (x (rows, K)): e4m3 values and the float32 scale of each row (rows, 1); their product is x but for
        rounding.
    """

    norm_modulate: Callable[[Tensor, Tensor, Tensor, float], Tensor]
    add_gated_norm: Callable[[Tensor, Tensor, Tensor, Tensor, Tensor, float], Pair]
    add_norm_modulate: Callable[[Tensor, Tensor, Tensor, Tensor, float], Pair]
    add_gated_norm_modulate: Callable[[Tensor, Tensor, Tensor, Tensor, Tensor, float], Pair]
    norm_rope_store: Callable[[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, float], Tensor]
    quantise_rows: Callable[[Tensor], Pair]


def modulation_rows(part: Tensor, x: Tensor) -> Tensor:
    """A shift, scale or gate of x (B, T, S, W) as rows (N, W), each for x's tokens ÷ N of them that follow one another.

    Raises ValueError on one that is not (W,) or (B, T or 1, W), with or without an axis for the tokens.
    """
    batch, latents, _, width = x.shape
    shape = tuple(part.shape)
    if len(shape) == 4 and shape[2] == 1:
        shape = (*shape[:2], width) if shape[3] == width else shape
    if shape != (width,) and shape not in ((batch, latents, width), (batch, 1, width), (1, 1, width)):
        raise ValueError(
            f"a modulation of shape {tuple(part.shape)} for x {tuple(x.shape)}: send ({width},) or "
            f"({batch}, {latents} or 1, {width})"
        )
    return part.reshape(-1, width)
