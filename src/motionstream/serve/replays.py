"""Uploaded gesture recordings, checked and fitted to the model's frame."""

from __future__ import annotations

from collections import deque

from motionstream.serve.errors import ErrorCode, ViewerError
from motionstream.serve.limits import Limits
from motionstream.tracks.events import Event
from motionstream.tracks.record import Header, Recording

Script = deque[tuple[int, Event]]


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


def script_of(recording: Recording) -> Script:
    """Each event with the frame from which on it acts."""
    return deque(recording.script)


def image_of(header: Header) -> tuple[str, str]:
    """(source, picture) of a header's image."""
    source, _, picture = header.image.partition(":")
    return source, picture
