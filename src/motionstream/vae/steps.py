"""What VAEs with memory share: steps of time folded into the batch, and the step before each.

Legend: B batch, T steps of time, C channels, H W height and width of the tensor at hand.
"""

from __future__ import annotations

import torch
from torch import Tensor

LAYOUT = torch.channels_last
"""Memory layout in which convolutions are fastest."""


def flat(x_BTCHW: Tensor) -> Tensor:
    """Fold time into the batch, in the memory layout convolutions are fastest in."""
    return laid_out(x_BTCHW.flatten(0, 1))


def laid_out(x_NCHW: Tensor) -> Tensor:
    """The same values in the memory layout convolutions are fastest in."""
    return x_NCHW.contiguous(memory_format=LAYOUT)


def delayed(x_BTCHW: Tensor, memory: Tensor | None) -> tuple[Tensor, Tensor]:
    """The same steps one step earlier (zeros before the first), and the memory for the next call."""
    first = torch.zeros_like(x_BTCHW[:, :1]) if memory is None else memory
    return torch.cat([first, x_BTCHW[:, :-1]], 1), x_BTCHW[:, -1:]
