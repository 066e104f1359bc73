"""A viewer of a live server, simulated as its page would be: `motionstream bench live --through server`.

It speaks the protocol of docs/protocol.md and none of the server's code: opens a picture, plays the gesture session in
real time, decodes every picture that comes, keeps the page's play-out buffer and refreshes a screen `REFRESH` times a
second. What it writes down is what a person in front of it would have met.

Figures of one or several viewers are `Measures`, which can be added up.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections import deque
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any

import numpy as np

from motionstream.evaluate.latency.live import percentiles
from motionstream.evaluate.latency.player import Frame, Player
from motionstream.evaluate.latency.session import POINTER, Coming
from motionstream.evaluate.latency.witness import Witness
from motionstream.tracks.events import Clear, Event, GridDown, Move, Path, Pin, Prompt, Unpin, Up
from motionstream.tracks.record import Recording

if TYPE_CHECKING:
    pass

PROTOCOL, CHUNK_KIND = 1, 1
REFRESH = 60.0  # Hz of the screen
PATIENCE = 60.0  # seconds for an answer or for the first frame
MOST_SAMPLES = 64  # of a hand in one message
STAGGER = 0.7  # seconds between the arrivals of two viewers
RANKS = (50, 95, 99)


@dataclass
class Measures:
    """What viewers met. All durations in seconds; lists and counts of several viewers add up.

    reactions: from a pointer event to the first frame shown of the first chunk that says it knows of it. moved: from
    the hand's having gone a few pixels to the first frame shown in which the picture under it has (`witness.py`).
    first_frames: from asking for a picture to its first frame. late_ticks: how late the simulated screen itself was.
    """

    viewers: int = 0
    seconds: float = 0.0
    frames: int = 0
    chunks: int = 0
    received_bytes: int = 0
    gestures: int = 0
    refused: int = 0
    drags: int = 0
    missed: int = 0
    underruns: int = 0
    starved: float = 0.0
    intervals: list[float] = field(default_factory=list)
    reactions: list[float] = field(default_factory=list)
    moved: list[float] = field(default_factory=list)
    first_frames: list[float] = field(default_factory=list)
    steps: list[float] = field(default_factory=list)
    encodes: list[float] = field(default_factory=list)
    late_ticks: list[float] = field(default_factory=list)
    size: tuple[int, int] = (0, 0)
    fps: float = 0.0

    @classmethod
    def together(cls, parts: Sequence[Measures]) -> Measures:
        """All of these viewers, who look at the same kind of stream."""
        total = cls(size=parts[0].size, fps=parts[0].fps)
        for name in (one.name for one in fields(cls) if one.name not in ("size", "fps")):
            for part in parts:
                setattr(total, name, getattr(total, name) + getattr(part, name))
        return total

    def figures(self) -> dict[str, Any]:
        """JSON-ready; rates and the play-out's counts are of the mean viewer, percentiles over all of them.

        missed_deadlines: frames shown more than a frame late. underruns, underrun_s: times that the buffer was empty
        when a frame was due, and seconds that the picture stood too long. drags: of those whose movement can be seen;
        drags_followed: of those, whose movement was. unanswered: gestures no frame of which was shown in time.
        """
        shown = (self.frames - self.viewers) / self.seconds if self.seconds else 0.0
        return {
            "displayed_fps": shown,
            "real_time_factor": shown / self.fps if self.fps else None,
            "first_frame_ms": percentiles(self.first_frames, (50, 95)),
            "gesture_to_frame_ms": percentiles(self.reactions, RANKS),
            "gesture_to_moved_ms": percentiles(self.moved, (50, 95)),
            "interval_ms": percentiles(self.intervals, RANKS),
            "missed_deadlines": self.missed / self.viewers,
            "underruns": self.underruns / self.viewers,
            "underrun_s": self.starved / self.viewers,
            "received_bytes_per_s": self.received_bytes / self.seconds if self.seconds else 0.0,
            "step_ms": percentiles(self.steps, (50, 95)),
            "encode_ms": percentiles(self.encodes, (50, 95)),
            "screen_late_ms": percentiles(self.late_ticks, (50, 95)),
            "frames": self.frames,
            "chunks": self.chunks,
            "gestures": self.gestures,
            "unanswered": self.gestures - len(self.reactions),
            "refused": self.refused,
            "drags": self.drags,
            "drags_followed": len(self.moved),
            "size": "x".join(map(str, self.size)),
            "nominal_fps": self.fps,
        }


async def watch(origin: str, picture: str, recording: Recording, seconds: float, viewers: int = 1) -> list[Measures]:
    """What each of several viewers met who watched the server at `origin` at the same time.

    seconds: each watches, from its first frame on. origin: such as http://127.0.0.1:8000. picture: the id of an
    uploaded one. Raises ValueError on what the server refuses, TimeoutError when nothing comes.
    """
    try:
        async with asyncio.TaskGroup() as group:
            sessions = [Viewer(origin, picture, recording, seconds, number * STAGGER) for number in range(viewers)]
            tasks = [group.create_task(viewer.watch()) for viewer in sessions]
    except ExceptionGroup as failed:
        raise failed.exceptions[0] from None
    return [task.result() for task in tasks]


class Viewer:
    """One viewer. delay: seconds by which it joins later, so that two do not act as one."""

    def __init__(self, origin: str, picture: str, recording: Recording, seconds: float, delay: float = 0.0) -> None:
        self.origin, self.picture, self.recording = origin, picture, recording
        self.seconds, self.delay = seconds, delay
        self.measures = Measures(viewers=1)
        self.sent: deque[tuple[int, float]] = deque()
        self.seq = 0

    async def watch(self) -> Measures:
        """Join, watch, leave; what was met."""
        from websockets.asyncio.client import connect
        from websockets.exceptions import ConnectionClosed

        await asyncio.sleep(self.delay)
        address = self.origin.replace("http", "ws", 1) + "/live"
        options: dict[str, Any] = {"max_size": None, "compression": None, "proxy": None, "open_timeout": PATIENCE}
        try:
            async with connect(address, origin=self.origin, **options) as socket:  # type: ignore[arg-type]
                self.socket = socket
                await self._begin()
                await self._until_the_first_ends(self._receive(), self._look())
        except ConnectionClosed as closed:
            raise ConnectionError(f"the server at {self.origin} closed the connection: {closed}") from None
        return await asyncio.to_thread(self._result)

    async def _begin(self) -> None:
        asked = await self._greet()
        header = await self._answer("opened")
        self.measures.size, self.measures.fps = (header["size"][0], header["size"][1]), float(header["fps"])
        self.player = Player(self.measures.fps)
        self.witness = Witness(self.measures.size[0])
        self.words = Words(self.measures.size)
        self.coming = Coming(self.recording.on(self.measures.size))
        self.asked = asked
        await self._send({"type": "start"})

    async def _greet(self) -> float:
        """Say hello and ask for the picture; when that was."""
        await self._send({"type": "hello", "protocol": PROTOCOL})
        await self._answer("welcome")
        asked = time.perf_counter()
        prompt = self.recording.header.prompt
        await self._send({"type": "open", "source": "upload", "picture": self.picture, "prompt": prompt})
        return asked

    async def _send(self, message: dict[str, Any]) -> int:
        """Send a message under the next number, which is returned."""
        number, self.seq = self.seq, self.seq + 1
        await self.socket.send(json.dumps({**message, "seq": number}))
        return number

    async def _answer(self, kind: str) -> dict[str, Any]:
        """The next message of this kind. Raises ValueError on an error instead, TimeoutError on neither."""
        with suppress(TimeoutError):
            async with asyncio.timeout(PATIENCE):
                while True:
                    data = await self.socket.recv()
                    message: dict[str, Any] = json.loads(data) if isinstance(data, str) else {}
                    if message.get("type") == "error":
                        raise ValueError(f"the server said {message['code']}: {message['message']}")
                    if message.get("type") == kind:
                        return message
        raise TimeoutError(f"{self.origin} did not say {kind!r} within {PATIENCE:g} s")

    async def _until_the_first_ends(self, *work: Any) -> None:
        """Do it all at once; when one ends, well or not, end the rest."""
        tasks = [asyncio.ensure_future(one) for one in work]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
            ended = await asyncio.gather(*tasks, return_exceptions=True)
        for result in ended:
            if isinstance(result, Exception):
                raise result

    async def _receive(self) -> None:
        """Take in what the server sends, decode it and acknowledge it, as the page does."""
        while True:
            data = await self.socket.recv()
            if isinstance(data, str):
                self._hear(json.loads(data))
            elif data[:1] == bytes([CHUNK_KIND]):
                await self._take(data)

    def _hear(self, message: dict[str, Any]) -> None:
        if message["type"] != "error":
            return
        if message["fatal"]:
            raise ValueError(f"the server said {message['code']}: {message['message']}")
        self.measures.refused += 1

    async def _take(self, data: bytes) -> None:
        chunk, frames = await asyncio.to_thread(unpacked, data)
        self.player.add(frames)
        await self._send({"type": "ack", "chunk": chunk["chunk"], "buffered": len(self.player.queue)})
        self.measures.chunks += 1
        self.measures.received_bytes += len(data)
        self.measures.steps.append(chunk["step_ms"] / 1e3)
        self.measures.encodes.append(chunk["encode_ms"] / 1e3)

    async def _look(self) -> None:
        """Refresh the screen and move the hand until the time is up, counted from the first frame."""
        began = tick = time.perf_counter()
        while True:
            now = time.perf_counter()
            self.measures.late_ticks.append(now - tick)
            self._refresh(now)
            if self.player.shown is None and now - began > PATIENCE:
                raise TimeoutError(f"no frame came from {self.origin} within {PATIENCE:g} s")
            if self.player.shown is not None:
                if now - self.player.first_at >= self.seconds:
                    return
                await self._act(now)
            tick = began + (int((time.perf_counter() - began) * REFRESH) + 1) / REFRESH
            await asyncio.sleep(tick - time.perf_counter())

    def _refresh(self, now: float) -> None:
        frame = self.player.tick(now)
        if frame is None:
            return
        self.witness.screen(frame.pixels, now)
        while self.sent and self.sent[0][0] <= frame.applied:
            self.measures.reactions.append(now - self.sent.popleft()[1])

    async def _act(self, now: float) -> None:
        """Everything the hand did by now, as messages; each event has the time at which it was to happen."""
        assert self.player.shown is not None
        zero, at = self.player.first_at, self.player.seconds(now)
        happened = list(self.coming.until(now - zero))
        for event in happened:
            self.witness.hand(event, zero + event.time, self.player.shown.pixels)
        for events, message in self.words.of(happened, at):
            number = await self._send(message)
            pointed = [event for event in events if isinstance(event, POINTER)]
            self.sent.extend((number, zero + event.time) for event in pointed)
            self.measures.gestures += len(pointed)

    def _result(self) -> Measures:
        """The measures, once everything is counted."""
        done, player = self.measures, self.player
        end = player.first_at + self.seconds
        player.finish(end)
        verdicts = self.witness.verdicts()
        done.seconds, done.frames = self.seconds, player.frames
        done.missed, done.underruns, done.starved = player.missed, player.underruns, player.starved
        done.intervals, done.first_frames = player.intervals, [player.first_at - self.asked]
        done.drags, done.moved = len(verdicts), [seconds for seconds in verdicts if seconds is not None]
        return done


def unpacked(data: bytes) -> tuple[dict[str, Any], list[Frame]]:
    """A chunk as it came → its header, and its frames decoded."""
    import io

    import msgpack
    from PIL import Image

    header: dict[str, Any] = msgpack.unpackb(data[1:])
    pictures = header.pop("frames")
    first, applied = header["first_frame"], header["applied_seq"]
    frames = [
        Frame(first + index, applied, np.asarray(Image.open(io.BytesIO(picture)).convert("RGB")))
        for index, picture in enumerate(pictures)
    ]
    return header, frames


class Words:
    """Events of a session → messages of the protocol, for frames of `size` (W, H) pixels."""

    def __init__(self, size: tuple[int, int]) -> None:
        self.width, self.height = size
        self.numbers: dict[str, int] = {}
        self.count = 0

    def of(self, happened: Iterable[Event], at: float) -> list[tuple[list[Event], dict[str, Any]]]:
        """(events, message) in order; movements of one hand are joined, as many as one message takes.

        at: stream seconds of the frame on display.
        """
        said: list[tuple[list[Event], dict[str, Any]]] = []
        for event in happened:
            message = self._message(event, at)
            last = said[-1][1] if said else {}
            if message["type"] == "move" == last.get("type") and self._joins(last, message):
                last["samples"] += message["samples"]
                said[-1][0].append(event)
            else:
                said.append(([event], message))
        return said

    def _joins(self, last: dict[str, Any], message: dict[str, Any]) -> bool:
        return bool(last["gesture"] == message["gesture"]) and len(last["samples"]) < MOST_SAMPLES

    def _message(self, event: Event, at: float) -> dict[str, Any]:
        match event:
            case GridDown():
                grid = self._grid(event.size, event.spacing, event.falloff)
                return {
                    "type": "down",
                    "gesture": self._new(event.gesture),
                    **self._place(event),
                    "at": at,
                    "grid": grid,
                }
            case Pin():
                grid = self._grid(event.size, event.spacing)
                return {
                    "type": "pin",
                    "gesture": self._new(event.gesture),
                    **self._place(event),
                    "at": at,
                    "grid": grid,
                }
            case Move():
                samples = [{**self._place(event), "at": at}]
                return {"type": "move", "gesture": self.numbers[event.gesture], "samples": samples}
            case Up():
                return {"type": "up", "gesture": self.numbers[event.gesture], "at": at}
            case Unpin():
                return {"type": "remove", "gesture": self.numbers[event.gesture], "at": at}
            case Path():
                return self._path(event, at)
            case Clear():
                return {"type": "clear", "at": at}
            case Prompt():
                return {"type": "prompt", "text": event.text}
        raise ValueError(f"{type(event).__name__}: a bench session has no pauses; record one without")

    def _path(self, event: Path, at: float) -> dict[str, Any]:
        points = [{"x": _share(x, self.width), "y": _share(y, self.height), "t": t} for x, y, t in event.knots]
        grid = self._grid(event.size, event.spacing, event.falloff)
        number = self._new(event.gesture)
        return {"type": "path", "gesture": number, "points": points, "at": at, "grid": grid, "loop": event.loop}

    def _new(self, name: str) -> int:
        """A number of its own for every gesture that begins."""
        self.numbers[name], self.count = self.count, self.count + 1
        return self.numbers[name]

    def _hold(self, event: GridDown | Pin) -> dict[str, float]:
        return {"gesture": self._new(event.gesture), **self._place(event)}

    def _place(self, event: GridDown | Pin | Move) -> dict[str, float]:
        return {"x": _share(event.x, self.width), "y": _share(event.y, self.height)}

    def _grid(self, size: float, spacing: float, falloff: float = 0.0) -> dict[str, float]:
        """Lengths in pixels as shares of the width, within what the protocol takes."""
        return {
            "size": min(size / self.width, 1.0),
            "spacing": min(max(spacing / self.width, 0.004), 0.25),
            "falloff": min(falloff / self.width, 2.0),
        }


def _share(pixels: float, side: int) -> float:
    return min(max(pixels / side, -0.5), 1.5)
