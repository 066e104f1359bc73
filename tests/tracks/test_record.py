"""A recorded session replays number for number, and a damaged recording says where."""

from __future__ import annotations

from pathlib import Path as FilePath

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from motionstream.tracks import Tracks
from motionstream.tracks.events import Clear, Event, GridDown, Move, Path, Pause, Pin, Prompt, Resume, Unpin, Up
from motionstream.tracks.record import ChunkMark, Header, Recorder, Recording

HEADER = Header((256, 144), image="boat.jpg", prompt="a boat", seed=7)
NUMBERS = st.floats(-50, 300, width=32)
NAMES = st.sampled_from("abc")
TIMES = st.floats(0, 100)
HAPPENINGS = st.one_of(
    st.builds(GridDown, NAMES, NUMBERS, NUMBERS, st.floats(4, 20), st.floats(0, 40), st.floats(0, 40), TIMES),
    st.builds(Move, NAMES, NUMBERS, NUMBERS, TIMES),
    st.builds(Up, NAMES, TIMES),
    st.builds(Pin, NAMES, NUMBERS, NUMBERS, time=TIMES),
    st.builds(Unpin, NAMES, TIMES),
    st.builds(
        Path,
        NAMES,
        st.tuples(st.tuples(NUMBERS, NUMBERS, st.just(0.0)), st.tuples(NUMBERS, NUMBERS, st.floats(0.1, 3))),
        loop=st.booleans(),
        hold=st.booleans(),
        start=st.none() | st.floats(0, 5),
    ),
    st.builds(Clear, TIMES),
    st.builds(Prompt, st.text(max_size=20), TIMES),
    st.builds(Pause, TIMES),
    st.builds(Resume, TIMES),
    st.integers(1, 16),  # so many frames are built
)


def happen(recorder: Recorder, happenings: list[Event | int]) -> list[Tracks]:
    """Do them all; what the session refuses is skipped, as a server would."""
    made = []
    for one in happenings:
        if isinstance(one, int):
            made.append(recorder.tracks(recorder.session.next_frame, one))
            continue
        try:
            recorder.apply(one)
        except ValueError:
            continue
    return made


@settings(max_examples=60, deadline=None)
@given(st.lists(HAPPENINGS, max_size=40))
def test_replay_gives_exactly_the_same_tracks(happenings: list[Event | int]) -> None:
    recorder = Recorder(HEADER)
    made = happen(recorder, happenings)
    recording = Recording.parse("".join(f"{line}\n" for line in recorder.recording().lines()))
    assert recording.header == HEADER
    replayed = [tracks for _, tracks in recording.replay()]
    assert len(replayed) == len(made)
    for ours, theirs in zip(made, replayed, strict=True):
        np.testing.assert_array_equal(ours.xy, theirs.xy)
        np.testing.assert_array_equal(ours.visible, theirs.visible)
        np.testing.assert_array_equal(ours.ids, theirs.ids)


def session() -> Recorder:
    recorder = Recorder(HEADER)
    recorder.apply(GridDown("a", 100, 70))
    recorder.tracks(0, 9)
    recorder.apply(Prompt("it snows", 0.3))
    recorder.apply(Pause(0.3))
    recorder.apply(Move("a", 110, 70, 0.3))
    recorder.apply(Resume(0.3))
    recorder.tracks(9, 12)
    return recorder


def test_a_file_holds_what_happened_in_order(tmp_path: FilePath) -> None:
    path = tmp_path / "session.jsonl"
    recording = session().recording()
    recording.save(path)
    assert Recording.load(path) == recording
    assert [type(event).__name__ for event in recording.events] == ["GridDown", "Prompt", "Pause", "Move", "Resume"]
    assert recording.frames == 21
    before = [events for events, _ in recording.replay()]
    assert before[1][0] == Prompt("it snows", 0.3)


def test_beyond_its_limit_events_act_and_are_not_kept() -> None:
    free, limited = Recorder(HEADER), Recorder(HEADER, most=1)
    for recorder in (free, limited):
        recorder.apply(Pin("p", 1, 2))
        recorder.apply(Pin("q", 10, 20))
    assert limited.recording().entries == free.recording().entries[:1]
    np.testing.assert_array_equal(limited.tracks(0, 9).xy, free.tracks(0, 9).xy)


def test_what_is_refused_is_not_recorded() -> None:
    recorder = Recorder(HEADER)
    with pytest.raises(ValueError, match="no drag"):
        recorder.apply(Move("a", 1, 1))
    assert recorder.recording().entries == ()


def test_the_same_session_on_another_frame() -> None:
    small = session().recording()
    large = small.on((512, 288))
    for (_, ours), (_, theirs) in zip(small.replay(), large.replay(), strict=True):
        centre = 24  # of the 5 × 5 grid
        np.testing.assert_allclose(2 * ours.xy[:, centre // 2], theirs.xy[:, centre // 2], rtol=1e-5)
    assert small.on((256, 144)) is small


LINES = list(session().recording().lines())


@pytest.mark.parametrize(
    ("lines", "complaint"),
    [
        ([], "empty"),
        (["{}"], "line 1: not the header"),
        (["nonsense"], "line 1"),
        ([LINES[0], LINES[0]], "line 2: event type 'header'"),
        ([LINES[0], LINES[1][:-5]], "line 2"),
        ([LINES[0], '{"type": "move", "gesture": "a", "x": NaN, "y": 1}'], "NaN is not a finite number"),
        ([LINES[0], '{"type": "chunk", "first_frame": 0, "frames": 0}'], "whole numbers"),
        ([LINES[0], '{"type": "chunk", "first_frame": 0}'], "nothing else"),
        ([LINES[0], "[" * 100_000], "line 2"),
        ([LINES[0].replace("256", "-256")], "size is"),
        ([LINES[0].replace('"fps": 24.0', '"fps": "24"')], "fps is '24'"),
        ([LINES[0].replace('"seed": 7', '"seed": 7.5')], "whole numbers"),
        ([LINES[0].replace('"seed"', '"sead"')], "all of its fields"),
    ],
)
def test_a_damaged_recording_names_the_line(lines: list[str], complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        Recording.parse("\n".join(lines))


@pytest.mark.parametrize("end", ["\x0b", "\x0c", "\x1c", "\x85", "\u2028", "\u2029", "\r", "\r\n", "\n"])
def test_a_prompt_may_hold_what_some_call_the_end_of_a_line(tmp_path: Path, end: str) -> None:
    prompt = Prompt(f"a boat{end}in snow")
    Recording(HEADER, (prompt,)).save(tmp_path / "take.jsonl")
    assert Recording.load(tmp_path / "take.jsonl").entries == (prompt,)


def test_lines_may_end_as_on_windows() -> None:
    assert Recording.parse("\r\n".join([*LINES, ""])) == Recording.parse("\n".join([*LINES, ""]))


def test_entries_that_do_not_follow_are_refused_in_replay() -> None:
    broken = Recording(HEADER, (ChunkMark(5, 3),))
    with pytest.raises(ValueError, match="from 0 on"):
        list(broken.replay())


def test_a_picture_is_no_recording(tmp_path: FilePath) -> None:
    path = tmp_path / "picture.png"
    path.write_bytes(b"\x89PNG\r\n\x1a\n\xff\xfe")
    with pytest.raises(ValueError, match="not text"):
        Recording.load(path)
