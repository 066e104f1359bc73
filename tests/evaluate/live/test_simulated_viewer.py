"""Simulated viewers at servers whose picture follows the pointer or does not, and at the real server."""

from __future__ import annotations

import asyncio
import io
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgpack
import numpy as np
import pytest
from PIL import Image
from tests.serve.fake_model import FakeModel
from tests.serve.harness import running
from tests.stream.small_bundle import save_small
from websockets.asyncio.server import ServerConnection, serve

from motionstream import cli, errors
from motionstream.evaluate.harness import Results
from motionstream.evaluate.live import served, server_process
from motionstream.evaluate.live.session import recorded_session, textured_picture
from motionstream.evaluate.live.simulated_viewer import Measures, watch
from motionstream.serve import Limits
from motionstream.tracks.events import GridDown, Move
from motionstream.tracks.record import Header, Recording

SIZE = (64, 32)


# --- what they meet -----------------------------------------------------------------------------------------------


def test_a_model_that_follows_is_seen_to_follow_through_the_real_protocol() -> None:
    with running(FakeModel(step_seconds=0.05), Limits()) as server:
        picture = served.upload_texture(server.origin)
        each = asyncio.run(watch(server.origin, picture, recorded_session(), 3.4, viewers=2))
    assert len(each) == 2
    for one in each:
        figures = one.figures()
        assert figures["size"] == "256x144"
        assert figures["gestures"] > 60
        assert 0 <= figures["unanswered"] < figures["gestures"]
        assert figures["refused"] == 0
        assert figures["drags"] == 1
        assert figures["drags_followed"] == 1
        assert figures["gesture_to_moved_ms"]["p50"] > 0
        assert figures["chunks"] > 1
        assert figures["frames"] > 1
        assert figures["received_bytes_per_s"] > 1000
    total = Measures.together(each).figures()
    assert total["gestures"] == sum(one.gestures for one in each)
    assert total["frames"] == sum(one.frames for one in each)
    json.dumps(total, allow_nan=False)


Answer = Callable[[dict[str, Any]], Any]


async def at_fake(answer: Answer, chunk_every: float, seconds: float) -> Measures:
    """What a viewer meets at a server that sends the same picture again and again. answer: to each message, or None."""
    jpeg = io.BytesIO()
    Image.fromarray(textured_picture(SIZE)).save(jpeg, "JPEG")

    async def stream(socket: ServerConnection, heard: list[int]) -> None:
        for number in range(1000):
            header = {"chunk": number, "first_frame": 4 * number, "applied_seq": max(heard, default=-1)}
            body = {**header, "step_ms": 5.0, "encode_ms": 1.0, "frames": [jpeg.getvalue()] * 4}
            await socket.send(b"\x01" + msgpack.packb(body))
            await asyncio.sleep(chunk_every)

    async def handle(socket: ServerConnection) -> None:
        heard: list[int] = []
        task = None
        async for text in socket:
            message = json.loads(text)
            heard.append(message["seq"])
            if (reply := answer(message)) is not None:
                await socket.send(json.dumps(reply))
            if message["type"] == "start":
                task = asyncio.create_task(stream(socket, heard))
        if task is not None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    events = (GridDown("a", 32, 16, size=8, spacing=4), *(Move("a", 32 + i, 16, time=i / 30) for i in range(20)))
    async with serve(handle, "127.0.0.1", 0, compression=None) as server:
        origin = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        return (await watch(origin, "p", Recording(Header(SIZE), events), seconds))[0]


def politely(message: dict[str, Any]) -> dict[str, Any] | None:
    answers = {
        "hello": {"type": "welcome", "protocol": 1},
        "open": {"type": "opened", "size": list(SIZE), "fps": 24.0},
        "move": {"type": "error", "code": "gesture.refused", "message": "no", "fatal": False, "ref": 1},
    }
    return answers.get(message["type"])


def test_a_picture_that_stands_and_a_server_that_is_slow_are_told() -> None:
    figures = asyncio.run(at_fake(politely, chunk_every=0.3, seconds=1.5)).figures()
    assert figures["underruns"] >= 2
    assert figures["underrun_s"] > 0
    assert figures["refused"] > 0
    assert figures["drags"] >= 1
    assert figures["drags_followed"] == 0
    assert figures["gesture_to_moved_ms"]["p50"] is None
    assert figures["gesture_to_frame_ms"]["p50"] > 0, "the server says that it knows of the gestures"


def test_what_the_server_refuses_is_the_users_to_know() -> None:
    full = {"type": "error", "code": "server.full", "message": "all places are taken", "fatal": True, "ref": None}
    with pytest.raises(ValueError, match=r"server\.full: all places"):
        asyncio.run(at_fake(lambda message: full, 0.1, 1.0))


