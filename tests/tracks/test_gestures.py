"""Gestures → tracks: when points are born, where they go, when they end, and what is refused."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from motionstream.geometry import Fit
from motionstream.tracks import GestureSession, events
from motionstream.tracks.events import GridDown, Move, Path, Pin, Unpin, Up, fitted, from_json, to_json

SIZE = (256, 144)


def one_point(x: float, y: float, gesture: str = "a", **options: float) -> GridDown:
    return GridDown(gesture, x, y, size=0, **options)


def test_no_gestures_no_points() -> None:
    tracks = GestureSession(SIZE).tracks(0, 9)
    assert (tracks.frames, tracks.points) == (9, 0)


def test_a_grid_is_square_centred_and_within_its_size() -> None:
    session = GestureSession(SIZE)
    session.apply(GridDown("a", 100, 60, spacing=10, size=45))
    xy = session.tracks(0, 9).xy[0]
    assert len(xy) == events.grid_count(10, 45) == 25
    np.testing.assert_allclose(xy.mean(0), (100, 60))
    assert xy.min(0).tolist() == [80, 40]
    assert xy.max(0).tolist() == [120, 80]


def test_a_drag_starts_under_the_pointer_and_ends_at_the_newest_sample() -> None:
    session = GestureSession(SIZE)
    session.apply(one_point(50, 50))
    session.apply(Move("a", 60, 50, time=0.05))
    session.apply(Move("a", 90, 70, time=0.10))
    xy = session.tracks(0, 9).xy[:, 0]
    assert xy[0].tolist() == [50, 50]
    assert xy[-1].tolist() == [90, 70]
    session.apply(Move("a", 102, 70, time=0.2))
    later = session.tracks(9, 12).xy[:, 0]
    np.testing.assert_allclose(later[:, 0], 90 + np.arange(1, 13), rtol=1e-6)


@pytest.mark.parametrize("released", [False, True])
def test_a_first_chunk_of_one_frame_marks_where_the_pointer_pressed(released: bool) -> None:
    session = GestureSession(SIZE)
    session.apply(one_point(50, 50))
    session.apply(Move("a", 90, 70, time=0.10))
    if released:
        session.apply(Up("a", time=0.12))
    first = session.tracks(0, 1)
    assert first.xy[0, 0].tolist() == [50, 50], "born where the pointer pressed, not where it is by now"
    second = session.tracks(1, 4)
    assert second.ids.tolist() == first.ids.tolist()
    assert second.xy[-1, 0].tolist() == [90, 70], "nothing of the movement is lost"
    assert np.all(np.diff(second.xy[:, 0, 0]) > 0)
    assert session.tracks(5, 4).points == (0 if released else 1)


def test_an_even_pointer_moves_evenly_across_chunks() -> None:
    session = GestureSession(SIZE)
    session.apply(one_point(10, 50, time=0))
    places = []
    for chunk in range(6):
        for k in range(1, 31):  # 60 samples a second, half a second a chunk
            now = chunk * 0.5 + k / 60
            session.apply(Move("a", 10 + 60 * now, 50, time=now))
        places.append(session.tracks(chunk * 12, 12).xy[:, 0, 0])
    steps = np.diff(np.concatenate(places))
    np.testing.assert_allclose(steps[11:], 2.5, atol=1e-4)  # the first chunk has one frame at rest


def test_no_lag_builds_up_however_long_the_pointer_moves() -> None:
    session = GestureSession(SIZE)
    session.apply(one_point(128, 72))
    for chunk in range(400):
        pointer = (128 + 100 * np.cos(chunk), 72 + 60 * np.sin(chunk))
        session.apply(Move("a", *pointer, time=chunk * 0.5))
        np.testing.assert_allclose(session.tracks(chunk * 12, 12).xy[-1, 0], pointer, rtol=1e-6)


def test_a_resting_pointer_gives_resting_points() -> None:
    session = GestureSession(SIZE)
    session.apply(one_point(50, 50))
    session.apply(Move("a", 80, 50, time=0.1))
    session.tracks(0, 9)
    assert (session.tracks(9, 12).xy == (80, 50)).all()


def test_after_a_long_rest_a_movement_still_takes_the_whole_chunk() -> None:
    session = GestureSession(SIZE)
    session.apply(one_point(50, 50, time=0))
    session.tracks(0, 12)
    session.tracks(12, 12)
    session.apply(Move("a", 60, 50, time=30.0))
    session.apply(Move("a", 62, 50, time=30.02))
    steps = np.diff(session.tracks(24, 12).xy[:, 0, 0])
    assert steps.max() < 2


def test_samples_of_one_moment_as_in_a_pause_are_laid_out_in_order() -> None:
    session = GestureSession(SIZE)
    session.apply(one_point(50, 50, time=1))
    for x in range(51, 111):
        session.apply(Move("a", x, 50, time=1))
    steps = np.diff(session.tracks(0, 13).xy[:, 0, 0])
    np.testing.assert_allclose(steps, 5, atol=2)


def test_many_samples_before_one_chunk_take_bounded_memory_and_keep_the_newest() -> None:
    session = GestureSession(SIZE)
    session.apply(one_point(50, 50))
    for k in range(20_000):
        session.apply(Move("a", k % 200, 50, time=k / 1000))
    drag = session._gestures["a"]
    assert len(drag.samples) <= 512  # type: ignore[attr-defined]
    assert session.tracks(0, 9).xy[-1, 0].tolist() == [19_999 % 200, 50]


def test_fall_off_moves_the_centre_fully_and_the_rim_not_at_all() -> None:
    session = GestureSession(SIZE)
    session.apply(GridDown("a", 100, 70, spacing=10, size=40, falloff=20))
    session.apply(Move("a", 130, 70, time=0.1))
    xy = session.tracks(0, 9).xy
    moved = dict(zip(map(tuple, (xy[0] - (100, 70)).tolist()), (xy[-1] - xy[0])[:, 0].tolist(), strict=True))
    assert moved[(0.0, 0.0)] == 30
    assert moved[(10.0, 0.0)] == pytest.approx(15)
    assert moved[(20.0, 0.0)] == pytest.approx(0)
    assert moved[(20.0, 20.0)] == pytest.approx(0)


@pytest.mark.parametrize("radius", [5e-324, 1e-9])
def test_a_fall_off_of_next_to_nothing_moves_the_centre_alone(radius: float) -> None:
    session = GestureSession(SIZE)
    session.apply(GridDown("a", 100, 70, spacing=10, size=40, falloff=radius))
    session.apply(Move("a", 130, 70, time=0.1))
    xy = session.tracks(0, 9).xy
    moves = np.sort((xy[-1] - xy[0])[:, 0])
    assert moves[-1] == 30
    assert moves[:-1] == pytest.approx(0)


def test_letting_go_shows_the_last_movement_and_then_ends() -> None:
    session = GestureSession(SIZE)
    session.apply(one_point(50, 50))
    session.tracks(0, 9)
    session.apply(Move("a", 80, 50, time=0.5))
    session.apply(Up("a", time=0.6))
    assert session.gestures == ()
    last = session.tracks(9, 12)
    assert last.visible.all()
    assert last.xy[-1, 0].tolist() == [80, 50]
    assert session.tracks(21, 12).points == 0


def test_letting_go_of_a_resting_drag_ends_it_at_once() -> None:
    session = GestureSession(SIZE)
    session.apply(one_point(50, 50))
    session.tracks(0, 9)
    session.apply(Up("a"))
    assert session.tracks(9, 12).points == 0


def test_ids_stay_with_their_points_and_are_never_used_twice() -> None:
    session = GestureSession(SIZE)
    session.apply(GridDown("a", 50, 50, spacing=10, size=20))
    first = session.tracks(0, 9).ids
    session.apply(Pin("p", 100, 50, spacing=10, size=20))
    second = session.tracks(9, 12).ids
    assert second[:9].tolist() == first.tolist()
    session.apply(events.Clear())
    session.apply(GridDown("a", 50, 50, spacing=10, size=20))
    third = session.tracks(21, 12).ids
    assert not set(third.tolist()) & set(second.tolist())


def test_pins_stay_until_unpinned() -> None:
    session = GestureSession(SIZE)
    session.apply(Pin("p", 30, 40, spacing=10, size=20))
    for chunk in range(3):
        tracks = session.tracks(chunk * 12, 12)
        assert tracks.visible.all()
        assert (tracks.xy == tracks.xy[0]).all()
    session.apply(Unpin("p"))
    assert session.tracks(36, 12).points == 0


def test_a_path_keeps_its_own_time_across_chunks() -> None:
    session = GestureSession(SIZE, fps=24)
    session.apply(Path("p", ((10, 20, 0), (58, 20, 2)), start=0.25))
    tracks = [session.tracks(first, count) for first, count in ((0, 9), (9, 12), (21, 12), (33, 24))]
    xy = np.concatenate([one.xy[:, 0] for one in tracks])
    seen = np.concatenate([one.visible[:, 0] for one in tracks])
    assert seen.tolist() == [6 <= frame <= 54 for frame in range(57)]
    frames = np.arange(6, 55)
    np.testing.assert_allclose(xy[frames, 0], 10 + frames - 6, atol=1e-4)
    assert session.tracks(57, 12).points == 0
    assert session.gestures == ()


def test_a_path_in_the_far_future_waits_without_points() -> None:
    session = GestureSession(SIZE)
    session.apply(Path("p", ((10, 20, 0), (58, 20, 2)), start=5))
    assert session.tracks(0, 9).points == 0
    assert session.gestures == ("p",)


def test_a_path_whose_start_has_passed_starts_with_the_chunk() -> None:
    session = GestureSession(SIZE)
    session.tracks(0, 9)
    session.apply(Path("p", ((10, 20, 0), (58, 20, 2)), start=0.1))
    assert session.tracks(9, 12).xy[0, 0].tolist() == [10, 20]


def test_a_path_can_hold_its_end() -> None:
    session = GestureSession(SIZE)
    session.apply(Path("p", ((10, 20, 0), (20, 20, 0.25)), hold=True))
    session.tracks(0, 9)
    tracks = session.tracks(9, 12)
    assert tracks.visible.all()
    assert (tracks.xy == (20, 20)).all()
    session.apply(Up("p"))
    assert session.tracks(21, 12).points == 0


@pytest.mark.parametrize("end", [(40.0, 20.0), (10.0, 20.0)])
def test_a_looping_path_never_jumps_and_never_ends(end: tuple[float, float]) -> None:
    session = GestureSession(SIZE)
    session.apply(Path("p", ((10, 20, 0), (25, 30, 0.5), (*end, 1)), loop=True))
    tracks = [session.tracks(chunk * 12, 12) for chunk in range(10)]
    steps = np.linalg.norm(np.diff(np.concatenate([one.xy[:, 0] for one in tracks]), axis=0), axis=-1)
    assert steps.max() < 2
    assert all(one.visible.all() for one in tracks)


def test_outside_the_frame_is_invisible_and_comes_back() -> None:
    session = GestureSession(SIZE)
    session.apply(Path("p", ((250, 20, 0), (262, 20, 0.5), (250, 20, 1.0)), hold=True))
    tracks = session.tracks(0, 25)
    assert tracks.visible[:, 0].tolist() == (tracks.xy[:, 0, 0] < 256).tolist()
    assert not tracks.visible.all()
    assert tracks.visible[-1, 0]


def test_all_kinds_combine() -> None:
    session = GestureSession(SIZE)
    session.apply(GridDown("a", 50, 50, size=0))
    session.apply(Pin("b", 100, 50, size=0))
    session.apply(Path("c", ((150, 50, 0), (160, 50, 1))))
    assert session.gestures == ("a", "b", "c")
    tracks = session.tracks(0, 9)
    np.testing.assert_allclose(tracks.xy[0], [(50, 50), (100, 50), (150, 50)])


@pytest.mark.parametrize(
    ("event", "message"),
    [
        (Move("b", 1, 1), "no drag named 'b'"),
        (Move("p", 1, 1), "no drag named 'p'"),
        (Up("b"), "named 'b'"),
        (Up("p"), "Unpin"),
        (Unpin("a"), "no pin named 'a'"),
        (GridDown("a", 1, 1), "in use"),
        (Pin("p", 1, 1), "in use"),
        (events.Prompt("snow"), "not a gesture"),
        (events.Pause(), "not a gesture"),
    ],
)
def test_what_does_not_fit_is_refused_and_changes_nothing(event: object, message: str) -> None:
    session, untouched = GestureSession(SIZE), GestureSession(SIZE)
    for each in (session, untouched):
        each.apply(GridDown("a", 50, 50))
        each.apply(Pin("p", 100, 50))
    with pytest.raises(ValueError, match=message):
        session.apply(event)  # type: ignore[arg-type]
    np.testing.assert_array_equal(session.tracks(0, 9).xy, untouched.tracks(0, 9).xy)


def test_the_limit_of_points_holds_exactly() -> None:
    session = GestureSession(SIZE, max_points=25)
    session.apply(GridDown("a", 50, 50, spacing=10, size=40))
    with pytest.raises(ValueError, match="over the limit of 25"):
        session.apply(Pin("p", 50, 50, size=0))
    session.apply(events.Clear())
    session.apply(Pin("p", 50, 50, size=0))
    with pytest.raises(ValueError, match="over the limit"):
        session.apply(GridDown("huge", 50, 50, spacing=1, size=1e5))  # counted, not made


def test_frames_are_asked_for_in_order() -> None:
    session = GestureSession(SIZE)
    session.tracks(0, 9)
    for first, frames in ((0, 9), (10, 12), (9, 0)):
        with pytest.raises(ValueError, match="from 9 on"):
            session.tracks(first, frames)


NUMBERS = st.floats(-300, 300)
EVENTS = st.one_of(
    st.builds(GridDown, st.just("a"), NUMBERS, NUMBERS, st.floats(1, 50), st.floats(0, 50), st.floats(0, 60)),
    st.builds(Pin, st.text(min_size=1, max_size=64), NUMBERS, NUMBERS, time=st.floats(0, 1e6)),
    st.builds(Move, st.just("a"), NUMBERS, NUMBERS, st.floats(0, 1e6)),
    st.builds(Up, st.just("a")),
    st.builds(Unpin, st.just("a")),
    st.builds(events.Clear),
    st.builds(Path, st.just("b"), st.tuples(st.tuples(NUMBERS, NUMBERS, st.just(0.0)), st.just((1.0, 2.0, 3.5)))),
    st.builds(events.Prompt, st.text(max_size=50)),
    st.builds(events.Pause),
    st.builds(events.Resume),
)


@given(EVENTS)
def test_events_survive_json(event: object) -> None:
    assert from_json(json.loads(json.dumps(to_json(event)))) == event  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("message", "complaint"),
    [
        ([], "JSON object"),
        ({"type": "fly"}, "event type 'fly'"),
        ({"x": 1}, "event type None"),
        ({"type": ["move"]}, "event type"),
        ({"type": "move", "gesture": "a", "x": 1}, "'y'"),
        ({"type": "move", "gesture": "a", "x": 1, "y": 2, "z": 3}, "no field 'z'"),
        ({"type": "move", "gesture": "a", "x": "1", "y": 2}, "Move.x is '1'"),
        ({"type": "move", "gesture": "a", "x": True, "y": 2}, "Move.x is True"),
        ({"type": "move", "gesture": "a", "x": float("nan"), "y": 2}, "Move.x"),
        ({"type": "move", "gesture": "a", "x": 1e999, "y": 2}, "Move.x"),
        ({"type": "move", "gesture": "", "x": 1, "y": 2}, "Move.gesture"),
        ({"type": "move", "gesture": 7, "x": 1, "y": 2}, "Move.gesture"),
        ({"type": "up", "gesture": "a" * 65}, "Up.gesture"),
        ({"type": "pin", "gesture": "a", "x": 1, "y": 2, "spacing": 0}, "Pin.spacing"),
        ({"type": "pin", "gesture": "a", "x": 1, "y": 2, "size": -1}, "Pin.size"),
        ({"type": "up", "gesture": "a", "time": -1}, "Up.time"),
        ({"type": "path", "gesture": "a", "knots": [[0, 0, 0]]}, "2 to 1000 knots"),
        ({"type": "path", "gesture": "a", "knots": [[0, 0, 0], [0, 0]]}, "every knot"),
        ({"type": "path", "gesture": "a", "knots": [[0, 0, 1], [0, 0, 2]]}, "start at 0"),
        ({"type": "path", "gesture": "a", "knots": [[0, 0, 0], [0, 0, 0]]}, "later"),
        ({"type": "path", "gesture": "a", "knots": [[0, 0, 0], [None, 0, 1]]}, r"knots\[1\].x"),
        ({"type": "path", "gesture": "a", "knots": [[0, 0, 0], [1, 0, 1]], "loop": 1}, "Path.loop"),
        ({"type": "prompt", "text": "a" * 2001}, "2000 characters"),
        ({"type": "prompt", "text": None}, "Prompt.text"),
    ],
)
def test_bad_messages_name_what_is_wrong(message: object, complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        from_json(message)


def test_events_of_a_picture_land_where_the_picture_lies() -> None:
    fit = Fit.of((1000, 500), SIZE)  # scale 0.288, 16 px cut off left and right
    moved = fitted(GridDown("a", 500, 250, spacing=50, size=200, falloff=100), fit)
    assert isinstance(moved, GridDown)
    assert (moved.x, moved.y) == pytest.approx((128, 72))
    assert (moved.spacing, moved.size, moved.falloff) == pytest.approx((14.4, 57.6, 28.8))
    path = fitted(Path("p", ((0, 0, 0), (1000, 500, 2))), fit)
    assert isinstance(path, Path)
    assert path.knots[1] == pytest.approx((272, 144, 2))
    assert fitted(Up("a"), fit) == Up("a")


@settings(max_examples=50)
@given(st.floats(1, 100), st.floats(0, 300))
def test_counting_a_grid_equals_making_it(spacing: float, size: float) -> None:
    assert len(events.grid_points(spacing, size)) == events.grid_count(spacing, size)
