"""A connection to a live server: upload a picture, open it, send messages, receive chunks of frames.

    async with connect("http://127.0.0.1:7860") as client:
        opened = await client.open("gallery", "kitten", prompt="it starts to snow")
        await client.send({"type": "start"})
        received = await client.receive()

Every chunk has to be acknowledged (docs/protocol.md), else the server stops sending.
"""

from __future__ import annotations

import asyncio
import io
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

PROTOCOL, CHUNK_KIND = 1, 1
TIMEOUT = 60.0  # seconds for an answer
LONGEST_ERROR = 300  # characters of an answer that are repeated in an error

Message = dict[str, Any]


@dataclass(frozen=True)
class ReceivedChunk:
    """One chunk as it arrived. header: as in docs/protocol.md, without `frames`. jpegs: its frames in order."""

    header: Message
    jpegs: list[bytes]
    received_bytes: int

    def decoded(self) -> list[npt.NDArray[np.uint8]]:
        """Each frame as (H, W, 3) uint8."""
        from PIL import Image

        return [np.asarray(Image.open(io.BytesIO(jpeg)).convert("RGB")) for jpeg in self.jpegs]


def unpack_chunk(data: bytes) -> ReceivedChunk:
    """A binary message → the chunk in it. Raises ValueError on another kind of message."""
    import msgpack

    if not data or data[0] != CHUNK_KIND:
        raise ValueError(f"message of kind {data[:1].hex() or 'none'}: a chunk begins with {CHUNK_KIND:02x}")
    header: Message = msgpack.unpackb(data[1:])
    return ReceivedChunk(header, header.pop("frames"), len(data))


@asynccontextmanager
async def connect(origin: str, token: str | None = None) -> AsyncIterator[LiveClient]:
    """A client whose hello was accepted. origin: such as http://127.0.0.1:7860.

    In the block, and here: ValueError on what the server refuses, TimeoutError where it does not answer,
    ConnectionError where it closes the connection.
    """
    from websockets.asyncio.client import connect as connect_socket

    address = origin.replace("http", "ws", 1) + "/live"
    options: dict[str, Any] = {"max_size": None, "compression": None, "proxy": None, "open_timeout": TIMEOUT}
    async with connect_socket(address, origin=origin, **options) as socket:  # type: ignore[arg-type]
        client = LiveClient(socket, origin)
        await client.send({"type": "hello", "protocol": PROTOCOL, "token": token})
        await client.answer("welcome")
        yield client


class LiveClient:
    """One connection; made by `connect`. Messages may be sent while another task receives."""

    def __init__(self, socket: Any, origin: str) -> None:
        self._socket, self._origin = socket, origin
        self._next_seq = 0

    async def open(self, source: str, picture: str, prompt: str = "", seed: int = 0) -> Message:
        """Open a picture of the "gallery" or an "upload"; returns the server's "opened" message: size, fps, …"""
        await self.send({"type": "open", "source": source, "picture": picture, "prompt": prompt, "seed": seed})
        return await self.answer("opened")

    async def send(self, message: Message) -> int:
        """Send a message; returns the `seq` it was given, which comes back as `applied_seq` or `ref`."""
        seq, self._next_seq = self._next_seq, self._next_seq + 1
        await self._unless_closed(self._socket.send(json.dumps({**message, "seq": seq})))
        return seq

    async def answer(self, kind: str) -> Message:
        """The next message of this kind; others before it are dropped. Raises ValueError on an error instead."""
        try:
            async with asyncio.timeout(TIMEOUT):
                while True:
                    message = await self.receive()
                    if isinstance(message, ReceivedChunk):
                        continue
                    if message["type"] == "error":
                        raise _refused(message)
                    if message["type"] == kind:
                        return message
        except TimeoutError:
            raise TimeoutError(f"{self._origin} sent no {kind!r} within {TIMEOUT:g} s") from None

    async def receive(self) -> ReceivedChunk | Message:
        """The next chunk or message. Raises ValueError on an error that ends the connection."""
        data = await self._unless_closed(self._socket.recv())
        if isinstance(data, bytes):
            return unpack_chunk(data)
        message: Message = json.loads(data)
        if message["type"] == "error" and message["fatal"]:
            raise _refused(message)
        return message

    async def _unless_closed(self, transfer: Any) -> Any:
        from websockets.exceptions import ConnectionClosed

        try:
            return await transfer
        except ConnectionClosed as closed:
            raise ConnectionError(f"the server at {self._origin} closed the connection: {closed}") from None


def _refused(message: Message) -> ValueError:
    return ValueError(f"the server answered {message['code']}: {message['message']}")


def frame_size(origin: str) -> tuple[int, int]:
    """(W, H) of the frames of the server's model."""
    width, height = _request(origin, "GET", "/api/info")["size"]
    return int(width), int(height)


def upload_picture(origin: str, picture: npt.NDArray[np.uint8], token: str | None = None) -> str:
    """Upload (H, W, 3) uint8; returns the id under which it can be opened. Raises ValueError if it is refused."""
    from PIL import Image

    file = io.BytesIO()
    Image.fromarray(picture).save(file, "PNG")
    return str(_request(origin, "POST", "/api/pictures", file.getvalue(), token)["id"])


def _request(origin: str, method: str, path: str, body: bytes | None = None, token: str | None = None) -> Message:
    """The JSON that the server answers. Raises ValueError with its text if it refuses."""
    import http.client

    headers = {"Origin": origin, **({} if token is None else {"Authorization": f"Bearer {token}"})}
    connection = http.client.HTTPConnection(origin.removeprefix("http://"), timeout=TIMEOUT)
    try:
        connection.request(method, path, body, headers)
        answer = connection.getresponse()
        text = answer.read().decode("utf-8", errors="replace")
    finally:
        connection.close()
    if answer.status != http.client.OK:
        raise ValueError(f"the server answered {answer.status} to {method} {path}: {text[:LONGEST_ERROR]}")
    message: Message = json.loads(text)
    return message
