"""Two models on the same clips: a small difference on all of them shows, a large one on a single clip does not."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from motionstream.evaluate import comparison
from motionstream.evaluate.comparison import BETTER, SAME, WORSE, conclusion, difference, differences

CLIPS = 12


def spread(seed: int = 0) -> np.ndarray:
    """Errors of clips, which differ by far more than models do."""
    return np.random.default_rng(seed).uniform(0.1, 9, CLIPS)


def figures(epe: np.ndarray, psnr: np.ndarray, control: str = "dense", **settings: Any) -> dict[str, Any]:
    rows = [
        {"name": f"world-{n}", "control": control, "model": {"epe_px": e, "psnr_db": p}}
        for n, (e, p) in enumerate(zip(epe.tolist(), psnr.tolist(), strict=True))
    ]
    return {
        "size": "256x144",
        "frames": 45,
        "seed": 0,
        "data": "worlds",
        "split": "heldout",
        **settings,
        "per_clip": rows,
    }


def test_a_small_gain_on_every_clip_shows_though_clips_differ_widely() -> None:
    before = spread()
    noise = np.random.default_rng(1).normal(0, 0.02, CLIPS)
    found = difference("epe", before, before - 0.1 + noise, more_is_better=False)
    assert found.result == BETTER
    assert found.interval[0] < found.change < found.interval[1] < 0
    assert found.change == pytest.approx(-0.1, abs=0.03)
    assert difference("epe", before - 0.1 + noise, before, more_is_better=False).result == WORSE
    assert difference("psnr", before, before - 0.1 + noise, more_is_better=True).result == WORSE


def test_a_large_gain_on_one_clip_alone_is_no_difference() -> None:
    before, after = spread(), spread()
    after[3] -= 5
    assert difference("epe", before, after, more_is_better=False).result == SAME


@pytest.mark.parametrize("seed", range(5))
def test_chance_alone_is_rarely_taken_for_a_difference(seed: int) -> None:
    """At the level of 95 %, among 40 comparisons of equal models a few are found different, not many."""
    rng = np.random.default_rng(seed)
    found = [difference("epe", spread(), spread() + rng.normal(0, 1, CLIPS), False, n).result for n in range(40)]
    assert sum(one != SAME for one in found) <= 9


def test_the_same_figures_give_the_same_interval() -> None:
    before, after = spread(), spread(1)
    assert difference("epe", before, after, False) == difference("epe", before, after, False)


@pytest.mark.parametrize(("first", "second"), [((1.0, 2.0), (1.0, 2.0)), ((1.0,) * 5, (1.0,) * 4)])
def test_too_few_clips_or_other_numbers_of_them_are_refused(
    first: tuple[float, ...], second: tuple[float, ...]
) -> None:
    with pytest.raises(ValueError, match=r"epe: \d and \d clips"):
        difference("epe", first, second, more_is_better=False)


def test_results_are_compared_clip_by_clip_under_each_control() -> None:
    epe, psnr = spread(), spread(2) + 20
    found = differences(figures(epe, psnr), figures(epe - 0.05, psnr - 0.3))
    assert [(one.measure, one.result) for one in found] == [("dense, epe_px", BETTER), ("dense, psnr_db", WORSE)]
    assert conclusion(found).startswith("neither: the second is better in dense, epe_px")


def test_clips_that_one_of_them_lacks_are_left_out() -> None:
    epe, psnr = spread(), spread(2)
    second = figures(epe - 0.05, psnr)
    second["per_clip"][0]["model"]["epe_px"] = None
    del second["per_clip"][5]
    assert [one.clips for one in differences(figures(epe, psnr), second)] == [CLIPS - 2, CLIPS - 1]


@pytest.mark.parametrize("setting", [{"size": "64x48"}, {"frames": 21}, {"seed": 1}, {"split": "heldout-far"}])
def test_other_clips_are_not_compared(setting: dict[str, Any]) -> None:
    epe = spread()
    with pytest.raises(ValueError, match=f"not the same clips: {next(iter(setting))}"):
        differences(figures(epe, epe), figures(epe, epe, **setting))


def test_nothing_in_common_is_an_error() -> None:
    epe = spread()
    with pytest.raises(ValueError, match="fewer than 4 clips in common"):
        differences(figures(epe, epe), figures(epe, epe, control="20"))


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ((-0.1, 0.1), "prefer the second: better in dense, epe_px; dense, psnr_db, worse in nothing measured"),
        ((0.1, 0.1), "neither"),
        ((0.1, -0.1), "keep the first: the second is worse in dense, epe_px; dense, psnr_db"),
        ((0.0, 0.0), "no difference"),
    ],
)
def test_the_conclusion_is_one_line(changes: tuple[float, float], line: str) -> None:
    epe, psnr = spread(), spread(2)
    found = differences(figures(epe, psnr), figures(epe + changes[0], psnr + changes[1]))
    assert conclusion(found).startswith(line)
    assert comparison.report(found)["conclusion"] == conclusion(found)
    assert len(comparison.rows(found)) == 1 + len(found)
