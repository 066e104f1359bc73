"""The past as a fused model sees it: joined with room for the chunk, keys turned, kept while the cache stays the same.

Legend: B batch, T latents, S tokens of a latent, L tokens, W width, H heads, D channels of a head.
"""

from __future__ import annotations

import math
import weakref

import torch
from torch import Tensor

from motionstream.dit.cache import RollingCache
from motionstream.dit.rope import rotary_turns
from motionstream.fast.slots import SlotCache

HIGHEST_SCORE = 60.0
"""Scores up to here, summed over any number of keys, stay far inside float32 without taking the largest off first."""


class Past:
    """[sink | window | room for the chunk] of one cache, keys turned: all layers' (B, filled + T, S, H, D)."""

    def __init__(self, cache: RollingCache, grid: tuple[int, int], latents: int, like: Tensor) -> None:
        self.cache = weakref.ref(cache)
        self.grid, self.latents, self.filled = grid, latents, cache.filled
        self.own = rotary_turns(range(self.filled, self.filled + latents), grid, cache.config.head_dim, like.device)
        layers, batch, _, tokens, heads, channels = cache.keys.shape
        with torch.inference_mode(False):
            self.keys = like.new_empty((layers, batch, self.filled + latents, tokens, heads, channels))
            self.values = torch.empty_like(self.keys)
        self.scores = Scores(like)
        self.version = self.sink_version = -1
        self.serves(cache, grid, latents)

    def serves(self, cache: RollingCache, grid: tuple[int, int], latents: int) -> bool:
        """Whether this is the past of that cache and chunk; brings it up to date where its sizes are still right."""
        if self.cache() is not cache or (self.grid, self.latents, self.filled) != (grid, latents, cache.filled):
            return False
        if self.sink_version != cache.sink_version:
            self._fill_sink(cache)
        if self.version != cache.version:
            self._fill_window(cache)
        self.version, self.sink_version = cache.version, cache.sink_version
        return True

    def _fill_sink(self, cache: RollingCache) -> None:
        sink = cache.sink_filled
        self.keys[:, :, :sink] = cache.keys[:, :, :sink]
        self.values[:, :, :sink] = cache.values[:, :, :sink]

    def _fill_window(self, cache: RollingCache) -> None:
        sink, filled = cache.sink_filled, self.filled
        window = rotary_turns(cache.positions()[sink:], self.grid, cache.config.head_dim, self.keys.device)
        for layer in range(len(self.keys)):
            turn_into(self.keys[layer, :, sink:filled], cache.keys[layer, :, sink:filled], window)
            self.values[layer, :, sink:filled] = cache.values[layer, :, sink:filled]

    def join(self, layer: int, raw_k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        """Put the chunk behind the past: keys and values of all, (B, filled + T, S, H, D)."""
        turn_into(self.keys[layer, :, self.filled :], raw_k, self.own)
        self.values[layer, :, self.filled :] = v
        return self.keys[layer], self.values[layer]

    def store(self, layer: int, raw_k: Tensor, v: Tensor) -> None:
        """Commit one layer of the chunk, joined before, to the cache."""
        cache = self.cache()
        assert cache is not None
        cache.store(layer, raw_k, self.keys[layer, :, self.filled :], v)


class SlotPast:
    """The past of one pass where the cache itself has it joined and turned, with room for the chunk."""

    def __init__(self, cache: SlotCache, latents: int, scores: Scores) -> None:
        self.cache, self.scores = cache, scores
        self.filled, self.latents = cache.filled, latents
        self.own = cache.turns(self.filled, latents)

    def join(self, layer: int, raw_k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        """As `Past.join`, in the slots themselves."""
        end = self.filled + self.latents
        keys, values = self.cache.keys[layer, :, :end], self.cache.values[layer, :, :end]
        turn_into(keys[:, self.filled :], raw_k, self.own)
        values[:, self.filled :] = v
        return keys, values

    def store(self, layer: int, raw_k: Tensor, v: Tensor) -> None:
        """Write the chunk into the window's place, turned for its next role, unless it stands there already."""
        cache, kept = self.cache, self.cache.window
        if cache.replaces(self.latents):
            last, window = slice(self.latents - kept, self.latents), slice(cache.sink, cache.sink + kept)
            turn_into(cache.keys[layer, :, window], raw_k[:, last], cache.turns(cache.sink, kept))
            cache.values[layer, :, window] = v[:, last]


class Scores:
    """Room for the scores of one layer at a time. like: a tensor of their dtype and device."""

    def __init__(self, like: Tensor) -> None:
        with torch.inference_mode(False):
            self._room = like.new_empty(0)

    def __call__(self, rows: int, queries: int, keys: int) -> Tensor:
        """(rows, queries, keys), unwritten."""
        if self._room.numel() != rows * queries * keys:
            with torch.inference_mode(False):
                self._room = self._room.new_empty(rows * queries * keys)
        return self._room.view(rows, queries, keys)


def attend_bounded(q_BLHD: Tensor, k_BLHD: Tensor, v_BLHD: Tensor, scores: Scores) -> Tensor:
    """softmax(q kᵀ) v → (B, L, H, D), for scores known to stay under `HIGHEST_SCORE`; q already divided by √D.

    With nothing to take off first, a softmax is one pass over the scores and a division of its few results.
    """
    batch, queries, heads, channels = q_BLHD.shape
    q, k, v = (x.transpose(1, 2) for x in (q_BLHD, k_BLHD, v_BLHD))
    if batch == 1:  # a view; with more clips heads lie apart and have to be copied together
        q, k, v = q[0], k[0], v[0]
    else:
        q, k, v = (x.flatten(0, 1) for x in (q, k, v))
    weights = torch.bmm(q, k.transpose(1, 2), out=scores(batch * heads, queries, k.shape[1])).exp_()
    total = weights.sum(-1, keepdim=True)
    out = torch.empty_like(q_BLHD, memory_format=torch.contiguous_format)
    sums = torch.bmm(weights, v).view(batch, heads, queries, channels)
    torch.div(sums, total.view(batch, heads, queries, 1), out=out.transpose(1, 2))
    return out


def highest_score(norm_q: Tensor, norm_k: Tensor, head_dim: int) -> float:
    """The most that q · k / √D can be after RMS norms over all heads with these weights, whatever the tokens.

    Normed tokens have length √W; turning keeps the length of each pair of channels.
    """
    pairs = (weight.abs().view(-1, 2).amax(-1) for weight in (norm_q, norm_k))
    return float(math.prod(pairs, start=torch.ones(())).amax()) * norm_q.numel() / math.sqrt(head_dim)


def as_pairs(x: Tensor) -> Tensor:
    """Neighbouring float32 channels as one complex number: a view."""
    return torch.view_as_complex(x.unflatten(-1, (-1, 2)))


def turn(x: Tensor, by: Tensor) -> Tensor:
    """`rotate` in one pass; x (B, T, S, H, D), dtype kept."""
    return torch.view_as_real(as_pairs(x.float()) * by).flatten(-2).type_as(x)


def turn_into(out: Tensor, x: Tensor, by: Tensor) -> None:
    """`turn`, written to `out`."""
    if out.dtype == x.dtype == torch.float32:
        torch.mul(as_pairs(x), by, out=as_pairs(out))
    else:
        out.copy_(torch.view_as_real(as_pairs(x.float()) * by).flatten(-2))
