"""The simulated player on a clock of its own: pace, gaps and what is counted of them."""

from __future__ import annotations

import numpy as np
import pytest

from motionstream.client.player import Frame, Player

FPS = 24.0


def frames(first: int, count: int) -> list[Frame]:
    return [Frame(number, number, np.zeros((2, 2, 3), np.uint8)) for number in range(first, first + count)]


def shown(player: Player, begin: float, seconds: float, refresh: float = 240.0) -> list[int]:
    """Numbers of the frames that a screen shows from `begin` on."""
    ticks = (begin + step / refresh for step in range(round(seconds * refresh)))
    return [frame.number for tick in ticks if (frame := player.tick(tick))]


def test_frames_are_shown_at_the_streams_pace() -> None:
    player = Player(FPS)
    assert player.tick(0.5) is None
    player.add(frames(0, 48))
    assert shown(player, 1.0, 1.0) == list(range(24))
    assert np.mean(player.intervals) == pytest.approx(1 / FPS, rel=0.02)
    assert (player.missed, player.underruns, player.starved) == (0, 0, 0)
    assert player.first_at == 1.0


def test_the_clock_runs_between_frames_and_never_past_the_next() -> None:
    player = Player(FPS)
    assert player.seconds(3.0) == 0
    player.add(frames(10, 1))
    player.tick(2.0)
    assert player.seconds(2.02) == pytest.approx(10 / FPS + 0.02)
    assert player.seconds(9.0) == pytest.approx(11 / FPS)


def test_a_gap_is_one_underrun_as_long_as_it_was_and_the_pace_starts_afresh() -> None:
    player = Player(FPS)
    player.add(frames(0, 2))
    shown(player, 0.0, 0.5)
    player.add(frames(2, 24))
    assert player.tick(0.5) is not None
    assert player.underruns == 1
    assert player.starved == pytest.approx(0.5 - 2 / FPS)
    assert player.missed == 1
    assert shown(player, 0.5, 0.5) == list(range(3, 14)), "as fast as ever, without catching up"
    assert (player.underruns, player.missed) == (1, 1)


def test_a_short_wait_is_an_underrun_and_no_missed_deadline() -> None:
    player = Player(FPS)
    player.add(frames(0, 1))
    player.tick(0.0)
    assert player.tick(1 / FPS + 0.001) is None
    player.add(frames(1, 1))
    assert player.tick(1.5 / FPS) is not None
    assert (player.underruns, player.missed) == (1, 0)


def test_a_picture_that_stands_until_the_end_counts() -> None:
    player = Player(FPS)
    player.add(frames(0, 1))
    shown(player, 0.0, 1.0)
    player.finish(1.0)
    assert player.starved == pytest.approx(1 - 1 / FPS)
