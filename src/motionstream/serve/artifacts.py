"""Files of viewers: the newest of each kind, under names that cannot be guessed, and the check of uploaded replays."""

from __future__ import annotations

import secrets
from collections import OrderedDict
from pathlib import Path
from typing import Generic, TypeVar

from motionstream.serve.errors import ErrorCode, ViewerError
from motionstream.serve.limits import Limits
from motionstream.tracks.record import Recording

T = TypeVar("T")


class Recent(Generic[T]):
    """Keeps the newest `capacity` items under random names. missing: the error for a name that it has not."""

    def __init__(
        self,
        capacity: int,
        missing: tuple[ErrorCode, str] = (
            ErrorCode.RECORDING_UNKNOWN,
            "no such recording: the newest few are kept; record again",
        ),
    ) -> None:
        self._capacity, self._missing = capacity, missing
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
            raise ViewerError(*self._missing) from None

    def dropped(self, item: T) -> None:
        """Called for each item that is no longer kept."""


class RecentFiles(Recent[Path]):
    """Files, deleted when they are no longer kept."""

    def dropped(self, item: Path) -> None:
        item.unlink(missing_ok=True)


def parse_recording(data: bytes, size: tuple[int, int], fps: float) -> Recording:
    """An uploaded file, fitted to the model's frame (W, H). Raises ViewerError naming the first line that is wrong."""
    try:
        recording = Recording.parse(data.decode("utf-8")).on(size)
    except UnicodeDecodeError:
        raise ViewerError(ErrorCode.REPLAY_INVALID, "not a recording of gestures: not text") from None
    except ValueError as error:
        raise ViewerError(ErrorCode.REPLAY_INVALID, str(error)[:300]) from None
    if recording.header.fps != fps:
        raise ViewerError(
            ErrorCode.REPLAY_INVALID,
            f"recorded at {recording.header.fps:g} frames a second, this model shows {fps:g}: use the same model",
        )
    if ":" not in recording.header.image or len(recording.header.prompt) > Limits.prompt_characters:
        raise ViewerError(ErrorCode.REPLAY_INVALID, "this recording names no picture of the studio: record it here")
    return recording
