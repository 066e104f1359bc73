"""Protocol messages → gesture events in pixels of the model's frame."""

from __future__ import annotations

from motionstream.serve import protocol
from motionstream.tracks import events


class GestureMapper:
    """Converts shares of the frame into pixels.

    size: (W, H) of the model's frame. It keeps which gestures are pins, because those end by `Unpin`.
    """

    def __init__(self, size: tuple[int, int]) -> None:
        self._width, self._height = size
        self._pins: set[int] = set()

    def translate(self, message: protocol.GestureMessage) -> list[events.Gesture]:
        """The events of a message, oldest first. Raises ValueError where its values are inconsistent."""
        match message:
            case protocol.Down():
                spacing, size, falloff = self._grid(message.grid)
                return [events.GridDown(_name(message), *self._place(message), spacing, size, falloff, message.at)]
            case protocol.Move():
                return [events.Move(_name(message), *self._place(s), s.at) for s in message.samples]
            case protocol.Pin():
                spacing, size, _ = self._grid(message.grid)
                self._pins.add(message.gesture)
                return [events.Pin(_name(message), *self._place(message), spacing, size, message.at)]
            case protocol.Path():
                return [self._path(message)]
            case protocol.End():
                return [self._end(message)]
            case protocol.Clear():
                self._pins.clear()
                return [events.Clear(message.at)]

    def _path(self, message: protocol.Path) -> events.Path:
        spacing, size, falloff = self._grid(message.grid)
        knots = tuple((*self._place(point), point.t) for point in message.points)
        return events.Path(
            _name(message), knots, spacing, size, falloff, message.loop, hold=False, start=None, time=message.at
        )

    def _end(self, message: protocol.End) -> events.Gesture:
        if message.type == "remove" and message.gesture in self._pins:
            self._pins.discard(message.gesture)
            return events.Unpin(_name(message), message.at)
        return events.Up(_name(message), message.at)

    def _place(self, at: protocol.Down | protocol.Pin | protocol.Sample | protocol.PathPoint) -> tuple[float, float]:
        return at.x * self._width, at.y * self._height

    def _grid(self, grid: protocol.Grid) -> tuple[float, float, float]:
        """Spacing (at least a pixel), size and fall-off in pixels."""
        return max(1.0, grid.spacing * self._width), grid.size * self._width, grid.falloff * self._width


def _name(message: protocol.Down | protocol.Move | protocol.Pin | protocol.Path | protocol.End) -> str:
    return f"g{message.gesture}"
