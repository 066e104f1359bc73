"""A stream played into an array or a file: the same steps as live, without a clock."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

import numpy as np
import numpy.typing as npt

from motionstream.tracks import Tracks


class Steps(Protocol):
    """What is needed of a stream."""

    @property
    def chunk_frames(self) -> int:
        """Frames the next step returns."""

    def step(self, tracks: Tracks | None) -> npt.NDArray[np.uint8]:
        """The next frames (F, H, W, 3)."""


def play(stream: Steps, tracks: Tracks | None, frames: int) -> Iterator[npt.NDArray[np.uint8]]:
    """Step through `frames` frames along `tracks`; yields (F, H, W, 3) by chunks, the last one cut to fit.

    Where the tracks are shorter than the video, their points are released at their end.
    Raises ValueError when `frames` is not positive.
    """
    if frames < 1:
        raise ValueError(f"{frames} frames: ask for at least one")
    done = 0
    while done < frames:
        count = stream.chunk_frames
        chunk = stream.step(None if tracks is None else _window(tracks, done, count))
        yield chunk[: frames - done]
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
