"""Gesture events: all that a user can do in a live session, as checked dataclasses, and their JSON form.

`time` of every event is in seconds of the display clock: the stream time of the frame that the user was looking at.
That clock stops while the stream is paused. Lengths and positions are pixels of the model's frame; `fitted` maps an
event from another frame to it.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass, fields, replace
from itertools import pairwise
from typing import Any, ClassVar

import numpy as np

from motionstream.geometry import Fit

FARTHEST = 1e5  # pixels; a position beyond this is a mistake, not a gesture
LONGEST_NAME = 64
LONGEST_PROMPT = 2000
LONGEST_PATH = 1000  # knots

Knot = tuple[float, float, float]


def _number(owner: object, name: str, value: object, low: float, high: float) -> float:
    where = f"{type(owner).__name__}.{name}"
    if isinstance(value, bool) or not isinstance(value, int | float | np.integer | np.floating):
        raise ValueError(f"{where} is {value!r}: send a number")
    if not low <= float(value) <= high:
        raise ValueError(f"{where} is {value!r}: send a finite number from {low:g} to {high:g}")
    return float(value)


class _Checked:
    """Checks that numbers are within their ranges, and the name of the gesture."""

    RANGES: ClassVar = {
        "x": (-FARTHEST, FARTHEST),
        "y": (-FARTHEST, FARTHEST),
        "spacing": (1.0, FARTHEST),
        "size": (0.0, FARTHEST),
        "falloff": (0.0, FARTHEST),
        "time": (0.0, 1e9),
    }

    def __post_init__(self) -> None:
        for name, (low, high) in self.RANGES.items():
            if hasattr(self, name):
                object.__setattr__(self, name, _number(self, name, getattr(self, name), low, high))
        gesture = getattr(self, "gesture", "none")
        if not isinstance(gesture, str) or not 1 <= len(gesture) <= LONGEST_NAME:
            raise ValueError(
                f"{type(self).__name__}.gesture is {gesture!r}: send a name of 1 to {LONGEST_NAME} letters"
            )


@dataclass(frozen=True)
class _Timed(_Checked):
    """Something that happens at a time and has nothing else to it."""

    time: float = 0.0


@dataclass(frozen=True)
class _End(_Checked):
    """The end of a gesture."""

    gesture: str
    time: float = 0.0


@dataclass(frozen=True)
class _At(_Checked):
    """A position of a gesture."""

    gesture: str
    x: float
    y: float


@dataclass(frozen=True)
class _GridAt(_At):
    """A square grid of points around (x, y), `size` wide, `spacing` apart."""

    spacing: float = 12.0
    size: float = 48.0


@dataclass(frozen=True)
class GridDown(_GridAt):
    """A drag of a grid begins.

    falloff: 0 moves the grid rigidly; otherwise the radius at which a cosine fall-off of the movement reaches 0.
    """

    falloff: float = 0.0
    time: float = 0.0


@dataclass(frozen=True)
class Move(_At):
    """The pointer of a drag is now at (x, y)."""

    time: float = 0.0


@dataclass(frozen=True)
class Up(_End):
    """A drag or a path ends."""


@dataclass(frozen=True)
class Pin(_GridAt):
    """A grid that does not move."""

    time: float = 0.0


@dataclass(frozen=True)
class Unpin(_End):
    """A pin ends."""


@dataclass(frozen=True)
class Path(_Checked):
    """A grid of points that follows a path drawn in advance, with its own timing.

    knots: (x, y, seconds) in order of time, seconds counted from the start of the path.
    start: stream seconds at which it starts; None, or a time already generated, means at the next chunk.
    loop: repeat the path; if it does not end where it began, forth and back.
    hold: points stay at the end of the path instead of being released there.
    """

    gesture: str
    knots: tuple[Knot, ...]
    spacing: float = 12.0
    size: float = 0.0
    falloff: float = 0.0
    loop: bool = False
    hold: bool = False
    start: float | None = None
    time: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("loop", "hold"):
            if not isinstance(getattr(self, name), bool):
                raise ValueError(f"Path.{name} is {getattr(self, name)!r}: send true or false")
        if self.start is not None:
            object.__setattr__(self, "start", _number(self, "start", self.start, 0.0, 1e9))
        object.__setattr__(self, "knots", self._checked_knots())

    def _checked_knots(self) -> tuple[Knot, ...]:
        knots = self.knots
        if not isinstance(knots, list | tuple) or not 2 <= len(knots) <= LONGEST_PATH:
            raise ValueError(f"Path.knots: send 2 to {LONGEST_PATH} knots (x, y, seconds)")
        if any(not isinstance(knot, list | tuple) or len(knot) != 3 for knot in knots):
            raise ValueError("Path.knots: every knot is (x, y, seconds)")
        far = FARTHEST
        checked = tuple(
            (
                _number(self, f"knots[{i}].x", x, -far, far),
                _number(self, f"knots[{i}].y", y, -far, far),
                _number(self, f"knots[{i}].seconds", seconds, 0.0, 1e9),
            )
            for i, (x, y, seconds) in enumerate(knots)
        )
        if checked[0][2] != 0.0 or any(b[2] <= a[2] for a, b in pairwise(checked)):
            raise ValueError("Path.knots: seconds start at 0 and every knot comes later than the one before")
        return checked


@dataclass(frozen=True)
class Clear(_Timed):
    """All drags, pins and paths end."""


@dataclass(frozen=True)
class Prompt(_Checked):
    """The prompt changes; takes effect at the next chunk."""

    text: str
    time: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if not isinstance(self.text, str) or len(self.text) > LONGEST_PROMPT:
            raise ValueError(f"Prompt.text: send at most {LONGEST_PROMPT} characters")


@dataclass(frozen=True)
class Pause(_Timed):
    """The stream, and with it the display clock, is paused."""


@dataclass(frozen=True)
class Resume(_Timed):
    """The stream is resumed."""


Gesture = GridDown | Move | Up | Pin | Unpin | Path | Clear
Event = Gesture | Prompt | Pause | Resume

KINDS: dict[str, type[Event]] = {
    "grid_down": GridDown,
    "move": Move,
    "up": Up,
    "pin": Pin,
    "unpin": Unpin,
    "path": Path,
    "clear": Clear,
    "prompt": Prompt,
    "pause": Pause,
    "resume": Resume,
}
_NAMES = {kind: name for name, kind in KINDS.items()}


def to_json(event: Event) -> dict[str, Any]:
    """The event as a JSON object: its kind under "type", then its fields."""
    return {"type": _NAMES[type(event)], **asdict(event)}


def from_json(message: Any) -> Event:
    """The event of a JSON object.

    Raises ValueError naming the field on an unknown type, an unknown, missing or wrong field.
    """
    if not isinstance(message, dict):
        raise ValueError(f"an event is a JSON object, not {type(message).__name__}")
    kind = KINDS.get(message["type"]) if isinstance(message.get("type"), str) else None
    if kind is None:
        raise ValueError(f"event type {message.get('type')!r}: use one of {', '.join(KINDS)}")
    values = {key: value for key, value in message.items() if key != "type"}
    unknown = values.keys() - {field.name for field in fields(kind)}
    if unknown:
        raise ValueError(f"{kind.__name__} has no field {sorted(map(str, unknown))[0]!r}")
    try:
        return kind(**values)
    except TypeError as error:  # a missing field; wrong values raise ValueError
        raise ValueError(f"{kind.__name__}: {error}") from None


def fitted(event: Event, fit: Fit) -> Event:
    """The same event with positions and lengths mapped from the source picture to the model's frame."""
    changes: dict[str, Any] = {
        name: getattr(event, name) * fit.scale for name in ("size", "falloff") if hasattr(event, name)
    }
    if hasattr(event, "spacing"):
        changes["spacing"] = max(event.spacing * fit.scale, 1.0)
    if hasattr(event, "x") and hasattr(event, "y"):
        changes["x"], changes["y"] = map(float, fit.to_frame(np.array([event.x, event.y])))
    if isinstance(event, Path):
        changes["knots"] = tuple(_fitted_knots(event.knots, fit))
    return replace(event, **changes) if changes else event


def _fitted_knots(knots: tuple[Knot, ...], fit: Fit) -> Iterator[Knot]:
    for x, y, seconds in knots:
        u, v = fit.to_frame(np.array([x, y]))
        yield float(u), float(v), seconds


def grid_points(spacing: float, size: float) -> np.ndarray[Any, np.dtype[np.float64]]:
    """(N, 2) offsets from the centre of a square grid at most `size` wide; at least the centre itself."""
    reach = math.floor(size / 2 / spacing + 1e-9)
    line = np.arange(-reach, reach + 1) * spacing
    return np.stack(np.meshgrid(line, line), axis=-1).reshape(-1, 2)


def grid_count(spacing: float, size: float) -> int:
    """How many points `grid_points` returns."""
    return (2 * math.floor(size / 2 / spacing + 1e-9) + 1) ** 2
