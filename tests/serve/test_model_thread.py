"""The thread of the model: one job at a time, also where several servers share a model."""

from __future__ import annotations

import asyncio
import threading
import time

from tests.serve.fake_model import FakeModel

from motionstream.serve.model_thread import ModelThread


class Overlaps:
    """A job that counts how many of it run at once."""

    def __init__(self) -> None:
        self.running = self.most = 0
        self._count = threading.Lock()

    def __call__(self) -> None:
        with self._count:
            self.running += 1
            self.most = max(self.most, self.running)
        time.sleep(0.02)
        with self._count:
            self.running -= 1


async def _run_on(threads: list[ModelThread], job: Overlaps) -> None:
    await asyncio.gather(*(thread.run(job) for thread in threads for _ in range(3)))
    for thread in threads:
        thread.later(job)
        thread.close()


def test_two_servers_of_one_model_never_run_it_at_once() -> None:
    model, job = FakeModel(), Overlaps()
    asyncio.run(_run_on([ModelThread(model), ModelThread(model)], job))
    assert job.most == 1


def test_servers_of_two_models_do_not_wait_for_each_other() -> None:
    job = Overlaps()
    asyncio.run(_run_on([ModelThread(FakeModel()), ModelThread(FakeModel())], job))
    assert job.most == 2
