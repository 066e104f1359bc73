"""A simulated viewer of a live server: does what the studio page does and measures what a person would see.

It opens a picture through the Python client, plays a gesture session in real time, decodes every frame, keeps the
page's play-out buffer and refreshes a screen `REFRESH` times a second. The measurements of several viewers add up.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from typing import Any

from motionstream.client.gestures import GestureMessages
from motionstream.client.live import LiveClient, ReceivedChunk, connect
from motionstream.client.player import Frame, Player
from motionstream.evaluate.live.in_process import percentiles
from motionstream.evaluate.live.motion_to_photon import MotionToPhotonProbe
from motionstream.evaluate.live.session import POINTER, LoopedSession
from motionstream.tracks.record import Recording

REFRESH = 60.0  # Hz of the screen
TIMEOUT = 60.0  # seconds for the first frame
STAGGER = 0.7  # seconds between the arrivals of two viewers
RANKS = (50, 95, 99)


@dataclass
class Measures:
    """What viewers saw. All durations in seconds; lists and counts of several viewers add up.

    reactions: from a pointer event to the first frame shown of the first chunk whose `applied_seq` includes it.
    moved: from a pointer movement of a few pixels to the first frame shown in which the picture under it has moved as
    far (`motion_to_photon.py`). first_frames: from opening a picture to its first frame. late_ticks: how late the
    simulated screen itself was.
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
        """All of these viewers, who watch streams of the same size and rate."""
        total = cls(size=parts[0].size, fps=parts[0].fps)
        for name in (one.name for one in fields(cls) if one.name not in ("size", "fps")):
            for part in parts:
                setattr(total, name, getattr(total, name) + getattr(part, name))
        return total

    def figures(self) -> dict[str, Any]:
        """JSON-ready; rates and the play-out's counts are of the mean viewer, percentiles over all of them.

        missed_deadlines: frames shown more than a frame late. underruns, underrun_s: times that the buffer was empty
        when a frame was due, and seconds that the picture stood too long. drags: those whose movement can be measured;
        drags_followed: those of them that the picture followed. unanswered: gestures without a frame in time.
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
    """What each of several viewers saw who watched the server at `origin` at the same time.

    seconds: each watches, from its first frame on. picture: the id of an uploaded one. Raises as `client.live.connect`,
    and TimeoutError when no frame comes.
    """
    delays = [number * STAGGER for number in range(viewers)]  # so that two viewers do not act as one
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(_watch_one(origin, picture, recording, seconds, delay)) for delay in delays]
    except ExceptionGroup as failed:
        raise _first(failed) from None
    return [task.result() for task in tasks]


def _first(error: Exception) -> Exception:
    return _first(error.exceptions[0]) if isinstance(error, ExceptionGroup) else error


async def _watch_one(origin: str, picture: str, recording: Recording, seconds: float, delay: float) -> Measures:
    await asyncio.sleep(delay)
    async with connect(origin) as client:
        asked = time.perf_counter()
        opened = await client.open("upload", picture, recording.header.prompt)
        viewer = SimulatedViewer(client, opened, recording, seconds)
        await client.send({"type": "start"})
        await viewer.run()
    return await asyncio.to_thread(viewer.result, asked)


class SimulatedViewer:
    """One viewer. opened: the server's answer to `open`."""

    def __init__(self, client: LiveClient, opened: dict[str, Any], recording: Recording, seconds: float) -> None:
        size, fps = (opened["size"][0], opened["size"][1]), float(opened["fps"])
        self._client, self._seconds = client, seconds
        self._measures = Measures(viewers=1, size=size, fps=fps)
        self._player, self._probe = Player(fps), MotionToPhotonProbe(size[0])
        self._messages, self._events = GestureMessages(size), LoopedSession(recording.on(size))
        self._unanswered: deque[tuple[int, float]] = deque()  # seq of a message, and when its gesture happened

    async def run(self) -> None:
        """Receive frames and refresh the screen until the time is up."""
        async with asyncio.TaskGroup() as group:
            receiving = group.create_task(self._receive())
            await self._watch_screen()
            receiving.cancel()

    async def _receive(self) -> None:
        """Decode and acknowledge every chunk, as the page does."""
        while True:
            received = await self._client.receive()
            if isinstance(received, ReceivedChunk):
                await self._take(received)
            elif received["type"] == "error":
                self._measures.refused += 1

    async def _take(self, chunk: ReceivedChunk) -> None:
        header, pixels = chunk.header, await asyncio.to_thread(chunk.decoded)
        first, applied = header["first_frame"], header["applied_seq"]
        self._player.add(Frame(first + index, applied, frame) for index, frame in enumerate(pixels))
        await self._client.send({"type": "ack", "chunk": header["chunk"], "buffered": len(self._player.queue)})
        self._measures.chunks += 1
        self._measures.received_bytes += chunk.received_bytes
        self._measures.steps.append(header["step_ms"] / 1e3)
        self._measures.encodes.append(header["encode_ms"] / 1e3)

    async def _watch_screen(self) -> None:
        """Refresh the screen and move the pointer until the time is up, counted from the first frame."""
        began = tick = time.perf_counter()
        while True:
            now = time.perf_counter()
            self._measures.late_ticks.append(now - tick)
            self._refresh(now)
            if self._player.shown is None and now - began > TIMEOUT:
                raise TimeoutError(f"no frame came within {TIMEOUT:g} s")
            if self._player.shown is not None:
                if now - self._player.first_at >= self._seconds:
                    return
                await self._act(now)
            tick = began + (int((time.perf_counter() - began) * REFRESH) + 1) / REFRESH
            await asyncio.sleep(tick - time.perf_counter())

    def _refresh(self, now: float) -> None:
        frame = self._player.tick(now)
        if frame is None:
            return
        self._probe.shown(frame.pixels, now)
        while self._unanswered and self._unanswered[0][0] <= frame.applied:
            self._measures.reactions.append(now - self._unanswered.popleft()[1])

    async def _act(self, now: float) -> None:
        """Send what the pointer did by now; each event has the time at which it was to happen."""
        assert self._player.shown is not None
        zero, at = self._player.first_at, self._player.seconds(now)
        due = list(self._events.until(now - zero))
        for event in due:
            self._probe.pointer(event, zero + event.time, self._player.shown.pixels)
        for events, message in self._messages.of(due, at):
            seq = await self._client.send(message)
            pointed = [event for event in events if isinstance(event, POINTER)]
            self._unanswered.extend((seq, zero + event.time) for event in pointed)
            self._measures.gestures += len(pointed)

    def result(self, asked: float) -> Measures:
        """The measures, once the time is up. asked: wall seconds at which the picture was opened."""
        done, player = self._measures, self._player
        player.finish(player.first_at + self._seconds)
        reactions = self._probe.reactions()
        done.seconds, done.frames = self._seconds, player.frames
        done.missed, done.underruns, done.starved = player.missed, player.underruns, player.starved
        done.intervals, done.first_frames = player.intervals, [player.first_at - asked]
        done.drags, done.moved = len(reactions), [seconds for seconds in reactions if seconds is not None]
        return done
