"""`motionstream serve` as a process of its own, on a free loopback port, that ends with the block it is used in.

A supervisor process starts it and ends it as soon as a pipe from here closes, which the system does even where this
process is killed.
"""

from __future__ import annotations

import asyncio
import os
import re
import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

START_SECONDS = 300.0  # for loading and warming up a model
END_SECONDS = 10.0  # to end by itself before it is killed
LONGEST_LINE = 300
FAILED = "the server ended before it could be reached"
NOT_INHERITED = ("MOTIONSTREAM_TOKEN", "MOTIONSTREAM_OPEN_BROWSER", "MOTIONSTREAM_ALLOWED_HOSTS")

SUPERVISOR = f"""
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
"""A program that runs the command in its arguments until that ends or its own standard input closes.

It reads unbuffered: a thread that waits within a buffered read keeps Python from ending."""


@dataclass(frozen=True)
class Server:
    """A running server: its address, such as http://127.0.0.1:8000, and its process."""

    origin: str
    pid: int


@asynccontextmanager
async def serving(model: str, device: str = "auto") -> AsyncIterator[Server]:
    """The server of a model, a zoo name or a folder, ready to answer.

    Raises ValueError with its own last line where it does not start, TimeoutError where it takes too long.
    """
    command = [sys.executable, "-m", "motionstream", "serve", "--model", model, "--device", device]
    environment = {name: value for name, value in os.environ.items() if name not in NOT_INHERITED}
    with tempfile.TemporaryFile() as errors:
        supervisor = await asyncio.create_subprocess_exec(
            sys.executable, "-c", SUPERVISOR, *command, "--host", "127.0.0.1", "--port", "0",
            stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=errors, env=environment,
        )  # fmt: skip
        try:
            yield await _started(supervisor, errors)
        finally:
            await _end(supervisor)


async def _started(supervisor: asyncio.subprocess.Process, errors: Any) -> Server:
    """The server, once it prints its address."""
    assert supervisor.stdout is not None
    try:
        async with asyncio.timeout(START_SECONDS):
            pid = int(await supervisor.stdout.readline())
            printed = (await supervisor.stdout.readline()).decode(errors="replace")
    except TimeoutError:
        raise TimeoutError(f"the server was not ready within {START_SECONDS:g} s") from None
    found = re.search(r"http://127\.0\.0\.1:\d+", printed)
    if found is None:
        await _end(supervisor)
        errors.seek(0)
        last = errors.read().decode("utf-8", errors="replace").splitlines()[-1:]
        raise ValueError(": ".join([FAILED, *(line[:LONGEST_LINE].removeprefix("motionstream: ") for line in last)]))
    return Server(found.group(), pid)


async def _end(supervisor: asyncio.subprocess.Process) -> None:
    """Close the supervisor's input, upon which it ends the server and then itself."""
    assert supervisor.stdin is not None
    assert supervisor.stdout is not None
    supervisor.stdin.close()
    while await supervisor.stdout.read(1 << 16):  # to the end, so that the pipe closes with the process
        pass
    await supervisor.wait()
