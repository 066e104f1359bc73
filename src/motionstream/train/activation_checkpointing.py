"""Activation checkpointing, added from outside: a block keeps its input and computes the rest again going backward.

In a rollout that is a trap: by then the rolling cache has moved on, and a block that reads it again sees another past,
of the same shape, so that the gradient is wrong without any error. Therefore a block that reads a cache is given a
copy of the past that it saw, its own layer's alone. That costs memory in rollouts: for each chunk the keys and values
of sink and window in every layer, much less than what a block would otherwise keep.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from motionstream.dit.cache import CachedAttention


def checkpoint_activations(blocks: Iterable[nn.Module]) -> None:
    """Let each block of a DiT, in order, be computed again in the backward pass. Without gradient nothing changes."""
    for layer, block in enumerate(blocks):
        block.forward = CheckpointedForward(block.forward, layer)


class CheckpointedForward:
    """A block's `forward` that keeps its arguments instead of all that it computes. layer: of the block."""

    def __init__(self, forward: Callable[..., Tensor], layer: int) -> None:
        self.forward, self.layer = forward, layer

    def __call__(self, *arguments: Any) -> Tensor:
        if not torch.is_grad_enabled():
            return self.forward(*arguments)
        kept = (with_own_past(one, self.layer) if isinstance(one, CachedAttention) else one for one in arguments)
        # nothing in a block is random, so no generator need be restored
        out: Tensor = checkpoint(self.forward, *kept, use_reentrant=False, preserve_rng_state=False)
        return out


def with_own_past(attend_to: CachedAttention, layer: int) -> CachedAttention:
    """The same attention to one layer's past as that is now, whatever is committed later.

    Raises ValueError if it would itself commit: that must happen once, and a checkpointed block runs twice.
    """
    if attend_to.commit:
        raise ValueError(
            "a pass that commits to the cache cannot be computed again: run it under torch.no_grad(), or, where "
            "rollouts have no clean pass, train with activation_checkpointing = false"
        )
    keys, values = (past.clone() for past in attend_to.cache.read(layer))
    own = copy.copy(attend_to)
    own.cache = copy.copy(attend_to.cache)  # its counts as they are now
    own.cache.read = lambda layer: (keys, values)  # type: ignore[method-assign]
    return own
