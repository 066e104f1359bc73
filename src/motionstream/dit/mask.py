"""The masked student: a whole clip in one pass in which each chunk sees its sink, its window and itself.

Paper section 3.2: chunk i sees C_i = {own chunk} ∪ {j ≤ S} ∪ {max(1, i − W) ≤ j < i}. Here sink and window are counted
in latents, and positions are those of the rolling cache's slots (`cache.py`), so that both give the same tokens.

Legend: B batch, T latents, S tokens of a latent, H heads, D channels of a head.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from motionstream.dit.attention import Kernel, attend
from motionstream.dit.rope import Table, rotary_table, rotate
from motionstream.geometry import chunk_spans


@dataclass(frozen=True)
class View:
    """What one chunk sees. All ranges are [begin, end) in latents of the clip.

    shift: how far the cache's slots lag behind clip time: a query or window latent at clip time n has slot
    n − shift; sink latents have their own time.
    """

    own: tuple[int, int]
    sink: tuple[int, int]
    window: tuple[int, int]
    shift: int


@dataclass(frozen=True)
class ChunkMask:
    """Chunks of a clip and what they see.

    spans: (first latent, latents) of each chunk, end to end.
    sink, window: latents kept of the start and before a chunk.
    teacher_forcing: the sequence holds the clip twice, [clean | noisy] along T. Clean chunks see clean chunks; a noisy
    chunk sees itself and the clean latents of its sink and window.
    """

    spans: tuple[tuple[int, int], ...]
    sink: int
    window: int
    teacher_forcing: bool = False

    def __post_init__(self) -> None:
        if self.sink < 0 or self.window < 0:
            raise ValueError(f"sink {self.sink}, window {self.window}: count latents, from 0 up")
        begins = [begin for begin, _ in self.spans]
        if not self.spans or begins != [sum(n for _, n in self.spans[:i]) for i in range(len(begins))]:
            raise ValueError(f"chunks {self.spans}: must follow one another from latent 0")

    @classmethod
    def regular(
        cls,
        latents: int,
        chunk: int,
        sink: int,
        window: int,
        *,
        teacher_forcing: bool = False,
    ) -> ChunkMask:
        """Chunks of equal size over a clip of `latents`; the last may be shorter."""
        return cls(tuple(chunk_spans(latents, chunk)), sink, window, teacher_forcing)

    @property
    def clip_latents(self) -> int:
        begin, length = self.spans[-1]
        return begin + length

    @property
    def latents(self) -> int:
        """Latents of the sequence that this mask is for."""
        return self.clip_latents * (2 if self.teacher_forcing else 1)

    def views(self) -> list[View]:
        return [self._view(begin, begin + length) for begin, length in self.spans]

    def _view(self, begin: int, end: int) -> View:
        sink_end = min(self.sink, begin)
        window_begin = max(sink_end, begin - self.window)
        return View((begin, end), (0, sink_end), (window_begin, begin), window_begin - sink_end)


class MaskedAttention:
    """Attention under a `ChunkMask`, one product a chunk.

    Everything is rotated to its clip time once. Rotary positions are relative, so only the sink, which stays while
    slots lag behind, must be rotated again for each chunk: to its own time + shift.
    """

    def __init__(self, mask: ChunkMask, grid: tuple[int, int], head_dim: int, device: torch.device, kernel: Kernel):
        self.mask = mask
        self.kernel = kernel
        self.views = mask.views()
        self.clip = rotary_table(range(mask.clip_latents), grid, head_dim, device)
        self.sinks = [
            rotary_table([j + view.shift for j in range(*view.sink)], grid, head_dim, device) for view in self.views
        ]

    def __call__(self, layer: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        n = self.mask.clip_latents
        rotated_k = _rotate_copies(k, self.clip, n)
        rotated_q = _rotate_copies(q, self.clip, n)
        return torch.cat(
            [
                self._chunk(view, sink, start, rotated_q, rotated_k, k, v)
                for start in range(0, self.mask.latents, n)
                for view, sink in zip(self.views, self.sinks, strict=True)
            ],
            dim=1,
        )

    def _chunk(
        self, view: View, sink_table: Table, start: int, q: Tensor, rotated_k: Tensor, raw_k: Tensor, v: Tensor
    ) -> Tensor:
        own = slice(start + view.own[0], start + view.own[1])
        sink, window = slice(*view.sink), slice(*view.window)
        sink_k = rotate(raw_k[:, sink], sink_table) if view.shift else rotated_k[:, sink]
        keys = torch.cat((sink_k, rotated_k[:, window], rotated_k[:, own]), dim=1)
        values = torch.cat((v[:, sink], v[:, window], v[:, own]), dim=1)
        mine = q[:, own]
        out = attend(mine.flatten(1, 2), keys.flatten(1, 2), values.flatten(1, 2), kernel=self.kernel)
        return out.reshape(mine.shape)


def _rotate_copies(x_BTSHD: Tensor, table: Table, latents: int) -> Tensor:
    """Rotate a sequence that holds the clip once or twice."""
    if x_BTSHD.shape[1] == latents:
        return rotate(x_BTSHD, table)
    return torch.cat([rotate(copy, table) for copy in x_BTSHD.split(latents, dim=1)], dim=1)
