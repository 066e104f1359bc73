"""The stream as a viewer sees it, through a real socket: chunks, gestures, mistakes, other viewers, farewells."""

from __future__ import annotations

import contextlib
import json
import threading
import time

import httpx
import numpy as np
import pytest
from tests.serve.conftest import Serve
from tests.serve.fake_model import FakeModel
from tests.serve.harness import Client, Running, decoded, running, wait_for
from websockets.exceptions import ConnectionClosed

from motionstream.serve import Limits

GRID = {"size": 0.0, "spacing": 0.05}


def points(chunk: dict) -> np.ndarray:
    """(F, N, 2) pixels."""
    return np.frombuffer(chunk["tracks"], "<i2").reshape(len(chunk["frames"]), chunk["points"], 2) / 8


def close_code(client: Client) -> int:
    """Reads on until the server closes; its code."""
    with pytest.raises(ConnectionClosed) as caught:
        client.expect("nothing that the server says")
    assert caught.value.rcvd is not None
    return caught.value.rcvd.code


def test_chunks_follow_one_another(serve: Serve) -> None:
    client = serve().viewer()
    client.send("start")
    chunks = [client.chunk() for _ in range(4)]
    assert [chunk["chunk"] for chunk in chunks] == [0, 1, 2, 3]
    assert [len(chunk["frames"]) for chunk in chunks] == [9, 12, 12, 12]
    assert [chunk["first_frame"] for chunk in chunks] == [0, 9, 21, 33]
    assert decoded(chunks[0]).shape == (9, 144, 256, 3)
    client.close()


def test_a_drag_reaches_the_pixels(serve: Serve) -> None:
    client = serve().viewer()
    client.send("start")
    still = decoded(client.chunk())[0]
    client.send("down", gesture=1, x=0.5, y=0.5, at=0.0, grid=GRID)
    applied = client.send("move", gesture=1, samples=[{"x": 0.7, "y": 0.5, "at": 0.2}])
    while (chunk := client.chunk())["applied_seq"] < applied:
        pass
    while points(chunk)[-1, 0, 0] < 179:
        chunk = client.chunk()
    assert points(chunk)[-1, 0] == pytest.approx([0.7 * 256, 72], abs=0.13)
    moved = decoded(chunk)[-1]
    grabbed = still[64:80, 120:136].astype(float)
    assert np.abs(moved[64:80, 171:187] - grabbed).mean() < 6 < np.abs(still[64:80, 171:187] - grabbed).mean()
    client.close()


def test_torch_never_runs_on_the_event_loop(serve: Serve) -> None:
    server = serve()
    client = server.viewer()
    client.send("start")
    client.chunk()
    client.close()
    names = {thread.ident: thread.name for thread in threading.enumerate()}
    assert len(server.model.threads) == 1
    assert names[server.model.threads.pop()].startswith("motionstream-model")


def test_a_stream_settles_while_its_chunk_is_looked_at(serve: Serve) -> None:
    server = serve()
    client = server.viewer()
    client.send("start")
    client.chunk()
    client.send("pause")
    wait_for(lambda: server.model.settled >= 1)
    client.close()


def test_the_loop_answers_while_a_chunk_is_made(serve: Serve) -> None:
    server = serve(FakeModel(step_seconds=0.5))
    client = server.viewer()
    client.send("start")
    client.chunk()
    begun = time.monotonic()
    assert httpx.get(f"{server.origin}/healthz").status_code == 200
    assert time.monotonic() - begun < 0.4
    client.close()


BAD = [
    '{"type": "zap", "seq": 9}', "nonsense", '{"type": "down"}', "[]",
    '{"type": "move", "seq": 9, "gesture": 1, "samples": [{"x": NaN, "y": 0, "at": 0}]}',
    '{"type": "move", "seq": 9, "gesture": 1, "samples": [{"x": 1e999, "y": 0, "at": 0}]}',
    '{"type": "move", "seq": 9, "gesture": 77, "samples": [{"x": 0, "y": 0, "at": 0}]}',
    '{"type": "down", "seq": 9, "gesture": 5, "x": 9, "y": 0, "at": 0, "grid": {"size": 0, "spacing": 0.1}}',
    '{"type": "pin", "seq": 9, "gesture": 5, "x": 0.5, "y": 0.5, "at": 0, "grid": {"size": 1, "spacing": 0.004}}',
    '{"type": "hello", "seq": 9, "protocol": 1}', '{"type": "open", "seq": 9, "source": "gallery", "picture": "none"}',
    '{"type": "replay", "seq": 9, "replay": "none"}', b"\x01\x02",
]  # fmt: skip


