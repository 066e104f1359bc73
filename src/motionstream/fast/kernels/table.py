"""The table of operations that a fused block is built with; what each does is said in the package."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

Pair = tuple[Tensor, Tensor]
"""The new x and its norm, or values and their scales."""
E4M3 = torch.float8_e4m3fn
HIGHEST = float(torch.finfo(E4M3).max)  # 448
LEAST_SCALE = 1e-12


class NormRopeStore(Protocol):
    def __call__(
        self,
        qkv: Tensor,
        norm_q: Tensor,
        norm_k: Tensor,
        cos: Tensor,
        sin: Tensor,
        keys: Tensor,
        values: Tensor,
        eps: float,
        raw_keys: Tensor | None = None,
    ) -> Tensor: ...


@dataclass(frozen=True)
class FusedOps:
    """One form of every operation."""

    norm_modulate: Callable[[Tensor, Tensor, Tensor, float], Tensor]
    add_gated_norm: Callable[[Tensor, Tensor, Tensor, Tensor, Tensor, float], Pair]
    add_norm_modulate: Callable[[Tensor, Tensor, Tensor, Tensor, float], Pair]
    add_gated_norm_modulate: Callable[[Tensor, Tensor, Tensor, Tensor, Tensor, float], Pair]
    norm_rope_store: NormRopeStore
    bias_gelu: Callable[[Tensor, Tensor], Tensor]
    quantise_rows: Callable[[Tensor], Pair]


def steer_rows(steer: Tensor, x: Tensor) -> Tensor:
    """A steer of x (B, T, S, W) as rows (N, W), each for x's tokens ÷ N of them that follow one another.

    Raises ValueError on a steer that is not (W,) or (B, T or 1, W), with or without an axis for the tokens.
    """
    batch, latents, _, width = x.shape
    shape = tuple(steer.shape)
    if len(shape) == 4 and shape[2] == 1:
        shape = (*shape[:2], width) if shape[3] == width else shape
    if shape != (width,) and shape not in ((batch, latents, width), (batch, 1, width), (1, 1, width)):
        raise ValueError(
            f"a steer of shape {tuple(steer.shape)} for x {tuple(x.shape)}: send ({width},) or "
            f"({batch}, {latents} or 1, {width})"
        )
    return steer.reshape(-1, width)
