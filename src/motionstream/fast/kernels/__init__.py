"""Elementwise work between a block's products, each piece in one pass over memory.

Unfused it is 73 of the some 80 GB that a forward of Wan 1.3B moves. Every operation has a plain form (`reference`) and
a Triton kernel (`triton_ops`); what each does is said in `table`. Triton is imported when the first kernel is needed.
"""

from __future__ import annotations

import importlib.util
from functools import cache

import torch
from torch import Tensor

from motionstream.fast.kernels import reference
from motionstream.fast.kernels.table import FusedOps

__all__ = ["REFERENCE", "FusedOps", "ops_for", "quantise_rows", "triton_is_here"]

REFERENCE = FusedOps(
    reference.norm_modulate,
    reference.add_gated_norm,
    reference.add_norm_modulate,
    reference.add_gated_norm_modulate,
    reference.norm_rope_store,
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
        fast.quantise_rows,
    )


def quantise_rows(x: Tensor) -> tuple[Tensor, Tensor]:
    """As `FusedOps.quantise_rows`; by the kernel where the device has that format, on CUDA from 8.9 on."""
    known = x.device.type == "cuda" and torch.cuda.get_device_capability(x.device) >= (8, 9)
    return (ops_for(x.device) if known else REFERENCE).quantise_rows(x)
