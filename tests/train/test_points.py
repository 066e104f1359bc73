"""Which points training shows: three kinds of control, and middle frames without any."""

from __future__ import annotations

import numpy as np
import pytest

from motionstream.tracks import Tracks
from motionstream.train import points
from motionstream.train.points import KINDS, Choice, choose, mask_middle

FRAMES, EACH = 41, 60
MOVING, PARKED, GROUND = 1, 2, 0


def clip() -> tuple[Tracks, np.ndarray]:
    """Sixty points each on the ground, on a thing that moves and on one that does not; the last ten unseen at first."""
    object_of = np.repeat([GROUND, MOVING, PARKED], EACH)
    start = np.random.default_rng(0).uniform(0, 90, (1, 3 * EACH, 2))
    travel = np.linspace(0, 30, FRAMES)[:, None, None] * (object_of == MOVING)[:, None]
    visible = np.ones((FRAMES, 3 * EACH), bool)
    visible[0, np.arange(3 * EACH) % EACH >= EACH - 10] = False
    return Tracks((start + travel).astype(np.float32), visible), object_of


def only(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(points, "KINDS", {name: float(name == kind) for name in KINDS})


def drawn(choice: Choice, many: int = 60) -> list[Tracks]:
    tracks, object_of = clip()
    return [choose(tracks, object_of, choice, np.random.default_rng(seed)) for seed in range(many)]


def test_shares_are_shares() -> None:
    assert sum(KINDS.values()) == pytest.approx(1)


@pytest.mark.parametrize("kind", KINDS)
def test_chosen_points_are_the_clips_own(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    only(kind, monkeypatch)
    tracks, _ = clip()
    for shown in drawn(Choice(4, 100), many=20):
        assert shown.frames == FRAMES
        assert np.array_equal(shown.xy, tracks.xy[:, shown.ids])
        assert np.array_equal(shown.visible, tracks.visible[:, shown.ids])


def test_dense_control_is_of_few_and_of_many(monkeypatch: pytest.MonkeyPatch) -> None:
    only("dense", monkeypatch)
    counts = [shown.points for shown in drawn(Choice(4, 100))]
    assert min(counts) >= 4
    assert max(counts) <= 100
    assert min(counts) < 10
    assert max(counts) > 50


def test_more_than_there_are_is_all(monkeypatch: pytest.MonkeyPatch) -> None:
    only("dense", monkeypatch)
    assert [shown.points for shown in drawn(Choice(900, 1000), many=3)] == [3 * EACH] * 3


def test_by_hand_everything_that_moves_is_held(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that in training nothing moves that no one touches; some of the rest is pinned."""
    only("hand", monkeypatch)
    _, object_of = clip()
    held = [object_of[shown.ids] for shown in drawn(Choice(4, 100))]
    assert all(3 <= (one == MOVING).sum() < 25 for one in held)
    pinned = [{int(n) for n in np.unique(one)} - {MOVING} for one in held]
    assert 0 < sum(PARKED in one for one in pinned) < len(held) / 2
    assert 0 < sum(GROUND in one for one in pinned) < len(held) / 2
    assert all(shown.visible[0].all() for shown in drawn(Choice(4, 100), many=9)), "a hand takes what it sees"


def test_by_hand_a_still_scene_may_be_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    only("hand", monkeypatch)
    tracks, object_of = clip()
    still = Tracks(np.repeat(tracks.xy[:1], FRAMES, 0), tracks.visible)
    counts = [choose(still, object_of, Choice(4, 9), np.random.default_rng(seed)).points for seed in range(30)]
    assert min(counts) == 0


def test_few_points_are_one_to_twenty(monkeypatch: pytest.MonkeyPatch) -> None:
    only("few", monkeypatch)
    counts = {shown.points for shown in drawn(Choice(4, 100), many=200)}
    assert counts == set(range(1, 21))


def test_masked_middles_are_whole_chunks_and_never_the_ends() -> None:
    tracks, _ = clip()
    masked = mask_middle(tracks, Choice(4, 9, mask_probability=1.0), np.random.default_rng(0))
    gone = ~masked.visible.any(1)
    assert np.flatnonzero(gone).tolist() == list(range(1, 37)), "chunks of 12 frames, and 4 frames left at the end"
    assert tracks.visible[1:].any(), "the given tracks are left alone"
    assert np.array_equal(masked.xy, tracks.xy)


def test_masks_are_drawn_at_their_probability() -> None:
    tracks, _ = clip()
    random = np.random.default_rng(0)
    shares = [
        1 - mask_middle(tracks, Choice(4, 9, mask_probability=0.2), random).visible[1:37].any(1).mean()
        for _ in range(400)
    ]
    assert np.mean(shares) == pytest.approx(0.2, abs=0.04)
    assert set(np.round(shares, 3)) <= {0.0, 0.333, 0.667, 1.0}


def test_nothing_is_masked_without_a_probability_or_a_middle() -> None:
    tracks, _ = clip()
    random = np.random.default_rng(0)
    assert np.array_equal(mask_middle(tracks, Choice(4, 9), random).visible, tracks.visible)
    short = tracks.slice(0, 13)
    assert np.array_equal(mask_middle(short, Choice(4, 9, 1.0), random).visible, short.visible)
