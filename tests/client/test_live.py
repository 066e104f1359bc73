"""The Python client at the real server: frames arrive, and what is refused is one clear error."""

from __future__ import annotations

import asyncio

import numpy as np
import pytest
from tests.serve.conftest import Serve
from tests.serve.fake_model import FakeModel

from motionstream.client import live
from motionstream.client.live import ReceivedChunk, connect, frame_size, unpack_chunk, upload_picture
from motionstream.serve import Limits, protocol


def test_client_and_server_mean_the_same_protocol() -> None:
    assert (live.PROTOCOL, live.CHUNK_KIND) == (protocol.PROTOCOL, protocol.CHUNK_KIND)


def test_a_chunk_comes_back_as_it_was_packed() -> None:
    data = protocol.pack_chunk({"chunk": 7, "fps": 24.0, "tracks": b"\0\1"}, [b"one", b""])
    header = {"chunk": 7, "fps": 24.0, "tracks": b"\0\1"}
    assert unpack_chunk(data) == ReceivedChunk(header, [b"one", b""], len(data))
    with pytest.raises(ValueError, match="kind"):
        unpack_chunk(b"\2" + data[1:])


def test_a_picture_comes_back_as_frames(serve: Serve) -> None:
    origin = serve(token="a-long-token").origin
    assert frame_size(origin) == (256, 144)
    picture = upload_picture(origin, np.full((144, 256, 3), 90, np.uint8), "a-long-token")

    async def first_chunk() -> ReceivedChunk:
        async with connect(origin, "a-long-token") as client:
            opened = await client.open("upload", picture, prompt="snow", seed=3)
            assert (opened["size"], opened["prompt"], opened["seed"]) == ([256, 144], "snow", 3)
            await client.send({"type": "start"})
            while not isinstance(received := await client.receive(), ReceivedChunk):
                pass
            return received

    chunk = asyncio.run(first_chunk())
    frames = chunk.decoded()
    assert chunk.header["first_frame"] == 0
    assert len(frames) == 9
    assert frames[0].shape == (144, 256, 3)
    assert chunk.received_bytes > sum(map(len, chunk.jpegs))


def test_what_the_server_refuses_is_a_value_error(serve: Serve) -> None:
    origin = serve(token="a-long-token").origin

    async def open_with(token: str | None, picture: str) -> None:
        async with connect(origin, token) as client:
            await client.open("gallery", picture)

    with pytest.raises(ValueError, match=r"auth\.failed: wrong token"):
        asyncio.run(open_with("another-token", "crab"))
    with pytest.raises(ValueError, match=r"picture\.unknown"):
        asyncio.run(open_with("a-long-token", "none"))
    with pytest.raises(ValueError, match="answered 401"):
        upload_picture(origin, np.zeros((32, 32, 3), np.uint8))


def test_a_connection_that_ends_is_a_connection_error(serve: Serve) -> None:
    origin = serve(FakeModel(), Limits(stall_seconds=0.2)).origin

    async def never_acknowledge() -> None:
        async with connect(origin) as client:
            await client.open("gallery", "crab")
            await client.send({"type": "start"})
            while True:
                await client.receive()

    with pytest.raises((ValueError, ConnectionError), match=r"viewer\.slow|closed the connection"):
        asyncio.run(never_acknowledge())
