"""Live figures through the real server: `motionstream bench live --through server`.

`motionstream serve` is started as a process of its own on a free loopback port, simulated viewers connect to it
(`viewer.py`), and it is ended again whatever happens: a keeper beside it ends it as soon as a pipe from here is
closed, which the system does even where this process is killed. Server and viewers share this machine, so the
processor time of both is reported: where together they need more than there is, a server alone would do better.
"""

from __future__ import annotations

import asyncio
import contextlib
import io
import json
import os
import re
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from motionstream.evaluate import machine
from motionstream.evaluate.harness import Results
from motionstream.evaluate.latency.session import recorded_session, textured_picture
from motionstream.evaluate.latency.viewer import Measures, watch

START_SECONDS = 300.0  # for loading and warming up a model
END_SECONDS = 10.0  # to end by itself before it is killed
LONGEST_LINE = 300
FAILED = "the server ended before it could be reached"
NOT_INHERITED = ("MOTIONSTREAM_TOKEN", "MOTIONSTREAM_OPEN_BROWSER", "MOTIONSTREAM_ALLOWED_HOSTS")

KEEPER = f"""
import os, signal, subprocess, sys, threading
server = subprocess.Popen(sys.argv[1:], stdin=subprocess.DEVNULL)
signal.signal(signal.SIGINT, signal.SIG_IGN)
print(server.pid, flush=True)
def end():
    while os.read(0, 4096):
        pass
    server.terminate()
    try:
        server.wait({END_SECONDS})
    except subprocess.TimeoutExpired:
        server.kill()
threading.Thread(target=end, daemon=True).start()
sys.exit(abs(server.wait()))
"""
"""A program that runs the command in its arguments until that ends or its own standard input does.

It reads without a buffer: a thread that waits within one keeps Python from ending."""

Over = Callable[[Iterable[int]], Iterable[int]]


@dataclass(frozen=True)
class Server:
    """A server that runs: its address, such as http://127.0.0.1:8000, and its process."""

    origin: str
    pid: int


def bench_server(
    model: str,
    seconds: float,
    viewers: Sequence[int] = (1,),
    device: str = "auto",
    journal: Results | None = None,
    over: Over = iter,
) -> dict[str, Any]:
    """Figures of the server of this model, a zoo name or a folder, with so many viewers at once, count after count.

    seconds: that each viewer watches. `viewers` of the result: figures by count, those of each viewer in `each`.
    server: processor time in cores and memory of its process. viewers_cores: of this process, with all the viewers in.
    journal: counts already measured are taken from it. over: goes through the counts (a progress bar).
    Raises ValueError on counts that are not positive and on what the server refuses, such as one viewer too many.
    """
    if not 0 < seconds < float("inf"):
        raise ValueError(f"{seconds} seconds: must be positive")
    if not viewers or min(viewers) < 1:
        raise ValueError(f"viewers {','.join(map(str, viewers))}: send whole numbers from 1 up, such as 1,2,4")
    journal = journal or Results()
    if any(str(count) not in journal for count in viewers):
        asyncio.run(_measure(model, device, seconds, viewers, journal, over))
    return {
        "through": "server",
        "seconds": seconds,
        "viewers": {str(count): journal.rows[str(count)] for count in viewers},
        "machine": machine.describe(),
        "date": machine.today(),
    }


async def _measure(
    model: str, device: str, seconds: float, viewers: Sequence[int], journal: Results, over: Over
) -> None:
    async with serving(model, device) as server:
        for count in over(viewers):
            if str(count) not in journal:
                figures = await measure(server, seconds, count)
                journal.measured(str(count), lambda figures=figures: figures)  # type: ignore[misc]


async def measure(server: Server, seconds: float, viewers: int) -> dict[str, Any]:
    """Figures of so many viewers at once."""
    recording = recorded_session()
    picture = await asyncio.to_thread(upload, server.origin)
    before, own, began = cpu_seconds(server.pid), time.process_time(), time.perf_counter()
    each = await watch(server.origin, picture, recording, seconds, viewers)
    took, after = time.perf_counter() - began, cpu_seconds(server.pid)
    return {
        **Measures.together(each).figures(),
        "server": {
            "cores": None if before is None or after is None else (after - before) / took,
            "rss_mib": resident_mib(server.pid),
        },
        "viewers_cores": (time.process_time() - own) / took,
        "each": [one.figures() for one in each],
    }


