"""The rolling KV cache of an endless stream, and the cached student's attention over it.

Per layer one preallocated [sink | window] of keys and one of values, counted in latents. The sink holds the
first latents of the stream, its keys after rotary positions (RoPE); the window is a ring of the latest ones, its keys
before RoPE. A latent's position is its slot: sink, then window from old to new, then the current chunk. So nothing
grows and no position leaves the trained range (paper section 3.2).

Legend: B batch, T latents, S tokens of a latent, H heads, D channels of a head.
"""

from __future__ import annotations

from typing import NotRequired, TypedDict

import torch
from torch import Tensor

from motionstream.dit.attention import Attend, Kernel, attend
from motionstream.dit.config import DiTConfig
from motionstream.dit.rope import rotary_table, rotate, unrotate


class CacheState(TypedDict):
    """The contents of a cache: its filled slots and four counts.

    turned_rows: rows of the token grid, where the window's keys are stored after RoPE (`SlotCache`).
    """

    keys: Tensor
    values: Tensor
    sink: int
    window: int
    sink_filled: int
    window_seen: int
    turned_rows: NotRequired[int]


class RollingCache:
    """Keys and values of the past, (layers, B, sink + window, S, H, D).

    sink, window: latents kept of the start and of the latest. tokens: of one latent.
    What is stored is detached; counts live on the host, so nothing here waits for the device.
    """

    room = 0
    """Slots after the window for the current chunk."""

    def __init__(
        self,
        config: DiTConfig,
        *,
        batch: int,
        tokens: int,
        sink: int,
        window: int,
        dtype: torch.dtype = torch.float32,
        device: torch.device | str = "cpu",
    ) -> None:
        if sink < 0 or window < 0:
            raise ValueError(f"sink {sink}, window {window}: count latents, from 0 up")
        self.config = config
        self.sink = sink
        self.window = window
        self.version = 0
        """Grows whenever the contents change, so that what was computed from them can be recomputed."""
        self.sink_version = 0
        """Grows when the sink changes."""
        shape = (config.layers, batch, sink + window + self.room, tokens, config.heads, config.head_dim)
        # Ordinary tensors even if a stream is opened in inference mode: they are written in place.
        with torch.inference_mode(False):
            self.keys = torch.zeros(shape, dtype=dtype, device=device)
            self.values = torch.zeros(shape, dtype=dtype, device=device)
        self.reset()

    @property
    def filled(self) -> int:
        """Latents that the next chunk attends to besides itself, and the position of its first latent."""
        return self.sink_filled + self.window_filled

    @property
    def window_filled(self) -> int:
        return min(self.window_seen, self.window)

    def reset(self) -> None:
        """Empty the cache."""
        self.sink_filled = 0
        self.sink_version += 1
        self.reset_window()

    def reset_window(self) -> None:
        """Empty the window and keep the sink. After a prompt change the window's clean latents are committed again."""
        self.window_seen = 0
        self.version += 1

    def positions(self) -> list[int]:
        """Position of each filled slot, in the order of memory: the window is a ring."""
        return slot_positions(self.sink_filled, self.window, self.window_seen)

    def attention(
        self, grid: tuple[int, int], latents: int, device: torch.device, kernel: Kernel, commit: bool
    ) -> Attend:
        """Attention of a chunk of so many latents to the cache and itself. commit: the chunk is then stored."""
        return CachedAttention(self, grid, latents, device, kernel, commit)

    def read(self, layer: int) -> tuple[Tensor, Tensor]:
        """Keys (sink after RoPE, window before) and values of the filled slots, (B, filled, S, H, D), as views."""
        return self.keys[layer, :, : self.filled], self.values[layer, :, : self.filled]

    @torch.no_grad()
    def store(self, layer: int, raw_k: Tensor, rotated_k: Tensor, v: Tensor) -> None:
        """Write one layer of a clean chunk. Counts change in `advance`, once all layers are written."""
        to_sink, to_window = self._split(v.shape[1])
        end = self.sink_filled + to_sink
        self.keys[layer, :, self.sink_filled : end] = rotated_k[:, :to_sink]
        self.values[layer, :, self.sink_filled : end] = v[:, :to_sink]
        for i in range(max(0, to_window - self.window), to_window):
            slot = self.sink + (self.window_seen + i) % self.window
            self.keys[layer, :, slot] = raw_k[:, to_sink + i]
            self.values[layer, :, slot] = v[:, to_sink + i]

    def advance(self, latents: int) -> None:
        """Count a chunk, once all layers have stored it."""
        to_sink, to_window = self._split(latents)
        self.sink_filled += to_sink
        self.sink_version += to_sink > 0
        self.window_seen += to_window
        self.version += 1

    def _split(self, latents: int) -> tuple[int, int]:
        """How many of a chunk's latents still go to the sink, and how many to the window."""
        to_sink = min(latents, self.sink - self.sink_filled)
        return to_sink, latents - to_sink

    def snapshot(self) -> CacheState:
        """A copy of the contents; after `restore` results are the same bits."""
        return {
            "keys": self.keys[:, :, : self.filled].clone(),
            "values": self.values[:, :, : self.filled].clone(),
            "sink": self.sink,
            "window": self.window,
            "sink_filled": self.sink_filled,
            "window_seen": self.window_seen,
        }

    @torch.no_grad()
    def restore(self, state: CacheState) -> None:
        """Take the contents from a snapshot. Raises ValueError if it is of other sizes.

        Exact from a cache of the same class; from one of the other class keys are rotated, with its rounding.
        """
        filled = self._adopt(state)
        self.keys[:, :, :filled] = self._own_form(state).to(self.keys)
        self.values[:, :, :filled] = self._own_order(state, state["values"]).to(self.values)

    def _adopt(self, state: CacheState) -> int:
        """Take the counts from a snapshot, if it fits; returns how many slots it fills."""
        if (state["sink"], state["window"]) != (self.sink, self.window):
            raise ValueError(
                f"the snapshot has sink {state['sink']} and window {state['window']} latents: "
                f"restore it into a cache of those, not {self.sink} and {self.window}"
            )
        filled = state["sink_filled"] + min(state["window_seen"], self.window)
        expected = self.keys[:, :, :filled].shape
        if state["keys"].shape != expected or state["values"].shape != expected:
            raise ValueError(f"the snapshot holds {tuple(state['keys'].shape)}, this cache needs {tuple(expected)}")
        self.sink_filled, self.window_seen = state["sink_filled"], state["window_seen"]
        self.version += 1
        self.sink_version += 1
        return filled

    def _own_form(self, state: CacheState) -> Tensor:
        """A snapshot's keys in the form this cache stores: here, the window's before RoPE."""
        keys, rows = state["keys"], state.get("turned_rows", 0)
        if not rows:
            return keys
        sink, filled, tokens = state["sink_filled"], keys.shape[2], keys.shape[3]
        table = rotary_table(range(sink, filled), (rows, tokens // rows), self.config.head_dim, keys.device)
        window = [unrotate(layer, table) for layer in keys[:, :, sink:]]
        return torch.cat([keys[:, :, :sink], torch.stack(window)], 2)

    def _own_order(self, state: CacheState, slots: Tensor) -> Tensor:
        """A snapshot's slots in the order this cache stores: a ring may begin with its oldest."""
        return slots


def slot_positions(sink_filled: int, window: int, window_seen: int) -> list[int]:
    """Position of each filled slot of [sink | ring], in the order of memory."""
    kept = min(window_seen, window)
    ring = {n % window: sink_filled + n - (window_seen - kept) for n in range(window_seen - kept, window_seen)}
    return [*range(sink_filled), *(ring[slot] for slot in range(kept))]


class CachedAttention:
    """A chunk attends to the cache and itself; with commit, it is then stored.

    Keys and values are copied into new tensors: a later commit, which writes in place, then does not break the backward
    pass of an earlier call.
    """

    def __init__(
        self,
        cache: RollingCache,
        grid: tuple[int, int],
        latents: int,
        device: torch.device,
        kernel: Kernel,
        commit: bool,
    ) -> None:
        self.cache = cache
        self.commit = commit
        self.kernel = kernel
        head_dim = cache.config.head_dim
        own = range(cache.filled, cache.filled + latents)
        self.own = rotary_table(own, grid, head_dim, device)
        self.window = rotary_table(cache.positions()[cache.sink_filled :], grid, head_dim, device)

    def __call__(self, layer: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        past_k, past_v = (past.to(k.dtype) for past in self.cache.read(layer))
        sink = self.cache.sink_filled
        rotated = rotate(k, self.own)
        keys = torch.cat((past_k[:, :sink], rotate(past_k[:, sink:], self.window), rotated), dim=1)
        values = torch.cat((past_v, v), dim=1)
        out = attend(rotate(q, self.own).flatten(1, 2), keys.flatten(1, 2), values.flatten(1, 2), kernel=self.kernel)
        if self.commit:
            self.cache.store(layer, k, rotated, v)
        return out.reshape(q.shape)
