"""Exponential moving average of a network's weights, in float32."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Generic, TypeVar

import torch
from torch import Tensor, nn

M = TypeVar("M", bound=nn.Module)


class EMA(nn.Module, Generic[M]):
    """average ← d · average + (1 − d) · weights, with d rising to `decay` over the first updates.

    A module, so that it is saved like one: `average` is a frozen float32 copy of the network that can be called
    as it is. Before `start` updates it simply follows the weights (Self Forcing starts its average late).
    """

    average: M
    updates: Tensor

    def __init__(self, module: M, decay: float, start: int = 0) -> None:
        super().__init__()
        if not 0 <= decay < 1:
            raise ValueError(f"EMA decay {decay}: must be in [0, 1)")
        self.decay, self.start = decay, start
        self.average = copy.deepcopy(module).float().requires_grad_(False).eval()
        self.register_buffer("updates", torch.zeros((), dtype=torch.int64))

    def rate(self) -> float:
        """The decay of the next update: 0 before `start`, then min(decay, (1 + n) / (10 + n)) with n updates since."""
        since = int(self.updates) - self.start
        return 0.0 if since < 0 else min(self.decay, (1 + since) / (10 + since))

    @torch.no_grad()
    def update(self, module: nn.Module) -> None:
        """Move the average towards the module's weights; buffers and integers are copied."""
        weight = 1 - self.rate()
        for mine, theirs in _pairs(self.average, module):
            if mine.is_floating_point() and isinstance(theirs, nn.Parameter):
                mine.lerp_(theirs.detach().to(mine.dtype), weight)
            else:
                mine.copy_(theirs)
        self.updates += 1

    @torch.no_grad()
    def restart(self, module: nn.Module) -> None:
        """Average from the module's weights on, as if made of them now."""
        for mine, theirs in _pairs(self.average, module):
            mine.copy_(theirs)
        self.updates.zero_()

    @torch.no_grad()
    def copy_to(self, module: nn.Module) -> None:
        """Overwrite the module's weights with the average, in the module's own dtypes."""
        for mine, theirs in _pairs(self.average, module):
            theirs.copy_(mine)


def _pairs(average: nn.Module, module: nn.Module) -> Iterator[tuple[Tensor, Tensor]]:
    """(tensor of the average, the module's tensor of the same name), over what is saved with the weights."""
    theirs = module.state_dict(keep_vars=True)
    for name, mine in average.state_dict(keep_vars=True).items():
        yield mine, theirs[name]
