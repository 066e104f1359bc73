"""Live figures through the real server: `motionstream bench live --through server`.

`motionstream serve` runs as a process of its own (`server_process.py`) and simulated viewers connect to it
(`simulated_viewer.py`). Both share this machine, so the processor time of both is reported: where together they fill
it, a server alone would do better.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from motionstream.client.live import frame_size, upload_picture
from motionstream.evaluate import machine
from motionstream.evaluate.harness import Results
from motionstream.evaluate.live.server_process import Server, serving
from motionstream.evaluate.live.session import recorded_session, textured_picture
from motionstream.evaluate.live.simulated_viewer import Measures, watch

Over = Callable[[Iterable[int]], Iterable[int]]


def bench_server(
    model: str,
    seconds: float,
    viewers: Sequence[int] = (1,),
    device: str = "auto",
    results: Results | None = None,
    over: Over = iter,
) -> dict[str, Any]:
    """Figures of the server of this model, a zoo name or a folder, with so many viewers at once, count after count.

    seconds: that each viewer watches. `viewers` of the result: figures by count, those of each viewer in `each`.
    server: processor time in cores and memory of its process. viewers_cores: of this process, with all the viewers in.
    results: counts already measured are taken from it. over: iterates over the counts (a progress bar).
    Raises ValueError on counts that are not positive and on what the server refuses, such as one viewer too many.
    """
    if not 0 < seconds < float("inf"):
        raise ValueError(f"{seconds} seconds: must be positive")
    if not viewers or min(viewers) < 1:
        raise ValueError(f"viewers {','.join(map(str, viewers))}: send whole numbers from 1 up, such as 1,2,4")
    results = results or Results()
    if any(str(count) not in results for count in viewers):
        asyncio.run(_measure_missing(model, device, seconds, viewers, results, over))
    return {
        "through": "server",
        "seconds": seconds,
        "viewers": {str(count): results.rows[str(count)] for count in viewers},
        "machine": machine.describe(),
        "date": machine.today(),
    }


async def _measure_missing(
    model: str, device: str, seconds: float, viewers: Sequence[int], results: Results, over: Over
) -> None:
    async with serving(model, device) as server:
        for count in over(viewers):
            if str(count) not in results:
                figures = await measure(server, seconds, count)
                results.measured(str(count), lambda figures=figures: figures)  # type: ignore[misc]


async def measure(server: Server, seconds: float, viewers: int) -> dict[str, Any]:
    """Figures of so many viewers at once."""
    picture = await asyncio.to_thread(upload_texture, server.origin)
    before, own, began = machine.cpu_seconds(server.pid), time.process_time(), time.perf_counter()
    each = await watch(server.origin, picture, recorded_session(), seconds, viewers)
    took, after = time.perf_counter() - began, machine.cpu_seconds(server.pid)
    return {
        **Measures.together(each).figures(),
        "server": {
            "cores": None if before is None or after is None else (after - before) / took,
            "rss_mib": machine.resident_mib(server.pid),
        },
        "viewers_cores": (time.process_time() - own) / took,
        "each": [one.figures() for one in each],
    }


def upload_texture(origin: str) -> str:
    """Upload a textured picture of the size of the server's frames; its id."""
    return upload_picture(origin, textured_picture(frame_size(origin)))


def weights_hash(model: str) -> str:
    """The hash of a model's weights, a zoo name or a folder, without loading them. Raises ValueError on neither."""
    from motionstream.model_folder import bundle_hash, read_header
    from motionstream.zoo import folder_of

    return bundle_hash(dict(read_header(folder_of(model))))
