"""A real server on a free port, in a thread of the test process, and a small client for it."""

from __future__ import annotations

import asyncio
import contextlib
import io
import json
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import uvicorn
from PIL import Image
from tests.serve.fake_model import FakeModel
from websockets.sync.client import ClientConnection, connect

from motionstream.client.live import unpack_chunk
from motionstream.serve import Limits, ServeSettings, create_app
from motionstream.serve.connection import Studio
from motionstream.serve.server import bind


@dataclass
class Running:
    """A server that runs: where it is, and what is inside."""

    settings: ServeSettings
    model: FakeModel
    app: Any

    @property
    def origin(self) -> str:
        return f"http://127.0.0.1:{self.settings.port}"

    @property
    def studio(self) -> Studio:
        return self.app.state.studio

    def connect(self, **options: Any) -> Client:
        options.setdefault("origin", self.origin)
        return Client(connect(f"ws://127.0.0.1:{self.settings.port}/live", max_size=None, **options).__enter__())

    def viewer(self, picture: str = "crab") -> Client:
        """A client that has said hello and opened a picture."""
        client = self.connect()
        client.send("hello", protocol=1)
        client.expect("welcome")
        client.send("open", source="gallery", picture=picture)
        client.expect("opened")
        client.expect("state")
        return client


class Client:
    """Speaks the protocol; leaves acknowledging to the test."""

    def __init__(self, socket: ClientConnection) -> None:
        self.socket = socket
        self.seq = 0
        self.errors: list[dict[str, Any]] = []

    def send(self, kind: str, **fields: Any) -> int:
        self.seq += 1
        self.socket.send(json.dumps({"type": kind, "seq": self.seq, **fields}))
        return self.seq

    def receive(self) -> dict[str, Any]:
        """The next message; of a chunk its header, with `frames`."""
        data = self.socket.recv(timeout=10)
        if isinstance(data, str):
            return json.loads(data)
        chunk = unpack_chunk(data)
        return {"type": "chunk", **chunk.header, "frames": chunk.jpegs}

    def expect(self, kind: str) -> dict[str, Any]:
        """The next message of this kind; errors on the way are kept, chunks acknowledged."""
        while (message := self.receive())["type"] != kind:
            if message["type"] == "error":
                self.errors.append(message)
            if message["type"] == "chunk":
                self.acknowledge(message)
        return message

    def acknowledge(self, chunk: dict[str, Any], buffered: int = 0) -> None:
        self.send("ack", chunk=chunk["chunk"], buffered=buffered)

    def chunk(self) -> dict[str, Any]:
        """The next chunk, acknowledged."""
        chunk = self.expect("chunk")
        self.acknowledge(chunk)
        return chunk

    def close(self) -> None:
        self.socket.close()


@contextlib.contextmanager
def running(model: FakeModel, limits: Limits, **settings: Any) -> Iterator[Running]:
    asked = ServeSettings(port=0, **settings)
    listener = bind(asked)
    bound = asked.model_copy(update={"port": listener.getsockname()[1]})
    app = create_app(model, bound, limits)
    config = uvicorn.Config(app, ws="websockets-sansio", ws_max_size=2 * limits.message_bytes, log_level="warning")
    server = uvicorn.Server(config)
    thread = threading.Thread(target=lambda: asyncio.run(server.serve([listener])))
    thread.start()
    try:
        wait_for(lambda: server.started)
        yield Running(bound, model, app)
    finally:
        server.should_exit = True
        thread.join(10)
        listener.close()
        assert not thread.is_alive(), "the server did not stop"


def wait_for(condition: Callable[[], bool], seconds: float = 10) -> None:
    """Returns when the condition holds; fails after `seconds`."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "the condition did not come true"
        time.sleep(0.01)


def decoded(chunk: dict) -> np.ndarray:
    """(F, H, W, 3) uint8 of a chunk's JPEG frames."""
    return np.stack([np.asarray(Image.open(io.BytesIO(frame))) for frame in chunk["frames"]])
