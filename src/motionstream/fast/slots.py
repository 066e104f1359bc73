"""The past in fixed slots: what a live stream of even chunks needs, and a CUDA graph can be recorded over.

Per layer one contiguous [sink | window | chunk at hand]. Where a window is no longer than a chunk, a committed chunk
replaces it whole. So nothing is shifted, joined or turned again: the pass that commits a chunk writes its keys into
the window already turned to the window's positions, which never change. Same tokens as `RollingCache`, same counts,
snapshots that either can take up. Turned is short for: after rotary positions.

Legend: B batch, T latents, S tokens of a latent, H heads, D channels of a head.
"""

from __future__ import annotations

import torch
from torch import Tensor

from motionstream.dit.attention import Attend, Kernel, attend
from motionstream.dit.cache import CacheState, RollingCache, slot_positions
from motionstream.dit.config import DiTConfig
from motionstream.dit.rope import Table, rotary_table, rotary_turns, rotate


def slots_fit(chunk: int, window: int) -> bool:
    """Whether a stream can keep its past in fixed slots: its window is at most one chunk, its sink of any size."""
    return window <= chunk


class SlotCache(RollingCache):
    """Keys, all after rotary positions, and values: (layers, B, sink + window + chunk, S, H, D), full from the left.

    grid: (rows, columns) of a latent's tokens. chunk: latents of every chunk, the most that are seen at once.
    room: whether there is place for the chunk at hand; a stream that borrows another's (`take`) needs none.
    For passes without gradients, in the dtype of the model. Raises ValueError where the window is longer than a chunk.
    """

    def __init__(
        self,
        config: DiTConfig,
        *,
        batch: int,
        grid: tuple[int, int],
        chunk: int,
        sink: int,
        window: int,
        dtype: torch.dtype = torch.float32,
        device: torch.device | str = "cpu",
        room: bool = True,
    ) -> None:
        if not slots_fit(chunk, window):
            raise ValueError(
                f"a window of {window} latents is longer than a chunk of {chunk}: use a RollingCache for these sizes"
            )
        self.grid, self.chunk, self.room = grid, chunk, chunk if room else 0
        self._tables: dict[tuple[int, int], Table] = {}
        self._turns: dict[tuple[int, int], Tensor] = {}
        tokens = grid[0] * grid[1]
        super().__init__(config, batch=batch, tokens=tokens, sink=sink, window=window, dtype=dtype, device=device)

    def positions(self) -> list[int]:
        """Position of each filled slot: its number."""
        return list(range(self.filled))

    def table(self, begin: int, latents: int) -> Table:
        """Rotary angles of slots [begin, begin + latents). Kept here, because recorded graphs read them for ever."""
        if (begin, latents) not in self._tables:
            where = range(begin, begin + latents), self.grid, self.config.head_dim, self.keys.device
            self._tables[begin, latents] = rotary_table(*where)
        return self._tables[begin, latents]

    def turns(self, begin: int, latents: int) -> Tensor:
        """`table` as complex numbers, (T, S, 1, D/2)."""
        if (begin, latents) not in self._turns:
            where = range(begin, begin + latents), self.grid, self.config.head_dim, self.keys.device
            with torch.inference_mode(False), torch.no_grad():
                self._turns[begin, latents] = rotary_turns(*where)
        return self._turns[begin, latents]

    def attention(
        self, grid: tuple[int, int], latents: int, device: torch.device, kernel: Kernel, commit: bool
    ) -> Attend:
        """How a chunk looks at this past and at itself. Raises ValueError as `check_chunk`."""
        self.check_chunk(grid, latents, commit)
        return SlottedAttention(self, latents, kernel, commit)

    def check_chunk(self, grid: tuple[int, int], latents: int, commit: bool) -> None:
        """Raises ValueError on a chunk that has no place here, and if gradients are on."""
        if torch.is_grad_enabled():
            raise ValueError(
                "a SlotCache is written in place by every pass, without gradients: train with RollingCache"
            )
        if grid != self.grid:
            raise ValueError(f"the slots are for {self.grid} (rows, columns) of tokens, x has {grid}")
        if latents > self.room:
            raise ValueError(
                f"a chunk of {latents} latents in slots with room for {self.room}: send at most that many"
                + ("" if self.room else ", or make the cache with room")
            )
        _, to_window = self._split(latents)
        if commit and self.replaces(latents) and to_window < self.window:
            raise ValueError(
                f"a chunk of {to_window} latents would shift a window of {self.window}: "
                f"commit chunks of {self.chunk}, or use a RollingCache"
            )

    def replaces(self, latents: int) -> bool:
        """Whether a chunk, once committed, takes the window's place; if not, it stands already where it belongs."""
        return self.window_filled + self._split(latents)[1] > self.window

    def written(self, latents: int) -> slice:
        """The slots that committing a chunk writes."""
        begin = self.sink_filled if self.replaces(latents) else self.filled
        return slice(begin, self.sink + self.window if self.replaces(latents) else begin + latents)

    @torch.no_grad()
    def write(self, layer: int, begin: int, raw_k: Tensor, v: Tensor) -> None:
        """Put keys, which are turned here, and values into one layer's slots from `begin` on.

        Raises ValueError on another dtype than the slots'.
        """
        if v.dtype != self.values.dtype:
            raise ValueError(
                f"slots of {self.values.dtype}, keys of {v.dtype}: make the SlotCache in the model's dtype"
            )
        slots = slice(begin, begin + v.shape[1])
        turn_into(self.keys[layer, :, slots], raw_k, self.turns(begin, v.shape[1]))
        self.values[layer, :, slots] = v

    def store(self, layer: int, raw_k: Tensor, turned_k: Tensor, v: Tensor) -> None:
        """Commit one layer of a chunk that is written behind the past: into the window's place, unless it stands where
        it belongs."""
        latents = v.shape[1]
        if self.replaces(latents):
            last = slice(latents - self.window, latents)
            self.write(layer, self.sink, raw_k[:, last], v[:, last])

    def advance(self, latents: int) -> None:
        """Count a chunk that all layers have stored."""
        super().advance(latents)
        self.window_seen = self.window_filled

    @property
    def counts(self) -> tuple[int, int]:
        """Latents in the sink and in the window."""
        return self.sink_filled, self.window_filled

    def recount(self, counts: tuple[int, int]) -> None:
        """Set the counts back to what `counts` said, for another pass over the same slots."""
        self.sink_filled, self.window_seen = counts

    @torch.no_grad()
    def take(self, other: SlotCache, slots: slice | None = None) -> None:
        """Become another cache of the same sizes by copying these of its slots (all filled ones if not given)."""
        slots = slice(other.filled) if slots is None else slots
        self.keys[:, :, slots] = other.keys[:, :, slots]
        self.values[:, :, slots] = other.values[:, :, slots]
        self.recount(other.counts)
        self.version += 1
        self.sink_version += 1

    def snapshot(self) -> CacheState:
        """Copies of all that matters; a `SlotCache` continues from it bit for bit."""
        return {**super().snapshot(), "turned_rows": self.grid[0]}

    def _adopt(self, state: CacheState) -> int:
        rows = state.get("turned_rows", self.grid[0])
        if rows != self.grid[0]:
            raise ValueError(f"the snapshot has {rows} rows of tokens, this cache {self.grid[0]}: restore it into that")
        filled = super()._adopt(state)
        self.window_seen = self.window_filled
        return filled

    def _own_form(self, state: CacheState) -> Tensor:
        keys = self._own_order(state, state["keys"])
        if state.get("turned_rows", 0):
            return keys
        sink = state["sink_filled"]
        table = self.table(sink, keys.shape[2] - sink)
        window = [rotate(layer.to(self.keys.device), table) for layer in keys[:, :, sink:]]
        return torch.cat([keys[:, :, :sink].to(self.keys.device), torch.stack(window)], 2)

    def _own_order(self, state: CacheState, slots: Tensor) -> Tensor:
        positions = slot_positions(state["sink_filled"], state["window"], state["window_seen"])
        oldest_first = sorted(range(len(positions)), key=positions.__getitem__)
        return slots[:, :, oldest_first]


