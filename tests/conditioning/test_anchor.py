"""When the anchor is taken anew, and where points are born in it."""

from __future__ import annotations

import pytest
import torch
from tests.small import picture

from motionstream.conditioning import Anchor, TrackBatch, renewed, should_renew


def tracks(ids: list[int], visible: list[bool] | None = None, at: float = 0.0, frames: int = 4) -> TrackBatch:
    """Points in a row; point n is at (10 n + at + frame, 5)."""
    shown = torch.tensor([True] * len(ids) if visible is None else visible, dtype=torch.bool)
    ids_N = torch.tensor(ids, dtype=torch.long)
    x = ids_N * 10.0 + at + torch.arange(frames)[:, None]
    xy = torch.stack([x, torch.full_like(x, 5)], -1)[None]
    return TrackBatch(xy, shown.expand(1, frames, -1).clone(), ids_N[None])


TWENTY = list(range(20))


def anchor(ids: list[int] = TWENTY) -> Anchor:
    return Anchor.of(picture()).seen(tracks(ids), 0)


def test_points_seen_in_the_anchor_are_born_where_they_were() -> None:
    start = tracks([3, 1, 2], [True, False, True])
    places, born = Anchor.of(picture()).seen(start, 2).places(torch.tensor([[2, 9, 1, 3]]))
    assert born.tolist() == [[True, False, False, True]]
    assert places[born].tolist() == [[22.0, 5.0], [32.0, 5.0]]


def test_an_anchor_alone_knows_no_point() -> None:
    places, born = Anchor.of(picture(2)).places(torch.zeros(2, 4, dtype=torch.long))
    assert places.shape == (2, 4, 2)
    assert not born.any()


def test_points_that_go_on_keep_the_anchor() -> None:
    assert not should_renew(anchor(), tracks(TWENTY, at=7))
    assert not should_renew(anchor(), tracks(TWENTY[::-1]))


@pytest.mark.parametrize(("new", "renews"), [(1, False), (2, False), (3, True), (12, True)])
def test_more_than_a_tenth_of_newcomers_renew_it(new: int, renews: bool) -> None:
    """Of the visible points: 2 of 22 are less than a tenth, 3 of 23 are more."""
    assert should_renew(anchor(), tracks(TWENTY + list(range(100, 100 + new)))) is renews


@pytest.mark.parametrize(("gone", "renews"), [(1, False), (2, False), (3, True), (20, True)])
@pytest.mark.parametrize("how", ["absent", "hidden"])
def test_more_than_a_tenth_of_released_points_renew_it(gone: int, renews: bool, how: str) -> None:
    following = tracks(TWENTY[gone:]) if how == "absent" else tracks(TWENTY, [n >= gone for n in TWENTY])
    assert should_renew(anchor(), following) is renews


def test_a_point_hidden_for_part_of_a_chunk_is_still_held() -> None:
    following = tracks(TWENTY)
    following.visible[:, 1:, :10] = False
    assert not should_renew(anchor(), following)


def test_a_first_hand_renews_and_no_hand_at_all_does_not() -> None:
    untouched = anchor([])
    assert should_renew(untouched, tracks([0]))
    assert not should_renew(untouched, tracks([]))
    assert not should_renew(untouched, tracks([0], [False]))


def test_one_clip_of_a_batch_decides_for_all() -> None:
    def twice(batch: TrackBatch) -> TrackBatch:
        return TrackBatch(*(torch.cat([part, part]) for part in (batch.xy, batch.visible, batch.ids)))

    following = twice(tracks(TWENTY))
    both = Anchor.of(picture(2)).seen(following, 0)
    assert not should_renew(both, following)
    following.visible[1] = False
    assert should_renew(both, following)


def test_a_new_anchor_takes_known_points_from_the_last_frame_and_new_ones_where_they_appear() -> None:
    last = tracks([1, 2, 3], [True, True, False], at=3).slice(3, 4)
    following = tracks([2, 3, 7, 8], [False, True, True, False])
    following.visible[:, 0, 2] = False
    fresh = renewed(picture(seed=5), last, following)
    assert torch.equal(fresh.picture, picture(seed=5))
    assert fresh.ids.tolist() == [[2, 3, 7, 8]]
    assert fresh.born.tolist() == [[True, True, True, False]]
    assert fresh.birth_xy[0, :3].tolist() == [[26.0, 5.0], [30.0, 5.0], [71.0, 5.0]]


def test_without_a_last_frame_points_are_born_where_they_appear() -> None:
    fresh = renewed(picture(), None, tracks([4, 5], at=2))
    assert fresh.birth_xy[0].tolist() == [[42.0, 5.0], [52.0, 5.0]]
    assert fresh.born.all()


def test_a_renewed_anchor_is_not_renewed_at_once() -> None:
    following = tracks([*TWENTY[5:], 50, 51], at=4)
    assert should_renew(anchor(), following)
    assert not should_renew(renewed(picture(), tracks(TWENTY).slice(3, 4), following), following)
