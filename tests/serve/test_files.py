"""What a viewer takes home and brings along: MP4 recordings, gesture logs that replay exactly, uploaded pictures."""

from __future__ import annotations

import io
import socket

import av
import httpx
import numpy as np
import pytest
from PIL import Image
from tests.serve.conftest import Serve
from tests.serve.harness import Client, decoded, wait_for

from motionstream.serve import Limits

GRID = {"size": 0.0, "spacing": 0.05}


def test_a_recording_is_an_mp4_of_what_was_shown(serve: Serve) -> None:
    server = serve()
    client = server.viewer()
    client.send("record", on=True)
    assert client.expect("recording")["on"]
    client.send("start")
    shown = np.concatenate([decoded(client.chunk()) for _ in range(3)])
    client.send("record", on=False)
    told = client.expect("recording")
    answer = httpx.get(f"{server.origin}/api/recordings/{told['id']}")
    assert answer.headers["content-type"] == "video/mp4"
    with av.open(io.BytesIO(answer.content)) as container:
        assert container.streams.video[0].average_rate == 24
        frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    assert len(frames) == told["frames"] >= 33
    assert np.abs(frames[0].astype(int) - shown[0]).mean() < 6
    client.close()


def test_an_unfinished_recording_leaves_no_file(serve: Serve) -> None:
    server = serve()
    client = server.viewer()
    client.send("record", on=True)
    client.send("start")
    client.chunk()
    folder = server.studio.folder
    assert list(folder.iterdir())
    client.close()
    wait_for(lambda: not list(folder.iterdir()))


def drag_something(client: Client) -> list[dict]:
    """Six chunks with a drag, a pin, a path and a change of the prompt."""
    client.send("start")
    chunks = [client.chunk()]
    client.send("down", gesture=1, x=0.4, y=0.4, at=0.1, grid={"size": 0.1, "spacing": 0.05, "falloff": 0.2})
    client.send("pin", gesture=2, x=0.8, y=0.8, at=0.1, grid=GRID)
    for step in range(4):
        client.send("move", gesture=1, samples=[{"x": 0.4 + step / 20, "y": 0.4, "at": 0.2 + step / 5}])
        chunks.append(client.chunk())
    client.send("up", gesture=1, at=1.0)
    client.send("prompt", text="snow")
    client.send(
        "path", gesture=3, points=[{"x": 0.1, "y": 0.1, "t": 0}, {"x": 0.3, "y": 0.1, "t": 0.7}], at=1.0, grid=GRID
    )
    return chunks + [client.chunk() for _ in range(4)]


def test_gestures_replay_exactly(serve: Serve) -> None:
    server = serve()
    client = server.viewer()
    chunks = drag_something(client)
    client.send("gestures")
    told = client.expect("gestures")
    text = httpx.get(f"{server.origin}/api/gestures/{told['id']}").text
    client.close()
    answer = httpx.post(f"{server.origin}/api/replays", content=text.encode(), headers={"origin": server.origin})
    assert answer.json()["events"] == told["events"]
    other = server.connect()
    other.send("hello", protocol=1)
    other.send("replay", replay=answer.json()["id"])
    assert other.expect("opened")["replay"]
    other.send("start")
    replayed = [other.chunk() for _ in chunks]
    assert any(chunk["points"] for chunk in chunks)
    for old, new in zip(chunks, replayed, strict=True):
        assert (old["tracks"], old["frames"]) == (new["tracks"], new["frames"])
    other.close()


@pytest.mark.parametrize("data", [b"", b"{}", b"\xff\xfe", b'{"type": "header"}', b"[" * 100_000])
def test_a_bad_replay_is_refused(serve: Serve, data: bytes) -> None:
    server = serve()
    answer = httpx.post(f"{server.origin}/api/replays", content=data, headers={"origin": server.origin})
    assert (answer.status_code, answer.json()["code"]) == (422, "replay.invalid")


def test_an_upload_can_be_opened(serve: Serve) -> None:
    server = serve()
    buffer = io.BytesIO()
    Image.new("RGB", (300, 200), (10, 200, 30)).save(buffer, "PNG")
    answer = httpx.post(f"{server.origin}/api/pictures", content=buffer.getvalue(), headers={"origin": server.origin})
    assert (answer.json()["width"], answer.json()["height"]) == (300, 200)
    client = server.viewer()
    client.send("open", source="upload", picture=answer.json()["id"])
    client.expect("opened")
    client.send("start")
    assert decoded(client.chunk())[0, 70, 100] == pytest.approx([10, 200, 30], abs=4)
    client.close()


def test_an_upload_over_the_limit_is_refused_before_it_is_read(serve: Serve) -> None:
    server = serve(limits=Limits(upload_bytes=1000))
    headers = {"origin": server.origin}
    answer = httpx.post(f"{server.origin}/api/pictures", content=b"x" * 1001, headers=headers)
    assert (answer.status_code, answer.json()["code"]) == (413, "image.too_large")
    assert httpx.post(f"{server.origin}/api/pictures", content=b"x" * 1000, headers=headers).status_code == 415


def test_an_upload_without_end_is_cut_off(serve: Serve) -> None:
    server = serve(limits=Limits(upload_bytes=1000))
    host = f"127.0.0.1:{server.settings.port}"
    head = (
        f"POST /api/pictures HTTP/1.1\r\nHost: {host}\r\nOrigin: {server.origin}\r\nTransfer-Encoding: chunked\r\n\r\n"
    )
    with socket.create_connection(("127.0.0.1", server.settings.port), timeout=10) as line:
        line.sendall(head.encode())
        for _ in range(4):
            line.sendall(b"190\r\n" + b"x" * 400 + b"\r\n")
        answer = b""
        while piece := line.recv(65_536):  # ends as the server closes, though the body does not end
            answer += piece
    assert answer.startswith(b"HTTP/1.1 413")
    assert b"image.too_large" in answer
