"""A stream played into an array or a file: the same steps as live, without a clock."""

from __future__ import annotations

from collections.abc import Callable, Iterator
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


class Opens(Protocol):
    """What is needed of a model."""

    def open(self, image: npt.NDArray[np.uint8], *, prompt: str, seed: int) -> Steps:
        """A stream that starts with this picture."""


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


def clip_maker(model: Opens) -> Callable[[npt.NDArray[np.uint8], Tracks, str, int], npt.NDArray[np.uint8]]:
    """A model as a function (first frame (H, W, 3), tracks, prompt, seed) → (F, H, W, 3), as long as the tracks."""

    def make(first: npt.NDArray[np.uint8], tracks: Tracks, prompt: str, seed: int) -> npt.NDArray[np.uint8]:
        return np.concatenate(list(play(model.open(first, prompt=prompt, seed=seed), tracks, tracks.frames)))

    return make
