"""A stream played into an array or a file: the same steps as live, without a clock."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Protocol

import numpy as np
import numpy.typing as npt

from motionstream.tracks import Tracks
from motionstream.tracks.events import Gesture, Prompt
from motionstream.tracks.record import Recording

Frames = npt.NDArray[np.uint8]


class Steps(Protocol):
    """What is needed of a stream."""

    @property
    def chunk_frames(self) -> int:
        """Frames the next step returns."""

    def step(self, tracks: Tracks | None) -> Frames:
        """The next frames (F, H, W, 3)."""


class Prompted(Steps, Protocol):
    """And of one whose prompt can change."""

    prompt: str


def play(stream: Steps, tracks: Tracks | None, frames: int) -> Iterator[Frames]:
    """Step through `frames` frames along `tracks`; yields (F, H, W, 3) by chunks, the last one cut to fit.

    Where the tracks are shorter than the video, their points are released at their end.
    Raises ValueError when `frames` is not positive.
    """
    return (chunk for chunk, _ in with_tracks(stream, tracks, frames))


def with_tracks(stream: Steps, tracks: Tracks | None, frames: int) -> Iterator[tuple[Frames, Tracks]]:
    """As `play`, each chunk with its part of the tracks."""
    return _stepped(stream, lambda begin, count: None if tracks is None else _window(tracks, begin, count), frames)


def replay(stream: Prompted, recording: Recording, frames: int) -> Iterator[tuple[Frames, Tracks]]:
    """Play `frames` frames of a session as it was recorded: words and gestures at the chunk that shows their frame.

    recording: in pixels of the stream's frames (`Recording.on`). Yields a chunk's frames and its tracks, the last ones
    cut to fit; where chunks are as long as those recorded, the tracks are those of the session, number for number.
    Raises ValueError when `frames` is not positive, or when gestures do not follow from one another.
    """
    session, script = recording.header.session(), list(recording.script)

    def tracks_of(begin: int, count: int) -> Tracks:
        while script and script[0][0] <= begin:
            _, event = script.pop(0)
            if isinstance(event, Prompt):
                stream.prompt = event.text
            elif isinstance(event, Gesture):
                session.apply(event)
        return session.tracks(begin, count)

    return _stepped(stream, tracks_of, frames)


def _stepped(
    stream: Steps, tracks_of: Callable[[int, int], Tracks | None], frames: int
) -> Iterator[tuple[Frames, Tracks]]:
    """Chunks with their tracks. tracks_of: (first frame, frames) → the tracks of a chunk."""
    if frames < 1:
        raise ValueError(f"{frames} frames: ask for at least one")
    done = 0
    while done < frames:
        count, left = stream.chunk_frames, frames - done
        tracks = tracks_of(done, count)
        chunk = stream.step(tracks)
        yield chunk[:left], (Tracks.empty(count) if tracks is None else tracks).slice(0, min(left, count))
        done += count


def _window(tracks: Tracks, begin: int, count: int) -> Tracks | None:
    """`count` frames of the tracks from `begin` on; points past the end stay where they were, not visible."""
    piece = tracks.slice(begin, begin + count)
    missing = count - piece.frames
    if piece.frames == 0 or missing == 0:
        return piece if missing == 0 else None
    xy = np.concatenate([piece.xy, np.repeat(piece.xy[-1:], missing, 0)])
    visible = np.concatenate([piece.visible, np.zeros((missing, piece.points), bool)])
    return Tracks(xy, visible, piece.ids)
