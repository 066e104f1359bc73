"""The plain forms: what the kernels must equal, and what runs without them.

Written from the model's own parts (`layers`, `rope`), so that they cannot drift from it.
Legend: B batch, T latents, S tokens of a latent, W width, H heads, D channels of a head.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from motionstream.dit.layers import add_gated
from motionstream.dit.rope import rotate
from motionstream.fast.kernels.table import E4M3, HIGHEST, LEAST_SCALE, Pair, modulation_rows


def norm_modulate(x: Tensor, shift: Tensor, scale: Tensor, eps: float) -> Tensor:
    normed = F.layer_norm(x.float(), x.shape[-1:], eps=eps)
    return (normed * (1 + _spread(scale, x)) + _spread(shift, x)).type_as(x)


def add_gated_norm(x: Tensor, branch: Tensor, gate: Tensor, weight: Tensor, bias: Tensor, eps: float) -> Pair:
    added = add_gated(x, branch, _spread(gate, x))
    return added, F.layer_norm(added.float(), x.shape[-1:], weight.float(), bias.float(), eps).type_as(x)


def add_norm_modulate(x: Tensor, branch: Tensor, shift: Tensor, scale: Tensor, eps: float) -> Pair:
    added = x + branch.type_as(x)
    return added, norm_modulate(added, shift, scale, eps)


def add_gated_norm_modulate(x: Tensor, branch: Tensor, gate: Tensor, shift: Tensor, scale: Tensor, eps: float) -> Pair:
    added = add_gated(x, branch, _spread(gate, x))
    return added, norm_modulate(added, shift, scale, eps)


def norm_rope_store(
    qkv: Tensor,
    norm_q: Tensor,
    norm_k: Tensor,
    cos: Tensor,
    sin: Tensor,
    keys: Tensor,
    values: Tensor,
    eps: float,
) -> Tensor:
    heads = keys.shape[-2]
    q, k, v = qkv.chunk(3, dim=-1)
    q, k = (
        F.rms_norm(part.float(), part.shape[-1:], weight.float(), eps).type_as(qkv).unflatten(-1, (heads, -1))
        for part, weight in ((q, norm_q), (k, norm_k))
    )
    keys.copy_(rotate(k, (cos, sin)))
    values.copy_(v.unflatten(-1, (heads, -1)))
    return rotate(q, (cos, sin))


def quantise_rows(x: Tensor) -> Pair:
    exact = x.float()
    scale = exact.abs().amax(-1, keepdim=True).div(HIGHEST).clamp(min=LEAST_SCALE)
    return (exact / scale).clamp(-HIGHEST, HIGHEST).to(E4M3), scale


def _spread(part: Tensor, x: Tensor) -> Tensor:
    """(B or 1, T or 1, 1, W) float32."""
    rows = modulation_rows(part, x).float()
    batch = x.shape[0] if len(rows) >= x.shape[0] else 1
    return rows.reshape(batch, -1, 1, x.shape[-1])
