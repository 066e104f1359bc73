"""A function over fixed buffers, recorded once as a CUDA graph and replayed: no launches, no Python, no waiting.

On other devices the same object calls the function each time, on the same buffers, so that whatever uses it behaves
the same and is tested there.

What is recorded must: read its inputs from buffers that stay; write no Python state that a replay would have to
write; never wait for the device. What it returns are buffers too: the next replay overwrites them.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from threading import Lock
from typing import Generic, TypeVar, cast

import torch
from torch import Tensor

T = TypeVar("T")
WARM_UPS = 2
"""Runs before recording, in which libraries choose their kernels and whatever is made lazily is made."""


class GraphPool:
    """Memory and side stream that recordings share, because they never run at once; on other devices, nothing."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.handle = torch.cuda.graph_pool_handle() if device.type == "cuda" else None
        self.stream = torch.cuda.Stream(device) if device.type == "cuda" else None


class Recorded(Generic[T]):
    """`work`, called by `run`. On a GPU the first `run` warms up and records, the others replay.

    Warming up runs the work several times: what it changes besides scratch has to be put right by `after_warm_up`,
    before the recording is replayed. If recording fails, that is warned of with the reason, and the work is run as it
    is from then on.
    """

    def __init__(self, work: Callable[[], T], pool: GraphPool, after_warm_up: Callable[[], None] | None = None) -> None:
        self.work, self.pool, self.after_warm_up = work, pool, after_warm_up
        self._graph: torch.cuda.CUDAGraph | None = None
        self._result: T | None = None
        self._fresh = pool.handle is not None

    @property
    def replays(self) -> bool:
        """Whether a graph is replayed, rather than the work run."""
        return self._graph is not None

    @torch.inference_mode()
    def run(self) -> T:
        """The work's result, in its own buffers."""
        if self._fresh:
            self._fresh = False
            self._record()
        if self._graph is None:
            return self.work()
        self._graph.replay()
        return cast(T, self._result)

    def _record(self) -> None:
        current, side = torch.cuda.current_stream(self.pool.device), self.pool.stream
        assert side is not None
        side.wait_stream(current)
        with torch.cuda.stream(side):
            for _ in range(WARM_UPS):
                self.work()
        current.wait_stream(side)
        if self.after_warm_up is not None:
            self.after_warm_up()
        graph = torch.cuda.CUDAGraph()
        try:
            # Other threads of a server may use the device meanwhile: only this one is held to what a recording allows.
            with torch.cuda.graph(graph, self.pool.handle, side, capture_error_mode="thread_local"):
                self._result = self.work()
        except RuntimeError as error:
            torch.cuda.set_stream(current)
            torch.cuda.synchronize(self.pool.device)
            warnings.warn(f"no CUDA graph, the step runs without: {error}", stacklevel=3)
            return
        self._graph = graph


class Replayed:
    """A function of tensors to tensors, recorded once for each set of input shapes. Inputs are copied in, results out.

    Without state, and any of its callers may be the next one: what a stream carries from call to call goes in and out
    with the rest. Threads take turns, from copying in to copying out, for they share the buffers.
    """

    def __init__(self, work: Callable[[Sequence[Tensor]], Sequence[Tensor]], device: torch.device) -> None:
        self.work, self.pool = work, GraphPool(device)
        self._known: dict[tuple[tuple[torch.Size, torch.dtype], ...], tuple[list[Tensor], Recorded[Sequence[Tensor]]]]
        self._known = {}
        self._lock = Lock()

    @torch.inference_mode()
    def __call__(self, inputs: Sequence[Tensor]) -> tuple[Tensor, ...]:
        shapes = tuple((each.shape, each.dtype) for each in inputs)
        with self._lock:
            if shapes not in self._known:
                buffers = [fixed(each) for each in inputs]
                self._known[shapes] = buffers, Recorded(lambda: self.work(buffers), self.pool)
            buffers, recorded = self._known[shapes]
            for buffer, given in zip(buffers, inputs, strict=True):
                buffer.copy_(given, non_blocking=True)
            return tuple(each.clone() for each in recorded.run())


def fixed(like: Tensor) -> Tensor:
    """A contiguous buffer of zeros of this shape; outside inference mode, because it is written in place for ever."""
    with torch.inference_mode(False), torch.no_grad():
        return torch.zeros(like.shape, dtype=like.dtype, device=like.device)
