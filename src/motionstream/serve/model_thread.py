"""The thread that runs the model. The event loop never runs torch; connections take turns, chunk by chunk."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from typing import Protocol, TypeVar
from weakref import WeakKeyDictionary

import numpy as np

from motionstream.stream.contract import Frames, StreamLike
from motionstream.tracks import Tracks

log = logging.getLogger(__name__)

T = TypeVar("T")
WARM_UP_CHUNKS = 3  # the first chunk is shorter, the second fills the cache, the third is as all others


class SettlingStream(StreamLike, Protocol):
    """What serving needs of a stream: the public contract, and `settle`, which commits the last chunk ahead of time."""

    def settle(self) -> None: ...


class ModelLike(Protocol):
    """What serving needs of a model: the public contract. sink: passed only where it is not "fixed"."""

    def open(self, image: Frames, prompt: str = "", seed: int = 0, sink: str = ...) -> SettlingStream: ...


_locks: WeakKeyDictionary[ModelLike, threading.Lock] = WeakKeyDictionary()
"""One lock a model, whoever serves it: the streams of a model share its buffers and captured graphs."""


class ModelThread:
    """Runs jobs one at a time, first come first served; also one at a time with other threads of the same model.

    A connection has at most one chunk waiting, so N connections get every N-th turn. A job whose connection closed
    before its turn is skipped; one that has begun ends, and its result is dropped.
    """

    def __init__(self, model: ModelLike) -> None:
        self.model = model
        self._lock = _locks.setdefault(model, threading.Lock())
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="motionstream-model")

    async def run(self, job: Callable[[], T]) -> T:
        """The job's result, once it had its turn. Exceptions pass through."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, self._locked, job)

    def later(self, job: Callable[[], object]) -> None:
        """Do the job when its turn comes; nobody waits for it, a failure is logged. After `close` it is dropped."""
        with suppress(RuntimeError):  # closed: what the job would tidy up goes with the server
            self._thread.submit(self._locked, job).add_done_callback(_log_failure)

    def _locked(self, job: Callable[[], T]) -> T:
        with self._lock:
            return job()

    async def warm_up(self) -> tuple[tuple[int, int], float]:
        """Run a few chunks of a grey picture, so that no viewer waits for lazy set-up; returns size (W, H) and fps."""
        return await self.run(self._warm_up)

    def _warm_up(self) -> tuple[tuple[int, int], float]:
        stream = self.model.open(np.full((144, 256, 3), 127, np.uint8), prompt="", seed=0)
        for _ in range(WARM_UP_CHUNKS):
            stream.step(Tracks.empty(stream.chunk_frames))
        stream.settle()
        return stream.size, stream.fps

    def close(self) -> None:
        """Finish the current job, drop the others."""
        self._thread.shutdown(wait=True, cancel_futures=True)


def _log_failure(done: Future[object]) -> None:
    if not done.cancelled() and (error := done.exception()):
        log.error("a job in the background failed", exc_info=error)
