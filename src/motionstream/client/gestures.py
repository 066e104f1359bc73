"""Gesture events → messages of the live protocol: positions and lengths become shares of the frame."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from motionstream.tracks.events import Clear, Event, GridDown, Move, Path, Pin, Prompt, Unpin, Up

MOST_SAMPLES = 64  # pointer positions in one message
Message = dict[str, Any]


class GestureMessages:
    """Translates the events of one session, on frames of `size` (W, H) pixels. Every gesture gets its own number."""

    def __init__(self, size: tuple[int, int]) -> None:
        self._width, self._height = size
        self._numbers: dict[str, int] = {}
        self._count = 0

    def of(self, events: Iterable[Event], at: float) -> list[tuple[list[Event], Message]]:
        """(events, message) in order; consecutive moves of one drag share a message, up to `MOST_SAMPLES`.

        at: stream seconds of the frame on display. Raises ValueError on a pause, KeyError on a gesture not begun.
        """
        translated: list[tuple[list[Event], Message]] = []
        for event in events:
            message = self._message(event, at)
            if translated and _continues(translated[-1][1], message):
                translated[-1][1]["samples"] += message["samples"]
                translated[-1][0].append(event)
            else:
                translated.append(([event], message))
        return translated

    def _message(self, event: Event, at: float) -> Message:
        match event:
            case GridDown():
                return {"type": "down", **self._grid_at(event, at), "grid": self._grid(event, event.falloff)}
            case Pin():
                return {"type": "pin", **self._grid_at(event, at), "grid": self._grid(event)}
            case Move():
                samples = [{**self._place(event.x, event.y), "at": at}]
                return {"type": "move", "gesture": self._numbers[event.gesture], "samples": samples}
            case Up():
                return {"type": "up", "gesture": self._numbers[event.gesture], "at": at}
            case Unpin():
                return {"type": "remove", "gesture": self._numbers[event.gesture], "at": at}
            case Path():
                points = [{**self._place(x, y), "t": seconds} for x, y, seconds in event.knots]
                path = {"gesture": self._new(event.gesture), "points": points, "at": at, "loop": event.loop}
                return {"type": "path", **path, "grid": self._grid(event, event.falloff)}
            case Clear():
                return {"type": "clear", "at": at}
            case Prompt():
                return {"type": "prompt", "text": event.text}
        raise ValueError(f"{type(event).__name__}: this session must have no pauses; record one without")

    def _new(self, name: str) -> int:
        self._numbers[name], self._count = self._count, self._count + 1
        return self._numbers[name]

    def _grid_at(self, event: GridDown | Pin, at: float) -> Message:
        return {"gesture": self._new(event.gesture), **self._place(event.x, event.y), "at": at}

    def _place(self, x: float, y: float) -> dict[str, float]:
        """Within what the protocol takes: half a frame outside at most."""
        return {"x": min(max(x / self._width, -0.5), 1.5), "y": min(max(y / self._height, -0.5), 1.5)}

    def _grid(self, event: GridDown | Pin | Path, falloff: float = 0.0) -> dict[str, float]:
        return {
            "size": min(event.size / self._width, 1.0),
            "spacing": min(max(event.spacing / self._width, 0.004), 0.25),
            "falloff": min(falloff / self._width, 2.0),
        }


def _continues(last: Message, message: Message) -> bool:
    """Whether both are moves of one gesture and the first has room for more."""
    if not last["type"] == message["type"] == "move":
        return False
    return bool(last["gesture"] == message["gesture"]) and len(last["samples"]) < MOST_SAMPLES