# --- the real server ----------------------------------------------------------------------------------------------


def test_the_real_server_is_started_watched_and_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Through the program; a second run takes what the journal has."""
    folder, journal, out = save_small(tmp_path / "model", 1, 1, 1), tmp_path / "journal.jsonl", tmp_path / "live.json"
    pids: list[int] = []
    known = server_process._started

    async def started(supervisor: asyncio.subprocess.Process, errors: Any) -> server_process.Server:
        server = await known(supervisor, errors)
        pids.append(server.pid)
        return server

    monkeypatch.setattr(server_process, "_started", started)
    monkeypatch.setenv("MOTIONSTREAM_TOKEN", "must not reach the server")
    arguments = ["bench", "live", "--model", str(folder), "--through", "server", "--seconds", "1"]
    arguments += ["--viewers", "1", "--device", "cpu", "--journal", str(journal), "--json", str(out)]
    assert cli.run(arguments) == errors.DONE
    figures = json.loads(out.read_text())
    assert {"model", "model_hash", "machine", "date", "seconds"} <= figures.keys()
    assert figures["through"] == "server"
    one = figures["viewers"]["1"]
    assert one["size"] == "48x32"
    assert one["chunks"] > 1
    assert one["gestures"] > 0
    assert one["server"]["cores"] > 0
    assert len(one["each"]) == 1
    with pytest.raises(ProcessLookupError):
        os.kill(pids[0], 0)
    assert cli.run(arguments) == errors.DONE
    assert len(pids) == 1, "measured before: no server was started"
    assert json.loads(out.read_text())["viewers"] == figures["viewers"]


HOLDER = """
import asyncio, sys
from motionstream.evaluate.live.server_process import serving
async def hold():
    async with serving(sys.argv[1], "cpu") as server:
        print(server.origin, flush=True)
        await asyncio.sleep(60)
asyncio.run(hold())
"""


@pytest.mark.parametrize("ending", [signal.SIGKILL, signal.SIGTERM])
def test_the_server_ends_also_where_its_bench_is_killed(tmp_path: Path, ending: signal.Signals) -> None:
    folder = save_small(tmp_path / "model", 1, 1, 1)
    command = [sys.executable, "-c", HOLDER, str(folder)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as bench:
        assert bench.stdout is not None
        port = int(bench.stdout.readline().rpartition(":")[2])
        with socket.create_connection(("127.0.0.1", port), timeout=5):
            bench.send_signal(ending)
            bench.wait(10)
    end = time.monotonic() + server_process.END_SECONDS + 5
    while answers(port):
        assert time.monotonic() < end, "the server was left behind"
        time.sleep(0.05)


def answers(port: int) -> bool:
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=5):
            return True
    except ConnectionError:
        return False


def test_a_server_that_does_not_start_says_why(tmp_path: Path) -> None:
    async def start() -> None:
        async with server_process.serving(str(tmp_path)):
            raise AssertionError("it must not run")

    with pytest.raises(ValueError, match=r"ended before it could be reached: .*model\.json is missing"):
        asyncio.run(start())


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--through", "air"], "use library or server"),
        (["--viewers", "2"], "only with --through server"),
        (["--through", "server", "--viewers", "1,none"], "such as 1,2,4"),
        (["--through", "server", "--model", "huge"], "no model named 'huge'"),
    ],
)
def test_wrong_requests_are_one_line(arguments: list[str], says: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["bench", "live", *arguments]) == errors.WRONG_INPUT
    assert says in capsys.readouterr().err


def test_counts_and_seconds_are_checked_before_anything_is_started() -> None:
    with pytest.raises(ValueError, match="from 1 up"):
        served.bench_server("tiny", 5, [0])
    with pytest.raises(ValueError, match="must be positive"):
        served.bench_server("tiny", float("nan"))
    known = Results()
    known.measured("3", lambda: {"displayed_fps": 24.0})
    assert served.bench_server("tiny", 5, [3], journal=known)["viewers"] == {"3": {"displayed_fps": 24.0}}


def test_the_picture_has_texture_everywhere() -> None:
    for size in ((256, 144), (832, 480), (48, 32)):
        picture = textured_picture(size)
        assert picture.shape == (size[1], size[0], 3)
        side = max(8, size[0] // 12)
        tiles = [
            picture[y : y + side, x : x + side]
            for y in range(0, size[1] - side, side)
            for x in range(0, size[0] - side, side)
        ]
        assert min(float(tile.mean(-1).std()) for tile in tiles) > 3
    np.testing.assert_array_equal(textured_picture((256, 144)), textured_picture((256, 144)))
