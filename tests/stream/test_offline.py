"""Playing a stream to its end: every frame gets its own track positions, none is doubled or lost."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from motionstream.stream.offline import play, replay, with_tracks
from motionstream.tracks import Tracks
from motionstream.tracks.events import GridDown, Move, Prompt, Up
from motionstream.tracks.record import Header, Recorder, Recording


class CountingStream:
    """Returns frames that hold their own number, and keeps the tracks it was given."""

    def __init__(self) -> None:
        self.done, self.prompt = 0, "a boat"
        self.said: list[str] = []
        self.given: list[Tracks | None] = []

    @property
    def chunk_frames(self) -> int:
        return 9 if self.done == 0 else 12

    def step(self, tracks: Tracks | None) -> npt.NDArray[np.uint8]:
        count = self.chunk_frames
        assert tracks is None or tracks.frames == count
        self.given.append(tracks)
        self.said.append(self.prompt)
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
    for nothing in (play(CountingStream(), None, 0), replay(CountingStream(), recorded()[0], 0)):
        with pytest.raises(ValueError, match="at least one"):
            next(nothing)


def test_chunks_stand_beside_their_part_of_the_tracks() -> None:
    parts = list(with_tracks(CountingStream(), line(13), 25))
    assert [len(chunk) for chunk, _ in parts] == [9, 12, 4]
    assert [tracks.frames for _, tracks in parts] == [9, 12, 4]
    for chunk, tracks in parts[:2]:
        seen = tracks.visible[:, 0]
        np.testing.assert_array_equal(seen, chunk.ravel() < 13)
        np.testing.assert_array_equal(tracks.xy[seen, 0, 0], chunk.ravel()[seen])
    assert parts[2][1].points == 0


def recorded() -> tuple[Recording, list[Tracks]]:
    """A drag over chunks of 9 and 12 frames, with new words in the middle; and the tracks of the live session."""
    recorder, tracks = Recorder(Header((64, 48), prompt="a boat")), []
    recorder.apply(GridDown("drag 1", 30.0, 20.0, spacing=8.0, size=16.0, time=0.0))
    tracks.append(recorder.tracks(0, 9))
    recorder.apply(Move("drag 1", 40.0, 22.0, time=0.3))
    tracks.append(recorder.tracks(9, 12))
    recorder.apply(Prompt("a boat, it snows", time=0.8))
    recorder.apply(Move("drag 1", 44.0, 22.0, time=0.9))
    tracks.append(recorder.tracks(21, 12))
    recorder.apply(Up("drag 1", time=1.2))
    tracks.append(recorder.tracks(33, 12))
    return recorder.recording(), tracks


def test_a_recording_is_played_as_it_happened() -> None:
    recording, live = recorded()
    stream = CountingStream()
    played = list(replay(stream, recording, recording.frames))
    assert stream.said == ["a boat", "a boat", "a boat, it snows", "a boat, it snows"]
    np.testing.assert_array_equal(np.concatenate([chunk for chunk, _ in played]).ravel(), np.arange(45))
    for (_, tracks), true in zip(played, live, strict=True):
        np.testing.assert_array_equal(tracks.xy, true.xy)
        np.testing.assert_array_equal(tracks.visible, true.visible)
        np.testing.assert_array_equal(tracks.ids, true.ids)


def test_a_recording_can_be_cut_or_outlived() -> None:
    recording, live = recorded()
    shorter = list(replay(CountingStream(), recording, 15))
    assert [(len(chunk), tracks.frames) for chunk, tracks in shorter] == [(9, 9), (6, 6)]
    np.testing.assert_array_equal(shorter[1][1].xy, live[1].xy[:6])
    longer = list(replay(CountingStream(), recording, 60))
    assert sum(len(chunk) for chunk, _ in longer) == 60
    assert not longer[-1][1].visible.any(), "let go"
