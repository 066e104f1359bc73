"""Recordings: on a CPU the work is called on its buffers; on a GPU (here a stand-in) it is replayed."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from motionstream.fast.graph import WARM_UPS, GraphPool, Recorded, Replayed, fixed

CPU = torch.device("cpu")


def test_on_a_cpu_the_work_is_called_each_time() -> None:
    calls: list[int] = []
    recorded = Recorded(lambda: calls.append(len(calls)) or len(calls), GraphPool(CPU))  # type: ignore[func-returns-value]
    assert [recorded.run() for _ in range(3)] == [1, 2, 3]
    assert not recorded.replays


class FakeGraph:
    """Counts."""

    def __init__(self) -> None:
        self.replays = 0

    def replay(self) -> None:
        self.replays += 1


@pytest.fixture
def log(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Stand-ins for CUDA's streams and graphs, which write down what is done."""
    done: list[str] = []
    stream = SimpleNamespace(wait_stream=lambda other: done.append("wait"))

    @contextmanager
    def graph(made: FakeGraph, pool: object, side: object, capture_error_mode: str) -> Iterator[None]:
        assert (pool, side, capture_error_mode) == ("pool", stream, "thread_local")
        done.append("record")
        yield

    fakes: dict[str, Any] = {
        "graph_pool_handle": lambda: "pool",
        "Stream": lambda device: stream,
        "current_stream": lambda device: stream,
        "stream": lambda side: nullcontext(),
        "set_stream": lambda side: done.append("set_stream"),
        "synchronize": lambda device: done.append("synchronize"),
        "CUDAGraph": FakeGraph,
        "graph": graph,
    }
    for name, fake in fakes.items():
        monkeypatch.setattr(torch.cuda, name, fake)
    return done


def worked(log: list[str], error: str = "", after: int = 0) -> Callable[[], int]:
    def work() -> int:
        log.append("work")
        if error and log.count("work") > after:
            raise RuntimeError(error)
        return log.count("work")

    return work


def test_it_warms_up_puts_right_records_and_then_replays(log: list[str]) -> None:
    recorded = Recorded(worked(log), GraphPool(torch.device("cuda")), after_warm_up=lambda: log.append("right"))
    assert recorded.run() == WARM_UPS + 1
    assert log == ["wait", *["work"] * WARM_UPS, "wait", "right", "record", "work"]
    assert recorded.run() == WARM_UPS + 1
    assert log.count("work") == WARM_UPS + 1
    assert recorded.replays
    assert recorded._graph.replays == 2  # type: ignore[union-attr]


def test_where_recording_fails_the_reason_is_said_and_the_work_goes_on(log: list[str]) -> None:
    attempts = worked(log, "operation not permitted when stream is capturing", after=WARM_UPS)
    works = iter([*[attempts] * (WARM_UPS + 1), *[lambda: 7] * 2])
    recorded = Recorded(lambda: next(works)(), GraphPool(torch.device("cuda")))
    with pytest.warns(UserWarning, match="no CUDA graph.*not permitted when stream is capturing"):
        assert recorded.run() == 7
    assert log[-2:] == ["set_stream", "synchronize"], "the stream that was current is so again"
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert recorded.run() == 7
    assert not recorded.replays


def test_an_error_of_the_work_itself_is_not_hidden(log: list[str]) -> None:
    with pytest.raises(RuntimeError, match="wrong shapes"):
        Recorded(worked(log, "wrong shapes"), GraphPool(torch.device("cuda"))).run()


def test_a_replayed_function_copies_in_and_out() -> None:
    """Its buffers are the same from call to call, one set for each shape; results belong to the caller."""
    seen: list[tuple[int, int]] = []
    total = torch.zeros(1)

    def work(inputs: Any) -> tuple[torch.Tensor, ...]:
        x, memory = inputs
        seen.append((x.data_ptr(), x.numel()))
        total.copy_(x.sum() + memory)
        return (x * 2, total)

    replayed, memory, results = Replayed(work, CPU), torch.zeros(1), []
    for n, value in ((3, 1.0), (3, 2.0), (4, 1.0), (3, 5.0)):
        double, memory = replayed([torch.full((n,), value), memory])
        results.append((double, memory))
    assert [float(memory) for _, memory in results] == [3, 9, 13, 28]
    assert [double.tolist() for double, _ in results] == [[2.0] * 3, [4.0] * 3, [2.0] * 4, [10.0] * 3]
    assert len(set(seen)) == 2


def test_buffers_can_be_written_in_and_out_of_inference_mode() -> None:
    with torch.inference_mode():
        buffer = fixed(torch.ones(2, 3).T)
    assert buffer.is_contiguous()
    assert not buffer.any()
    assert not buffer.is_inference()
    buffer.copy_(torch.ones(3, 2))


def test_threads_do_not_write_over_one_another() -> None:
    """A work function that waits between its first and its last look at the buffers, as a device would."""

    def work(inputs: Sequence[torch.Tensor]) -> tuple[torch.Tensor, ...]:
        first = inputs[0].clone()
        time.sleep(0.001)
        result.copy_(first + inputs[0])
        time.sleep(0.001)
        return (result,)

    result = torch.zeros(4)
    replayed = Replayed(work, CPU)

    def double(value: int) -> list[float]:
        return replayed([torch.full((4,), float(value))])[0].tolist()

    with ThreadPoolExecutor(8) as threads:
        assert list(threads.map(double, range(40))) == [[2.0 * value] * 4 for value in range(40)]
