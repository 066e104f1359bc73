"""Recorded gesture sessions in files, and their exact replay.

A recording is JSON lines: a header, then in order the events that were applied (`events.to_json`) and the chunks for
which tracks were made ({"type": "chunk", "first_frame": …, "frames": …}). An event acts on the chunks after it, so
replaying needs no clock and gives exactly the same tracks.
"""

from __future__ import annotations

import io
import json
import math
import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any, Self

from motionstream.geometry import Fit
from motionstream.tracks.events import Event, Gesture, fitted, from_json, to_json
from motionstream.tracks.gestures import GestureSession
from motionstream.tracks.tracks import Tracks

FORMAT = "motionstream gestures 1"
LARGEST = 64 << 20  # bytes of a recording; hours of dragging


@dataclass(frozen=True)
class Header:
    """What a session was recorded with. size: (W, H) of the model's frame, in whose pixels the events are."""

    size: tuple[int, int]
    fps: float = 24.0
    image: str = ""
    prompt: str = ""
    seed: int = 0
    max_points: int = 2500

    def session(self) -> GestureSession:
        """A new session, as the recorded one was at its start."""
        return GestureSession(self.size, self.fps, self.max_points)


@dataclass(frozen=True)
class ChunkMark:
    """Tracks for the frames [first_frame, first_frame + frames) were made here, with all events before."""

    first_frame: int
    frames: int


Entry = Event | ChunkMark


class Recorder:
    """A gesture session that records what is applied to it. most: entries that are kept; later ones only act."""

    def __init__(self, header: Header, most: int | None = None) -> None:
        self.header = header
        self.session = header.session()
        self._most = most
        self._entries: list[Entry] = []

    def apply(self, event: Event) -> None:
        """Apply a gesture, or record a prompt, pause or resume. What the session refuses is not recorded."""
        if isinstance(event, Gesture):
            self.session.apply(event)
        self._keep(event)

    def tracks(self, first_frame: int, frames: int) -> Tracks:
        """As `GestureSession.tracks`."""
        made = self.session.tracks(first_frame, frames)
        self._keep(ChunkMark(first_frame, frames))
        return made

    def _keep(self, entry: Entry) -> None:
        if self._most is None or len(self._entries) < self._most:
            self._entries.append(entry)

    def recording(self) -> Recording:
        """The entries so far."""
        return Recording(self.header, tuple(self._entries))