def frames_with(server: Running, disturb: bool) -> list[bytes]:
    """Frames of a session with a drag; disturbed by every kind of bad message or not."""
    client = server.viewer()
    client.send("down", gesture=1, x=0.5, y=0.5, at=0.0, grid=GRID)
    client.send("move", gesture=1, samples=[{"x": 0.6, "y": 0.5, "at": 0.2}])
    if disturb:
        for raw in BAD:
            client.socket.send(raw)
    client.send("start")
    client.expect("state")
    frames = [frame for _ in range(3) for frame in client.chunk()["frames"]]
    if disturb:
        assert len(client.errors) == len(BAD)
        assert not any(error["fatal"] for error in client.errors)
        assert [error["ref"] for error in client.errors[4:12]] == [9] * 8
    client.close()
    return frames


def test_mistakes_are_answered_and_change_nothing(serve: Serve) -> None:
    server = serve()
    assert frames_with(server, disturb=True) == frames_with(server, disturb=False)


def test_points_are_limited_to_the_one(serve: Serve) -> None:
    client = serve(limits=Limits(points=26)).viewer()
    grid = {"size": 0.2, "spacing": 0.05}  # 5 × 5
    client.send("pin", gesture=1, x=0.5, y=0.5, at=0, grid=grid)
    client.send("pin", gesture=2, x=0.5, y=0.5, at=0, grid=GRID)
    refused = client.send("pin", gesture=3, x=0.5, y=0.5, at=0, grid=GRID)
    error = client.expect("error")
    assert (error["code"], error["ref"]) == ("gesture.refused", refused)
    client.send("start")
    assert client.chunk()["points"] == 26
    client.close()


@pytest.mark.parametrize("excess", [0, 1])
def test_an_oversized_message_closes(serve: Serve, excess: int) -> None:
    client = serve().viewer()
    frame = json.dumps({"type": "start", "seq": 5})
    client.socket.send(frame + " " * (Limits.message_bytes - len(frame) + excess))
    if excess:
        assert close_code(client) == 1009
        assert client.errors[0]["code"] == "message.too_large"
    else:
        assert client.chunk()["chunk"] == 0
        client.close()


def test_messages_before_their_time(serve: Serve) -> None:
    server = serve()
    client = server.connect()
    client.send("start")
    assert close_code(client) == 4401
    client = server.connect()
    client.send("hello", protocol=2)
    assert close_code(client) == 4401
    client = server.connect()
    client.send("hello", protocol=1)
    client.expect("welcome")
    client.send("start")
    assert client.expect("error")["code"] == "message.order"
    client.close()


def test_silence_instead_of_hello_closes(serve: Serve) -> None:
    client = serve(limits=Limits(hello_seconds=0.2)).connect()
    assert close_code(client) == 4401


def test_bad_messages_without_end_close(serve: Serve) -> None:
    client = serve().viewer()
    with contextlib.suppress(ConnectionClosed):  # the server may have had enough before the last one is sent
        for _ in range(60):
            client.socket.send("nonsense")
    assert close_code(client) == 4429


def test_a_flood_closes(serve: Serve) -> None:
    client = serve(limits=Limits(messages_per_second=10, message_burst=200)).viewer()
    with contextlib.suppress(ConnectionClosed):
        for _ in range(100_000):
            client.send("clear", at=0)
    assert close_code(client) == 4429


def test_a_viewer_that_does_not_acknowledge_gets_two_chunks_and_is_closed(serve: Serve) -> None:
    server = serve(limits=Limits(stall_seconds=0.6))
    client = server.viewer()
    made = len(server.model.order)
    client.send("start")
    begun = time.monotonic()
    chunks = [client.receive() for _ in range(3)][1:]
    assert [chunk["chunk"] for chunk in chunks] == [0, 1]
    assert client.receive()["code"] == "viewer.slow"
    assert close_code(client) == 4408
    assert 0.5 < time.monotonic() - begun < 3
    assert len(server.model.order) - made == 2


