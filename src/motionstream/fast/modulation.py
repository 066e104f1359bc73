"""The timesteps' shift, scale and gate of every norm, kept from pass to pass: a student meets the same few times.

Where all latents of a chunk share a timestep, scale and shift are vectors and become the norm's own weight and bias.

Legend: B batch, T latents, S tokens of a latent, W width.
"""

from __future__ import annotations

from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor

from motionstream.dit.layers import Block, Head, add_gated
from motionstream.dit.model import VideoDiT


class Modulation:
    """One norm's scale and shift, and the gate of the branch after it.

    shared: whether all latents share a timestep. raw: shift, scale around 0, and gate in float32, (W,) if shared, else
    (B, T or 1, W): as the kernels take them.
    """

    def __init__(self, shift: Tensor, scale: Tensor, gate: Tensor | None, shared: bool, dtype: torch.dtype) -> None:
        self.shared = shared
        self.raw = _flat(shift, shared), _flat(scale, shared), None if gate is None else _flat(gate, shared)
        self.shift, self.scale = self._stored(shift, dtype), self._stored(1 + scale, dtype)
        self._gate = None if gate is None else self._stored(gate, dtype)

    def _stored(self, part_BTW: Tensor, dtype: torch.dtype) -> Tensor:
        return part_BTW[0, 0].to(dtype).contiguous() if self.shared else part_BTW.unsqueeze(2)

    @property
    def gate(self) -> Tensor:
        """Of the branch after the norm; the head has none."""
        assert self._gate is not None
        return self._gate

    def norm(self, x: Tensor, eps: float) -> Tensor:
        """LayerNorm(x) · scale + shift; x (B, T, S, W)."""
        if self.shared:
            return F.layer_norm(x, x.shape[-1:], self.scale, self.shift, eps)
        return (F.layer_norm(x.float(), x.shape[-1:], eps=eps) * self.scale + self.shift).type_as(x)

    def add(self, x: Tensor, branch: Tensor) -> Tensor:
        """x + branch · gate; x may be overwritten."""
        return x.addcmul_(branch, self.gate) if self.shared else add_gated(x, branch, self.gate)


def _flat(part_BTW: Tensor, shared: bool) -> Tensor:
    return (part_BTW[0, 0] if shared else part_BTW).contiguous()


class BlockModulation:
    """Of a block's self-attention and of its feed-forward."""

    def __init__(self, block: Block, time_BT6W: Tensor, shared: bool, dtype: torch.dtype) -> None:
        shift, scale, gate, ffn_shift, ffn_scale, ffn_gate = (block.modulation.float() + time_BT6W).unbind(2)
        self.attention = Modulation(shift, scale, gate, shared, dtype)
        self.ffn = Modulation(ffn_shift, ffn_scale, ffn_gate, shared, dtype)


class Modulations:
    """Of the whole network at timesteps t, (B,) or (B, T)."""

    def __init__(self, model: VideoDiT, t: Tensor) -> None:
        dtype = model.head.head.weight.dtype
        time_BTW, time_BT6W = model.embed_time(t)
        shared = bool((t == t.flatten()[0]).all())
        self.blocks = [BlockModulation(cast(Block, block), time_BT6W, shared, dtype) for block in model.blocks]
        self.head = self.of_head(model.head, time_BTW, shared, dtype)

    @staticmethod
    def of_head(head: Head, time_BTW: Tensor, shared: bool, dtype: torch.dtype) -> Modulation:
        """Of the norm before the head."""
        shift, scale = (head.modulation.float() + time_BTW.unsqueeze(2)).unbind(2)
        return Modulation(shift, scale, None, shared, dtype)
