"""The server as a process: it tells its address once it is ready, and ends promptly with a viewer connected."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path

import httpx
import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

ROOT = Path(__file__).parents[2]
PROGRAM = """
from motionstream.serve import ServeSettings, run
from tests.serve.fake_model import FakeModel
try:
    run(FakeModel(step_seconds=0.1), ServeSettings(port=0))
except KeyboardInterrupt:
    pass
"""


@pytest.mark.parametrize("ending", [signal.SIGTERM, signal.SIGINT])
def test_it_tells_its_address_and_ends_promptly(ending: signal.Signals) -> None:
    process = subprocess.Popen([sys.executable, "-c", PROGRAM], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        printed = process.stdout.readline()
        origin = printed.split(": ", 1)[1].strip().rstrip("/")
        assert httpx.get(f"{origin}/healthz").json() == {"status": "ready"}
        with connect(origin.replace("http", "ws") + "/live", origin=origin, max_size=None) as socket:
            for seq, message in enumerate(
                (
                    {"type": "hello", "protocol": 1},
                    {"type": "open", "source": "gallery", "picture": "crab"},
                    {"type": "start"},
                )
            ):
                socket.send(json.dumps({**message, "seq": seq}))
            while isinstance(socket.recv(timeout=10), str):
                pass
            process.send_signal(ending)
            with pytest.raises(ConnectionClosed):
                list(socket)
        assert process.wait(10) == (-signal.SIGTERM if ending == signal.SIGTERM else 0)
    finally:
        process.kill()
        process.wait()
        if process.stdout:
            process.stdout.close()