class SlottedAttention:
    """A chunk sees its slots and itself; with commit, it is then stored."""

    def __init__(self, cache: SlotCache, latents: int, kernel: Kernel, commit: bool) -> None:
        self.cache, self.kernel, self.commit = cache, kernel, commit
        self.begin, self.end = cache.filled, cache.filled + latents
        self.own = cache.turns(cache.filled, latents)

    def __call__(self, layer: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        cache = self.cache
        cache.write(layer, self.begin, k, v)
        keys, values = (slots[layer, :, : self.end].flatten(1, 2) for slots in (cache.keys, cache.values))
        out = attend(turn(q, self.own).flatten(1, 2), keys, values, kernel=self.kernel)
        if self.commit:
            cache.store(layer, k, k, v)
        return out.reshape(q.shape)


def turn(x_BTSHD: Tensor, by: Tensor) -> Tensor:
    """`rotate` in one pass: neighbouring channels as complex numbers, times those of `rotary_turns`; dtype kept."""
    return torch.view_as_real(_as_pairs(x_BTSHD.float()) * by).flatten(-2).type_as(x_BTSHD)


def turn_into(out: Tensor, x_BTSHD: Tensor, by: Tensor) -> None:
    """`turn`, written to `out`."""
    if out.dtype == x_BTSHD.dtype == torch.float32:
        torch.mul(_as_pairs(x_BTSHD), by, out=_as_pairs(out))
    else:
        out.copy_(torch.view_as_real(_as_pairs(x_BTSHD.float()) * by).flatten(-2))


def _as_pairs(x: Tensor) -> Tensor:
    """Neighbouring float32 channels as one complex number: a view."""
    return torch.view_as_complex(x.unflatten(-1, (-1, 2)))
