"""A chunk mask as one product under an explicit (L, L) mask: the plainer form that `MaskedAttention` must equal.

Legend: B batch, T latents, S tokens of a latent, L tokens, H heads, D channels of a head.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from unittest.mock import patch

import torch
import torch.nn.functional as F
from torch import Tensor

from motionstream.dit import ChunkMask
from motionstream.dit.mask import _rotate_copies
from motionstream.dit.rope import rotary_table, split_head


@contextmanager
def masks(dense: bool) -> Iterator[None]:
    """Within it, chunk masks are dense if asked for."""
    if not dense:
        yield
        return
    with patch("motionstream.dit.model.MaskedAttention", DenseMaskedAttention):
        yield


def allowed_latents(mask: ChunkMask) -> Tensor:
    """(latents, latents) bool, True where a latent (row) sees a latent (column)."""
    seen = torch.zeros(mask.latents, mask.latents, dtype=torch.bool)
    for view in mask.views():
        for copy in range(2 if mask.teacher_forcing else 1):
            own = slice(*(copy * mask.clip_latents + edge for edge in view.own))
            seen[own, own] = True
            seen[own, slice(*view.sink)] = True
            seen[own, slice(*view.window)] = True
    return seen


def attended(q_BTSHD: Tensor, k_BTSHD: Tensor, v_BTSHD: Tensor, allowed: Tensor) -> Tensor:
    """(B, L, H, D)."""
    q, k, v = (x.flatten(1, 2).transpose(1, 2) for x in (q_BTSHD, k_BTSHD, v_BTSHD))
    return F.scaled_dot_product_attention(q, k, v, attn_mask=allowed).transpose(1, 2)


class DenseMaskedAttention:
    """Attention under the explicit (L, L) mask, in one product.

    A query meets the sink at its slot and all else at clip time, so the channels that carry time appear twice:
    [at slot | at clip time | space] against [key | 0 | space] for the sink and [0 | key | space] for the rest.
    """

    def __init__(self, mask: ChunkMask, grid: tuple[int, int], head_dim: int, device: torch.device, kernel: str):
        self.mask = mask
        self.time = split_head(head_dim)[0]
        tokens = grid[0] * grid[1]
        allowed = allowed_latents(mask).repeat_interleave(tokens, 0).repeat_interleave(tokens, 1)
        self.allowed = allowed.to(device)
        slots = [n - view.shift for view in mask.views() for n in range(*view.own)]
        self.slot = rotary_table(slots, grid, head_dim, device)
        self.clip = rotary_table(range(mask.clip_latents), grid, head_dim, device)

    def __call__(self, layer: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        n = self.mask.clip_latents
        at_slot, at_clip, keys = (
            _rotate_copies(q, self.slot, n),
            _rotate_copies(q, self.clip, n),
            _rotate_copies(k, self.clip, n),
        )
        wide_q = torch.cat((at_slot[..., : self.time], at_clip), dim=-1) * self._rescale(q.shape[-1])
        wide_k = torch.cat((keys[..., : self.time], keys), dim=-1)
        is_sink = self._is_sink(k)
        wide_k[..., : self.time] *= is_sink
        wide_k[..., self.time : 2 * self.time] *= 1 - is_sink
        wide_v = torch.nn.functional.pad(v, (0, self.time))
        out = attended(wide_q, wide_k, wide_v, self.allowed)
        return out[..., : v.shape[-1]].reshape(v.shape)

    def _rescale(self, head_dim: int) -> float:
        """Undo the scale that attention takes from the doubled width."""
        return float(((head_dim + self.time) / head_dim) ** 0.5)

    def _is_sink(self, k: Tensor) -> Tensor:
        """(T, 1, 1, 1), 1 for the latents that are kept as sink."""
        latent = torch.arange(k.shape[1], device=k.device)
        return (latent < self.mask.sink).to(k.dtype).view(-1, 1, 1, 1)
