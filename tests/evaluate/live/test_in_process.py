"""The live bench on streams whose figures are known, good and bad, on a clock that only they move."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from tests.evaluate.live.composed_session import compose

from motionstream.evaluate.live.in_process import Clock, bench_live, bench_model, growth
from motionstream.evaluate.live.session import FILE, recorded_session
from motionstream.tracks import Tracks
from motionstream.tracks.events import GridDown, Move, Path, Pin, Prompt, Up
from motionstream.tracks.record import Header, Recording

SIZE = (64, 32)
FPS = 24.0


class Time:
    """A clock that stands until someone sleeps."""

    def __init__(self) -> None:
        self.wall = 100.0

    def now(self) -> float:
        return self.wall

    def sleep(self, seconds: float) -> None:
        assert seconds >= 0
        self.wall += seconds


class FakeStream:
    """Chunks of 9, then 12 frames that take `cost(chunk)` seconds each."""

    size, fps = SIZE, FPS

    def __init__(self, time: Time, cost: Callable[[int], float]) -> None:
        self.time, self.cost = time, cost
        self.prompt = ""
        self.chunks = 0
        self.given: list[Tracks] = []
        self.prompts: list[str] = []

    @property
    def chunk_frames(self) -> int:
        return 12 if self.chunks else 9

    def step(self, tracks: Tracks | None) -> npt.NDArray[np.uint8]:
        frames = self.chunk_frames
        assert tracks is not None
        assert tracks.frames == frames
        self.given.append(tracks)
        self.prompts.append(self.prompt)
        self.time.sleep(self.cost(self.chunks))
        self.chunks += 1
        return np.zeros((frames, *SIZE[::-1], 3), np.uint8)


def bench(
    cost: Callable[[int], float],
    seconds: float = 60,
    recording: Recording | None = None,
    memory: Callable[[], float | None] = lambda: 100.0,
) -> tuple[dict[str, Any], FakeStream]:
    time = Time()
    stream = FakeStream(time, cost)
    clock = Clock(time.now, time.sleep)
    return bench_live(lambda: stream, recording or recorded_session(), seconds, clock, memory), stream


def test_a_fast_stream_keeps_up() -> None:
    figures, stream = bench(lambda chunk: 0.25)
    assert figures["fps"] == pytest.approx(48)
    assert figures["displayed_fps"] == pytest.approx(24, rel=0.01)
    assert figures["missed_deadlines"] == 0
    assert figures["stalled_ms"] == 0
    assert figures["first_frame_ms"] == pytest.approx(250)
    assert figures["chunk_ms"] == pytest.approx({"p50": 250, "p95": 250, "p99": 250})
    assert figures["last_over_first_quarter"] == pytest.approx(1)
    assert figures["rss_growth"] == 0
    # just in time: a chunk's length apart, never the whole minute at once
    assert stream.chunks == pytest.approx(60 * FPS / 12, abs=3)


def test_a_slow_stream_misses_its_deadlines() -> None:
    figures, _ = bench(lambda chunk: 0.75)
    assert figures["fps"] == pytest.approx(16)
    assert figures["displayed_fps"] == pytest.approx(16, rel=0.02)
    assert figures["missed_deadlines"] == figures["chunks"] - 1
    assert figures["stalled_ms"] == pytest.approx((figures["chunks"] - 1) * 250, rel=0.03)


def test_one_hiccup_is_one_missed_deadline() -> None:
    figures, _ = bench(lambda chunk: 1.0 if chunk == 50 else 0.25, 30)
    assert figures["missed_deadlines"] == 1
    assert figures["chunk_ms"]["p50"] == pytest.approx(250)
    assert figures["chunk_ms"]["p99"] > 300


def test_a_stream_that_slows_down_is_seen() -> None:
    figures, _ = bench(lambda chunk: 0.1 + 0.002 * chunk)
    assert figures["last_over_first_quarter"] > 1.5


def test_a_stream_that_leaks_is_seen() -> None:
    held = [100.0]

    def memory() -> float:
        held[0] += 1
        return held[0]

    assert bench(lambda chunk: 0.25, memory=memory)[0]["rss_growth"] > 0.5
    assert bench(lambda chunk: 0.25, memory=lambda: None)[0]["rss_growth"] is None


def test_warming_up_is_no_leak() -> None:
    assert growth([100, 180, 200, 200, 200, 200, 200, 200], 2) == 0
    assert growth([100, 180, 200, 200, 200, 200, 200, 210], 2) == pytest.approx(0.05)


def one_event(seconds: float) -> Recording:
    return Recording(Header(SIZE), (GridDown("a", 10, 10, time=seconds), Up("a", time=29.9)))


def test_the_reaction_is_from_the_pointer_event_to_the_first_frame_made_with_it() -> None:
    # Chunk 0 holds frames 0–8 (0.375 s). At a cost of 0.25 s the next ones start 0.2725 s before they are due:
    # at 0.1025 s (frames 9–20) and 0.6025 s (frames 21–32, shown from 0.875 s on).
    figures, stream = bench(lambda chunk: 0.25, 10, one_event(0.2))
    assert figures["gesture_to_frame_ms"]["p50"] == pytest.approx((0.875 - 0.2) * 1e3)
    assert [tracks.points > 0 for tracks in stream.given[:4]] == [False, False, True, True]
    early, stream = bench(lambda chunk: 0.25, 10, one_event(0.1))
    assert early["gesture_to_frame_ms"]["p50"] == pytest.approx((0.375 - 0.1) * 1e3)
    assert [tracks.points > 0 for tracks in stream.given[:4]] == [False, True, True, True]


def test_a_standing_picture_counts_in_the_reaction() -> None:
    # The second chunk is begun at 0.365 s, before the pointer event, and comes at 1.365 s; the picture stands from
    # 0.375 s until then. The third one includes the event: begun at once, it comes, late again, at 2.365 s.
    figures, _ = bench(lambda chunk: 0.0 if chunk == 0 else 1.0, 10, one_event(0.37))
    assert figures["gesture_to_frame_ms"]["p50"] == pytest.approx((2.365 - 0.37) * 1e3)


def test_the_session_is_played_again_and_again_and_words_change() -> None:
    recording = Recording(Header(SIZE), (Prompt("snow", 1.0), GridDown("a", 10, 10, time=1.5), Up("a", time=3.0)))
    figures, stream = bench(lambda chunk: 0.2, 12.7, recording)
    assert figures["gestures"] == 2 * 4
    assert stream.prompts[0] == ""
    assert stream.prompts[-1] == "snow"
    births = {int(number) for tracks in stream.given for number in tracks.ids}
    assert len(births) == 4 * 25  # every round takes hold anew


def test_gestures_are_brought_to_the_size_of_the_stream() -> None:
    _, stream = bench(lambda chunk: 0.2, 30)
    seen = np.concatenate([tracks.xy[tracks.visible] for tracks in stream.given])
    assert len(seen) > 1000
    assert seen.max() < 64


def test_work_put_off_until_frames_are_shown_counts_for_speed_but_not_for_the_reaction() -> None:
    class Settling(FakeStream):
        def settle(self) -> None:
            self.time.sleep(0.1)

    time = Time()
    stream = Settling(time, lambda chunk: 0.25)
    figures = bench_live(lambda: stream, one_event(0.2), 10, Clock(time.now, time.sleep))
    assert figures["fps"] == pytest.approx(12 / 0.35)
    assert figures["chunk_ms"]["p95"] == pytest.approx(250)
    assert figures["settle_ms"]["p95"] == pytest.approx(100)
    assert figures["gesture_to_frame_ms"]["p50"] == pytest.approx((0.875 - 0.2) * 1e3)


def test_too_short_a_run_is_refused() -> None:
    with pytest.raises(ValueError, match="measure for longer"):
        bench(lambda chunk: 1.0, 2)
    with pytest.raises(ValueError, match="must be positive"):
        bench(lambda chunk: 1.0, float("nan"))


def test_a_stream_that_breaks_its_promise_is_named() -> None:
    class Short(FakeStream):
        def step(self, tracks: Tracks | None) -> npt.NDArray[np.uint8]:
            return super().step(tracks)[1:]

    time = Time()
    with pytest.raises(ValueError, match="8 frames after promising 9"):
        bench_live(lambda: Short(time, lambda chunk: 0.2), recorded_session(), 5, Clock(time.now, time.sleep))


def test_a_model_is_driven_through_its_public_contract() -> None:
    class Instant(Time):
        def sleep(self, seconds: float) -> None:
            import time

            time.sleep(seconds / 20)

    class Fast(FakeStream):
        fps = 480.0

    class Model:
        size, hash, dtype = SIZE, "abc", torch.float32

        def open(self, image: npt.NDArray[np.uint8], prompt: str, seed: int) -> FakeStream:
            assert image.shape == (32, 64, 3)
            assert prompt
            return Fast(Instant(), lambda chunk: 0.1)

    figures = bench_model(Model(), 0.5)
    assert (figures["model_hash"], figures["dtype"]) == ("abc", "float32")
    assert figures["chunks"] > 5
    assert {"machine", "date", "gesture_to_frame_ms"} <= figures.keys()


def test_the_committed_session_is_what_its_script_makes() -> None:
    assert recorded_session() == compose(), f"write {FILE.name} anew: python -m tests.evaluate.live.composed_session"


def test_the_session_has_all_that_people_do() -> None:
    recording = recorded_session()
    kinds = {type(event) for event in recording.events}
    assert {GridDown, Move, Up, Pin, Path, Prompt} <= kinds
    assert recording.frames >= 30 * 24
    chunks = [tracks for _, tracks in recording.replay()]
    busy = sum(tracks.points > 0 for tracks in chunks)
    assert busy > 0.8 * len(chunks)
    assert len({int(number) for tracks in chunks for number in tracks.ids}) > 100