def test_a_viewer_who_comes_back_in_time_goes_on(serve: Serve) -> None:
    client = serve(limits=Limits(stall_seconds=5)).viewer()
    client.send("start")
    client.expect("state")
    first, second = client.receive(), client.receive()
    time.sleep(0.5)
    applied = client.send("pin", gesture=1, x=0.5, y=0.5, at=0, grid=GRID)
    client.acknowledge(first)
    client.acknowledge(second)
    third = client.chunk()
    assert third["first_frame"] == second["first_frame"] + 12
    assert third["applied_seq"] == applied
    client.close()


def test_a_vanished_viewer_frees_its_place(serve: Serve) -> None:
    server = serve(limits=Limits(viewers=1))
    client = server.viewer()
    client.send("start")
    client.chunk()
    client.socket.socket.close()  # no farewell
    wait_for(lambda: server.studio.viewers == 0)
    made = len(server.model.order)
    time.sleep(0.3)
    assert len(server.model.order) == made
    server.viewer().close()


def test_one_viewer_too_many_is_told_so(serve: Serve) -> None:
    server = serve(limits=Limits(viewers=2))
    first, second = server.viewer(), server.viewer()
    third = server.connect()
    assert close_code(third) == 1013
    assert third.errors[0]["code"] == "server.full"
    first.send("start")
    assert first.chunk()
    first.close()
    second.close()


def test_viewers_take_turns_chunk_by_chunk(serve: Serve) -> None:
    server = serve(FakeModel(step_seconds=0.02))
    clients = [server.viewer(), server.viewer()]
    for client in clients:
        client.send("start")
    threads = [threading.Thread(target=lambda c=client: [c.chunk() for _ in range(12)]) for client in clients]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    order = server.model.order[4:20]  # after warming up and the head start of the first
    runs = [list(order[i : i + 3]) for i in range(len(order) - 2)]
    assert all(len(set(run)) > 1 for run in runs)
    for client in clients:
        client.close()


def test_a_pause_costs_nothing(serve: Serve) -> None:
    server = serve()
    client = server.viewer()
    client.send("start")
    last = client.chunk()
    client.send("pause")
    while (message := client.receive())["type"] != "state":
        client.acknowledge(message)
        last = message
    assert message["state"] == "paused"
    time.sleep(0.3)
    made = len(server.model.order)
    time.sleep(0.4)
    assert len(server.model.order) == made
    client.send("pin", gesture=1, x=0.5, y=0.5, at=1, grid=GRID)
    client.send("resume")
    chunk = client.chunk()
    while chunk["points"] == 0:  # one chunk may have been in the making when the pause came
        last, chunk = chunk, client.chunk()
    assert chunk["first_frame"] == last["first_frame"] + len(last["frames"])
    client.close()


def test_a_prompt_takes_effect_at_the_next_chunk(serve: Serve) -> None:
    client = serve().viewer()
    client.send("start")
    before = decoded(client.chunk()).mean()
    applied = client.send("prompt", text="snow is falling")
    while (chunk := client.chunk())["applied_seq"] < applied:
        pass
    assert decoded(chunk).mean() > before + 10
    client.close()


def test_streams_are_opened_with_the_servers_sink() -> None:
    """A model that knows no sinks is told nothing of them."""
    for settings, asked in (({}, {}), ({"sink": "refresh"}, {"sink": "refresh"})):
        model = FakeModel()
        with running(model, Limits(), **settings) as server:
            server.viewer().close()
        assert model.asked[-1] == asked


def test_an_engine_failure_ends_one_session_and_tells_nothing_of_the_inside(serve: Serve, caplog) -> None:
    server = serve()
    client = server.viewer()
    client.send("start")
    client.chunk()
    server.model.fail_at = len(server.model.order)
    client.acknowledge({"chunk": 1})
    assert close_code(client) == 1011
    error = client.errors[0]
    assert error["code"] == "engine.failed"
    assert "secret" not in error["message"]
    incident = error["message"].split("incident ")[1].split(")")[0]
    assert incident in caplog.text
    server.model.fail_at = None
    again = server.viewer()
    again.send("start")
    assert again.chunk()["chunk"] == 0
    again.close()
