"""`torch.compile` of the plain parts, at its best: what the hand-fused forms of `motionstream.fast` have to beat.

The whole transformer is one graph over a `SlotCache`, whose tensors never move. It is compiled anew for every fill of
the slots, for a commit, and for every size; that takes a C++ compiler on a CPU, Triton on a GPU, and minutes.

Legend: B batch, T latents, S tokens of a latent, H heads, D channels of a head.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from motionstream.dit import Over, RollingCache, TextContext, VideoDiT
from motionstream.dit.layers import Block, LayerContext
from motionstream.dit.rope import Table, rotate
from motionstream.fast.slots import SlotCache
from motionstream.stream.model import StreamingModel


class CompiledDiT(nn.Module):
    """A VideoDiT for streams over a `SlotCache` without gradients. options: of `torch.compile`."""

    def __init__(self, model: VideoDiT, **options: Any) -> None:
        super().__init__()
        self.reference, self.config, self.kernel = model, model.config, model.kernel
        self.text_context, self.grid = model.text_context, model.grid
        self._compiled = torch.compile(self._through, fullgraph=True, dynamic=False, **options)

    def forward(
        self, x_BTCHW: Tensor, t: Tensor, context: Tensor | TextContext, over: Over = None, commit: bool = False
    ) -> Tensor:
        """As `VideoDiT.forward` over slots. Raises ValueError on another cache."""
        if not isinstance(over, SlotCache):
            raise ValueError("the compiled form streams over a SlotCache only")
        context = self.text_context(context) if isinstance(context, Tensor) else context
        latents = x_BTCHW.shape[1]
        slots = _Slots(over, latents, commit)
        out: Tensor = self._compiled(x_BTCHW, t, context.layers, context.bias, slots)
        if commit:
            over.advance(latents)
        return out

    def commit(self, x_BTCHW: Tensor, t: Tensor, context: Tensor | TextContext, cache: RollingCache) -> None:
        """As `VideoDiT.commit`."""
        self(x_BTCHW, t, context, cache, commit=True)

    def _through(
        self, x_BTCHW: Tensor, t: Tensor, layers: Sequence[LayerContext], bias: Tensor | None, slots: _Slots
    ) -> Tensor:
        model = self.reference
        time, projected = model.embed_time(t)
        x = model.patchify(x_BTCHW)
        for layer, block in enumerate(model.blocks):
            x = cast(Block, block)(x, projected, layers[layer], slots, layer, "sdpa", bias)
        return model.unpatchify(model.head(x, time), x_BTCHW.shape[-2])


class _Slots:
    """The attention of `SlottedAttention`, with nothing in it that a graph has to be broken for."""

    def __init__(self, cache: SlotCache, latents: int, commit: bool) -> None:
        self.keys, self.values, self.begin, self.end = cache.keys, cache.values, cache.filled, cache.filled + latents
        self.own = cache.table(cache.filled, latents)
        self.window: Table | None = None
        if commit and cache.replaces(latents) and cache.window:
            self.window, self.place = cache.table(cache.sink, cache.window), (cache.sink, cache.sink + cache.window)

    def __call__(self, layer: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        self.keys[layer, :, self.begin : self.end] = rotate(k, self.own)
        self.values[layer, :, self.begin : self.end] = v
        keys, values = (slots[layer, :, : self.end].flatten(1, 2).transpose(1, 2) for slots in (self.keys, self.values))
        out = F.scaled_dot_product_attention(rotate(q, self.own).flatten(1, 2).transpose(1, 2), keys, values)
        if self.window is not None:
            begin, end = self.place
            self.keys[layer, :, begin:end] = rotate(k[:, begin - end :], self.window)
            self.values[layer, :, begin:end] = v[:, begin - end :]
        return out.transpose(1, 2).reshape(q.shape)


def compile_decoder(model: StreamingModel) -> StreamingModel:
    """The model with the networks that make its frames compiled: the tiny VAE's decoder and the detail network."""
    for part in (getattr(model.vae, "decoder", None), getattr(model.finisher, "detail", None)):
        if isinstance(part, nn.Module):
            part.compile(dynamic=False)
    return model
