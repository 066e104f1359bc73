"""The newest recordings, gesture logs and uploaded replays, under names that cannot be guessed."""

from __future__ import annotations

import secrets
from collections import OrderedDict
from pathlib import Path
from typing import Generic, TypeVar

from motionstream.serve.errors import ErrorCode, ViewerError

T = TypeVar("T")


class Recent(Generic[T]):
    """Keeps the newest `capacity` items under random names."""

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._items: OrderedDict[str, T] = OrderedDict()

    def put(self, item: T) -> str:
        """Keep it; returns its name. The oldest is dropped when there are too many."""
        name = secrets.token_urlsafe(24)
        self._items[name] = item
        while len(self._items) > self._capacity:
            self.dropped(self._items.popitem(last=False)[1])
        return name

    def get(self, name: str) -> T:
        """Raises ViewerError if there is none of this name (any more)."""
        try:
            return self._items[name]
        except KeyError:
            raise ViewerError(
                ErrorCode.RECORDING_UNKNOWN, "no such recording: the newest few are kept; record again"
            ) from None

    def dropped(self, item: T) -> None:
        """Called for each item that is no longer kept."""


class RecentFiles(Recent[Path]):
    """Files, deleted when they are no longer kept."""

    def dropped(self, item: Path) -> None:
        item.unlink(missing_ok=True)
