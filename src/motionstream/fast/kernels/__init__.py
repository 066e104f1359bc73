"""Elementwise work between a block's products, each piece in one pass over memory.

Unfused it is 73 of the some 80 GB that a forward of Wan 1.3B moves. Every operation has a plain form (`reference`) and
a Triton kernel (`triton_ops`); the functions here take the kernel on a CUDA device with Triton, and the plain form
elsewhere and wherever a gradient is wanted. Triton is imported when the first kernel is needed.

Legend: B batch, T latents, S tokens of a latent, W width, H heads, D channels of a head. A *steer* is what a timestep
gives one norm or branch: (W,), or (B, T or 1, W) with or without an axis for the tokens. Insides are float32; what is
returned has the dtype of x.
"""

from __future__ import annotations

import importlib.util
from functools import cache

import torch
from torch import Tensor

from motionstream.fast.kernels import reference
from motionstream.fast.kernels.table import FusedOps

__all__ = [
    "REFERENCE",
    "FusedOps",
    "add_gated_norm",
    "add_gated_norm_modulate",
    "add_norm_modulate",
    "bias_gelu",
    "norm_modulate",
    "norm_rope_store",
    "ops_for",
    "quantise_rows",
    "triton_is_here",
]

REFERENCE = FusedOps(
    reference.norm_modulate,
    reference.add_gated_norm,
    reference.add_norm_modulate,
    reference.add_gated_norm_modulate,
    reference.norm_rope_store,
    reference.bias_gelu,
    reference.quantise_rows,
)
"""The plain forms, for every device."""


@cache
def triton_is_here() -> bool:
    """Whether Triton can be imported."""
    return importlib.util.find_spec("triton") is not None


def ops_for(device: torch.device) -> FusedOps:
    """The fastest forms for inference on a device: what a fused block takes once, when it is made."""
    return _kernels() if device.type == "cuda" and triton_is_here() else REFERENCE


@cache
def _kernels() -> FusedOps:
    from motionstream.fast.kernels import triton_ops as fast

    return FusedOps(
        fast.norm_modulate,
        fast.add_gated_norm,
        fast.add_norm_modulate,
        fast.add_gated_norm_modulate,
        fast.norm_rope_store,
        fast.bias_gelu,
        fast.quantise_rows,
    )


def norm_modulate(x: Tensor, shift: Tensor, scale: Tensor, eps: float) -> Tensor:
    """LayerNorm(x) (1 + scale) + shift; x (B, T, S, W), shift and scale steers."""
    return _ops(x).norm_modulate(x, shift, scale, eps)


def add_gated_norm(
    x: Tensor, branch: Tensor, gate: Tensor, weight: Tensor, bias: Tensor, eps: float
) -> tuple[Tensor, Tensor]:
    """x + branch · gate, and the LayerNorm of that with weight and bias (W,): after self-attention."""
    return _ops(x).add_gated_norm(x, branch, gate, weight, bias, eps)


def add_norm_modulate(x: Tensor, branch: Tensor, shift: Tensor, scale: Tensor, eps: float) -> tuple[Tensor, Tensor]:
    """x + branch, and that normed and modulated: after cross-attention."""
    return _ops(x).add_norm_modulate(x, branch, shift, scale, eps)


def add_gated_norm_modulate(
    x: Tensor, branch: Tensor, gate: Tensor, shift: Tensor, scale: Tensor, eps: float
) -> tuple[Tensor, Tensor]:
    """x + branch · gate, and that normed and modulated: after one block's feed-forward, before the next block."""
    return _ops(x).add_gated_norm_modulate(x, branch, gate, shift, scale, eps)


def norm_rope_store(
    qkv: Tensor,
    norm_q: Tensor,
    norm_k: Tensor,
    cos: Tensor,
    sin: Tensor,
    keys: Tensor,
    values: Tensor,
    eps: float,
    raw_keys: Tensor | None = None,
) -> Tensor:
    """RMSNorm over all heads and rotary positions of queries and keys; keys and values go straight to their slot.

    qkv (B, T, S, 3 W): of the joined projection. norm_q, norm_k (W,): weights. cos, sin (T, S, 1, D/2): see `rope`.
    keys, values (B, T, S, H, D): where to write, such as part of a cache; tokens of a clip must lie behind one another.
    raw_keys: the same for keys before their rotation, if they are wanted too. Returns queries (B, T, S, H, D).
    """
    return _ops(qkv).norm_rope_store(qkv, norm_q, norm_k, cos, sin, keys, values, eps, raw_keys)


def bias_gelu(x: Tensor, bias: Tensor) -> Tensor:
    """GELU(x + bias) in the tanh form; x (…, W), bias (W,)."""
    return _ops(x).bias_gelu(x, bias)


def quantise_rows(x: Tensor) -> tuple[Tensor, Tensor]:
    """x (rows, K) as e4m3 and the float32 scale of each row (rows, 1): values · scales is x but for rounding.

    The kernel is taken where the device has that format, on CUDA from 8.9 on.
    """
    known = x.device.type == "cuda" and torch.cuda.get_device_capability(x.device) >= (8, 9)
    return (_ops(x) if known else REFERENCE).quantise_rows(x)


def _ops(x: Tensor) -> FusedOps:
    return REFERENCE if torch.is_grad_enabled() and x.requires_grad else ops_for(x.device)