@contextlib.asynccontextmanager
async def serving(model: str, device: str = "auto") -> AsyncIterator[Server]:
    """`motionstream serve` on a free port of this machine, as a process of its own that ends with the block.

    Raises ValueError with its own last words where it does not start, TimeoutError where it takes too long.
    """
    command = [sys.executable, "-m", "motionstream", "serve", "--model", model, "--device", device]
    environment = {name: value for name, value in os.environ.items() if name not in NOT_INHERITED}
    with tempfile.TemporaryFile() as complaints:
        keeper = await asyncio.create_subprocess_exec(
            sys.executable, "-c", KEEPER, *command, "--host", "127.0.0.1", "--port", "0",
            stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=complaints, env=environment,
        )  # fmt: skip
        try:
            yield await _started(keeper, complaints)
        finally:
            await _end(keeper)


async def _started(keeper: asyncio.subprocess.Process, complaints: Any) -> Server:
    """The server, once it says that it answers requests."""
    assert keeper.stdout is not None
    try:
        async with asyncio.timeout(START_SECONDS):
            pid = int(await keeper.stdout.readline())
            said = (await keeper.stdout.readline()).decode(errors="replace")
    except TimeoutError:
        raise TimeoutError(f"the server was not ready within {START_SECONDS:g} s") from None
    found = re.search(r"http://127\.0\.0\.1:\d+", said)
    if found is None:
        await _end(keeper)
        raise ValueError(_last_words(complaints))
    return Server(found.group(), pid)


async def _end(keeper: asyncio.subprocess.Process) -> None:
    """Close the keeper's input, upon which it ends the server and then itself."""
    assert keeper.stdin is not None
    assert keeper.stdout is not None
    keeper.stdin.close()
    while await keeper.stdout.read(1 << 16):  # to the end, so that the pipe closes with the process
        pass
    await keeper.wait()


def _last_words(complaints: Any) -> str:
    complaints.seek(0)
    lines = complaints.read().decode("utf-8", errors="replace").splitlines()
    return f"{FAILED}: {lines[-1][:LONGEST_LINE].removeprefix('motionstream: ')}" if lines else FAILED


def upload(origin: str) -> str:
    """Give the server a textured picture of its own frame size to open; its id."""
    width, height = _request(origin, "GET", "/api/info")["size"]
    return str(_request(origin, "POST", "/api/pictures", _png((width, height)))["id"])


def _png(size: tuple[int, int]) -> bytes:
    from PIL import Image

    file = io.BytesIO()
    Image.fromarray(textured_picture(size)).save(file, "PNG")
    return file.getvalue()


def _request(origin: str, method: str, path: str, body: bytes | None = None) -> dict[str, Any]:
    """The JSON that the server answers. Raises ValueError with its message if it refuses."""
    import http.client

    connection = http.client.HTTPConnection(origin.removeprefix("http://"), timeout=START_SECONDS)
    try:
        connection.request(method, path, body, {"Origin": origin})
        answer = connection.getresponse()
        text = answer.read().decode("utf-8", errors="replace")
    finally:
        connection.close()
    if answer.status != http.client.OK:
        raise ValueError(f"the server answered {answer.status} to {method} {path}: {text[:LONGEST_LINE]}")
    message: dict[str, Any] = json.loads(text)
    return message


def cpu_seconds(pid: int) -> float | None:
    """Processor time that all threads of a process have used, in seconds; None where the system does not say."""
    try:
        after_name = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
        return (int(after_name[11]) + int(after_name[12])) / os.sysconf("SC_CLK_TCK")
    except (OSError, ValueError, IndexError):
        return None


def resident_mib(pid: int) -> float | None:
    """Memory of a process that is in RAM now; None where the system does not say."""
    try:
        pages = int(Path(f"/proc/{pid}/statm").read_text(encoding="ascii").split()[1])
    except (OSError, ValueError, IndexError):
        return None
    return pages * os.sysconf("SC_PAGE_SIZE") / machine.MIB


def weights_hash(model: str) -> str:
    """The hash of a model's weights, a zoo name or a folder, without loading them. Raises ValueError on neither."""
    from motionstream.model_folder import bundle_hash, read_header
    from motionstream.zoo import folder_of

    header: Mapping[str, Any] = read_header(folder_of(model))
    return bundle_hash(dict(header))
