"""What a viewer may fetch afterwards: MP4 recordings and gesture logs, and the replays they upload."""

from __future__ import annotations

import secrets
from collections import OrderedDict
from pathlib import Path
from typing import Generic, TypeVar

from motionstream.serve.errors import ErrorCode, ViewerError

T = TypeVar("T")


class Shelf(Generic[T]):
    """Keeps the newest `capacity` things under names that cannot be guessed."""

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._things: OrderedDict[str, T] = OrderedDict()

    def put(self, thing: T) -> str:
        """Keep it; returns its name. The oldest goes when the shelf is full."""
        name = secrets.token_urlsafe(24)
        self._things[name] = thing
        while len(self._things) > self._capacity:
            self.dropped(self._things.popitem(last=False)[1])
        return name

    def get(self, name: str) -> T:
        """Raises ViewerError if there is no such thing (any more)."""
        try:
            return self._things[name]
        except KeyError:
            raise ViewerError(
                ErrorCode.RECORDING_UNKNOWN, "no such recording: the newest few are kept; record again"
            ) from None

    def dropped(self, thing: T) -> None:
        """What to do with a thing that leaves the shelf."""


class FileShelf(Shelf[Path]):
    """A shelf of files, deleted when they leave it."""

    def dropped(self, thing: Path) -> None:
        thing.unlink(missing_ok=True)
