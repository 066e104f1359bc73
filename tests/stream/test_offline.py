"""Playing a stream to its end: every frame gets its own track positions, none is doubled or lost."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from motionstream.stream.offline import play
from motionstream.tracks import Tracks


class CountingStream:
    """Returns frames that hold their own number, and keeps the tracks it was given."""

    def __init__(self) -> None:
        self.done = 0
        self.given: list[Tracks | None] = []

    @property
    def chunk_frames(self) -> int:
        return 9 if self.done == 0 else 12

    def step(self, tracks: Tracks | None) -> npt.NDArray[np.uint8]:
        count = self.chunk_frames
        assert tracks is None or tracks.frames == count
        self.given.append(tracks)
        self.done += count
        return np.arange(self.done - count, self.done, dtype=np.uint8)[:, None, None, None]


def line(frames: int) -> Tracks:
    """One point that walks a pixel a frame."""
    xy = np.stack([np.arange(frames), np.zeros(frames)], -1)[:, None].astype(np.float32)
    return Tracks(xy, np.ones((frames, 1), bool), np.array([7]))


@settings(deadline=None)
@given(frames=st.integers(1, 60), tracked=st.integers(0, 70))
def test_frames_and_tracks_stay_together(frames: int, tracked: int) -> None:
    stream = CountingStream()
    video = np.concatenate(list(play(stream, line(tracked), frames)))
    np.testing.assert_array_equal(video.ravel(), np.arange(frames))
    first = 0
    for index, tracks in enumerate(stream.given):
        length = 12 if index else 9
        if tracks is None:
            assert first >= tracked
        else:
            numbers = first + np.arange(length)
            np.testing.assert_array_equal(tracks.visible[:, 0], numbers < tracked)
            np.testing.assert_array_equal(tracks.xy[:, 0, 0], np.minimum(numbers, tracked - 1))
            assert tracks.ids.tolist() == [7]
        first += length


def test_without_tracks_the_stream_gets_none() -> None:
    stream = CountingStream()
    assert sum(len(chunk) for chunk in play(stream, None, 21)) == 21
    assert stream.given == [None, None]


def test_no_frames_are_refused() -> None:
    with pytest.raises(ValueError, match="at least one"):
        next(play(CountingStream(), None, 0))
