"""Ratios are taken within rounds, in which both sides have the first turn as often as the other."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.speed.paired import Pair, Round, Turn, figures, spread
from benchmarks.speed.stopwatch import Took


class Fake:
    """A form whose every step takes so long, and shows one brightness."""

    def __init__(self, said: list[str], name: str, seconds: list[float], brightness: int = 0) -> None:
        self.said, self.name, self.seconds, self.brightness = said, name, iter(seconds), brightness

    def turn(self, steps: int) -> Turn:
        self.said.append(self.name)
        took = next(self.seconds)
        return Turn([Took(took, 2 * took)] * steps, np.full((steps + 1, 2, 2, 3), self.brightness, np.uint8))


def test_ratios_are_taken_within_rounds_and_turns_are_swapped() -> None:
    said: list[str] = []
    having = Fake(said, "A", [1.0, 1.0, 10.0, 10.0, 2.0, 2.0], 250)
    lacking = Fake(said, "B", [3.0, 3.0, 20.0, 20.0, 2.0, 2.0], 5)
    pair = Pair(having, lacking)
    found = figures([pair.round(index, 2) for index in range(3)])
    assert "".join(said) == "ABBA" + "BAAB" + "ABBA"
    assert found["times"]["median"] == found["times_process"]["median"] == 2.0
    assert 1.0 <= found["times"]["low"] <= 2.0 <= found["times"]["high"] <= 3.0
    assert found["difference"] == {"max": 245, "share": 1.0}
    assert (found["with_ms"], found["without_ms"]) == (4000.0, 6000.0)
    assert Round([Took(1, 1)], [Took(3, 4)], 0, 0.0).ratio(lambda took: took.process) == 4.0


def test_the_interval_holds_the_median_and_narrows_with_rounds() -> None:
    ratios = np.random.default_rng(0).normal(1.1, 0.05, 400).tolist()
    few, many = spread(ratios[:10]), spread(ratios)
    for found in (few, many):
        assert found["low"] <= found["median"] <= found["high"]
    assert many["high"] - many["low"] < few["high"] - few["low"]
    assert many["median"] == pytest.approx(1.1, abs=0.01)
    assert spread([1.5]) == {"median": 1.5, "low": 1.5, "high": 1.5}
