"""Intervals over clips."""

from __future__ import annotations

import numpy as np
import pytest

from motionstream.evaluate.bootstrap import FEWEST, of_mean, of_ratio


def test_a_means_interval_is_that_of_its_standard_error() -> None:
    values = np.random.default_rng(3).normal(5, 2, 400)
    low, high = of_mean(values)
    error = values.std() / 20
    assert low == pytest.approx(values.mean() - 1.96 * error, abs=0.2 * error)
    assert high == pytest.approx(values.mean() + 1.96 * error, abs=0.2 * error)


def test_intervals_hold_the_truth_as_often_as_they_say() -> None:
    """Of the quotient of two means, of 40 clips of unlike sizes, in 200 experiments."""
    rng, held = np.random.default_rng(5), 0
    for experiment in range(200):
        count = rng.integers(50, 150, 40).astype(float)
        common = rng.gamma(4, 0.25, 40)
        above, below = (common * rng.normal(mean, 0.1, 40) * count for mean in (1.2, 1.0))
        found = of_ratio(np.stack([above, count], -1), np.stack([below, count], -1), seed=experiment)
        assert found is not None
        held += found[0] <= 1.2 <= found[1]
    assert 178 <= held <= 199


def test_one_clip_that_decides_everything_shows_in_the_interval() -> None:
    even = np.array([[10.0, 10]] * 16)
    lost = even.copy()
    lost[7, 0] = 40
    found = of_ratio(lost, even)
    assert found is not None
    low, high = found
    assert lost[:, 0].sum() / 160 == pytest.approx(1.1875)
    assert low == pytest.approx(1)
    assert high > 1.4


def test_no_interval_of_what_cannot_have_one() -> None:
    few, none = np.ones((FEWEST - 1, 2)), np.array([[1.0, 1], [0, 0], [0, 0], [0, 0]])
    assert of_ratio(few, few) is None
    assert of_ratio(np.ones((FEWEST, 2)), none) is None
    with pytest.raises(ValueError, match="same clips"):
        of_ratio(np.ones((4, 2)), np.ones((5, 2)))
