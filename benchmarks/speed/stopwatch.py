"""Time three ways: on the wall, of the processor, and on an accelerator's own clock.

Wall time is what a user meets, and what other programs on the machine disturb; processor time counts all threads of
this process and hardly sees the others; CUDA events see neither launching nor Python.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from typing import Any, TypeVar

import torch

from motionstream.evaluate.live.in_process import percentiles

RANKS = (50, 95)

T = TypeVar("T")


@dataclass(frozen=True)
class Took:
    """What a piece of work took, in seconds. device: by CUDA events, None on a CPU."""

    wall: float
    process: float
    device: float | None = None

    def __add__(self, other: Took) -> Took:
        device = None if self.device is None or other.device is None else self.device + other.device
        return Took(self.wall + other.wall, self.process + other.process, device)

    def __sub__(self, other: Took) -> Took:
        device = None if self.device is None or other.device is None else self.device - other.device
        return Took(self.wall - other.wall, self.process - other.process, device)


class Stopwatch:
    """Times work on one device, which is waited for before and after."""

    def __init__(self, device: torch.device) -> None:
        self.device = device

    def timed(self, work: Callable[[], T]) -> tuple[T, Took]:
        """What the work returns, and what it took."""
        if self.device.type != "cuda":
            wall, process = time.perf_counter(), time.process_time()
            done = work()
            return done, Took(time.perf_counter() - wall, time.process_time() - process)
        begin, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        torch.cuda.synchronize(self.device)
        wall, process = time.perf_counter(), time.process_time()
        begin.record()
        done = work()
        end.record()
        torch.cuda.synchronize(self.device)
        took = time.perf_counter() - wall, time.process_time() - process
        return done, Took(*took, begin.elapsed_time(end) / 1e3)


def accelerator(device: torch.device) -> dict[str, Any]:
    """What else decides an accelerator's figures: its kind and the versions of its libraries; empty on a CPU."""
    if device.type != "cuda":
        return {}
    return {
        "name": torch.cuda.get_device_name(device),
        "capability": ".".join(map(str, torch.cuda.get_device_capability(device))),
        "cuda": torch.version.cuda,
        "cudnn": torch.backends.cudnn.version(),
        "triton": import_module("triton").__version__ if find_spec("triton") else None,
    }


def figures(times: Sequence[Took]) -> dict[str, dict[str, float | None]]:
    """{"ms": {"p50": …, "p95": …}, "process_ms": …} and, with an accelerator, "device_ms"."""
    found = {
        "ms": percentiles([took.wall for took in times], RANKS),
        "process_ms": percentiles([took.process for took in times], RANKS),
    }
    device = [took.device for took in times if took.device is not None]
    return {**found, "device_ms": percentiles(device, RANKS)} if device else found
