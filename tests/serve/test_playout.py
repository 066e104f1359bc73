"""Pacing: a chunk is started just before the play-out buffer is empty, never while the viewer does not read."""

from __future__ import annotations

import pytest

from motionstream.serve.limits import Bucket
from motionstream.serve.playout import Playout


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def settled(clock: Clock, turnaround: float = 0.2) -> Playout:
    """A player of 24 frames a second that has seen many chunks of 12 frames, all as fast, and is dry."""
    playout = Playout(24, clock)
    for chunk in range(60):
        asked = clock.now
        playout.sent(chunk, 12, asked)
        clock.now += turnaround
        playout.acknowledged(chunk, 0)
    return playout


def test_the_first_chunk_is_asked_for_at_once() -> None:
    assert Playout(24, Clock()).wait() == 0


def test_a_chunk_is_asked_for_one_turnaround_before_the_player_runs_dry() -> None:
    clock = Clock()
    playout = settled(clock)
    playout.sent(60, 12, clock.now)
    clock.now += 0.2
    playout.acknowledged(60, 24)
    assert playout.lead == pytest.approx(0.2, abs=0.03)
    assert playout.wait() == pytest.approx(1.0 - playout.lead)
    clock.now += playout.wait()
    assert playout.wait() == pytest.approx(0, abs=1e-6)
    assert playout.empty_in() == pytest.approx(playout.lead)


def test_frames_on_their_way_count() -> None:
    clock = Clock()
    playout = settled(clock)
    playout.sent(60, 12, clock.now)
    assert playout.unacknowledged == 1
    assert playout.empty_in() == pytest.approx(0.5)


def test_a_turnaround_that_varies_gives_more_room() -> None:
    clock = Clock()
    steady = settled(clock)
    shaky = Playout(24, clock)
    for chunk in range(60):
        shaky.sent(chunk, 12, clock.now - (0.1 if chunk % 2 else 0.3))
        shaky.acknowledged(chunk, 0)
    assert shaky.lead > steady.lead + 0.1


def test_a_pause_stops_the_display_clock() -> None:
    clock = Clock()
    playout = settled(clock)
    playout.sent(60, 12, clock.now)
    playout.acknowledged(60, 12)
    clock.now += 0.25
    playout.pause()
    clock.now += 1000
    assert playout.empty_in() == pytest.approx(0.25)
    playout.resume()
    clock.now += 0.1
    assert playout.empty_in() == pytest.approx(0.15)


def test_one_acknowledgement_covers_those_before_it_and_unknown_ones_are_ignored() -> None:
    clock = Clock()
    playout = Playout(24, clock)
    playout.sent(0, 9, clock.now)
    playout.sent(1, 12, clock.now)
    playout.acknowledged(7, 500)
    assert playout.unacknowledged == 2
    playout.acknowledged(1, 3)
    assert playout.unacknowledged == 0
    assert playout.empty_in() == pytest.approx(3 / 24)


def test_a_bucket_gives_its_burst_and_then_its_rate() -> None:
    clock = Clock()
    bucket = Bucket(rate=2, burst=5, clock=clock)
    assert [bucket.take() for _ in range(7)] == [True] * 5 + [False] * 2
    clock.now += 1
    assert [bucket.take() for _ in range(3)] == [True, True, False]
    clock.now += 1000
    assert sum(bucket.take() for _ in range(50)) == 5