@dataclass(frozen=True)
class Recording:
    """A recorded session: header and entries in order."""

    header: Header
    entries: tuple[Entry, ...]

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Self:
        """Read a file written by `save`.

        Raises FileNotFoundError, or ValueError naming the first line that is wrong. An incomplete last line
        is wrong too.
        """
        if Path(path).stat().st_size > LARGEST:
            raise ValueError(f"{path}: over {LARGEST >> 20} MiB; not a recording of gestures")
        try:
            text = Path(path).read_text(encoding="utf-8")
        except UnicodeDecodeError:
            raise ValueError(f"{path}: not a recording of gestures: not text") from None
        return cls.parse(text, str(path))

    @classmethod
    def parse(cls, text: str, name: str = "recording") -> Self:
        """From its text. Only line feeds end lines, because a prompt may contain other line separators.

        Raises ValueError naming the first line that is wrong.
        """
        header: Header | None = None
        entries: list[Entry] = []
        for number, line in enumerate(io.StringIO(text), 1):
            try:
                message = json.loads(line, parse_constant=_refuse)
                if header is None:
                    header = _header(message)
                else:
                    entries.append(_entry(message))
            except (ValueError, RecursionError) as error:
                raise ValueError(f"{name}, line {number}: {error}") from None
        if header is None:
            raise ValueError(f"{name}: empty; the first line of a recording is its header")
        return cls(header, tuple(entries))

    def lines(self) -> Iterator[str]:
        """The recording as JSON lines, without line ends."""
        yield json.dumps({"type": "header", "format": FORMAT, **asdict(self.header)}, ensure_ascii=False)
        for entry in self.entries:
            line = {"type": "chunk", **asdict(entry)} if isinstance(entry, ChunkMark) else to_json(entry)
            yield json.dumps(line, ensure_ascii=False, allow_nan=False)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write it as JSON lines."""
        Path(path).write_text("".join(f"{line}\n" for line in self.lines()), encoding="utf-8")

    @property
    def events(self) -> tuple[Event, ...]:
        """All events in order, without the chunks."""
        return tuple(entry for entry in self.entries if not isinstance(entry, ChunkMark))

    @property
    def frames(self) -> int:
        """Frames for which tracks were made."""
        return sum(entry.frames for entry in self.entries if isinstance(entry, ChunkMark))

    @property
    def script(self) -> tuple[tuple[int, Event], ...]:
        """(frame, event) in order: each event with the first frame that it acted on."""
        return tuple((chunk.first_frame, event) for before, chunk in self._chunks() for event in before)

    def replay(self) -> Iterator[tuple[tuple[Event, ...], Tracks]]:
        """Chunk by chunk: the events before it (prompts, pauses and gestures), and its tracks.

        Raises ValueError when the entries do not follow from one another.
        """
        session = self.header.session()
        for before, chunk in self._chunks():
            for event in before:
                if isinstance(event, Gesture):
                    session.apply(event)
            yield before, session.tracks(chunk.first_frame, chunk.frames)

    def _chunks(self) -> Iterator[tuple[tuple[Event, ...], ChunkMark]]:
        """Each chunk with the events before it."""
        before: list[Event] = []
        for entry in self.entries:
            if isinstance(entry, ChunkMark):
                yield tuple(before), entry
                before = []
            else:
                before.append(entry)

    def on(self, size: tuple[int, int]) -> Recording:
        """The same gestures on a frame of another size (W, H), fitted as the picture would be."""
        if size == self.header.size:
            return self
        fit = Fit.of(self.header.size, size)
        moved = (entry if isinstance(entry, ChunkMark) else fitted(entry, fit) for entry in self.entries)
        return Recording(replace(self.header, size=size), tuple(moved))


def _refuse(constant: str) -> float:
    raise ValueError(f"{constant} is not a finite number")


def _header(message: Any) -> Header:
    if not isinstance(message, dict) or message.get("type") != "header" or message.get("format") != FORMAT:
        raise ValueError(f"not the header of a recording in the format {FORMAT!r}")
    values = {key: value for key, value in message.items() if key not in ("type", "format")}
    if values.keys() != {field.name for field in fields(Header)}:
        raise ValueError(f"the header has {', '.join(map(str, values))}: it must have all of its fields, no others")
    size = values.pop("size")
    if not (isinstance(size, list) and len(size) == 2 and all(_counts(side) for side in size)):
        raise ValueError(f"size is {size!r}: two positive whole numbers, width and height")
    texts = isinstance(values["image"], str) and isinstance(values["prompt"], str)
    if not texts or not _counts(values["max_points"]) or not _counts(values["seed"], 0):
        raise ValueError("the header's image and prompt must be texts, seed and max_points whole numbers")
    fps = values["fps"]
    if isinstance(fps, bool) or not isinstance(fps, int | float) or not 0 < fps < 1000 or not math.isfinite(fps):
        raise ValueError(f"fps is {fps!r}: a positive number")
    return Header(size=(size[0], size[1]), **values)


def _entry(message: Any) -> Entry:
    if not isinstance(message, dict) or message.get("type") != "chunk":
        return from_json(message)
    if message.keys() != {"type", "first_frame", "frames"}:
        raise ValueError("a chunk has first_frame and frames, nothing else")
    if not _counts(message["first_frame"], 0) or not _counts(message["frames"]):
        raise ValueError("first_frame and frames of a chunk are whole numbers")
    return ChunkMark(message["first_frame"], message["frames"])


def _counts(value: object, least: int = 1) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= least
