"""Where points lie in the anchor: born, carried, held, taken over, and anew."""

from __future__ import annotations

import pytest
import torch
from tests.small import picture

from motionstream.conditioning import Anchor, TrackBatch


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


def nothing() -> TrackBatch:
    return TrackBatch(torch.zeros(1, 4, 0, 2), torch.zeros(1, 4, 0).bool(), torch.zeros(1, 0).long())


def points(anchor: Anchor) -> dict[int, list[float]]:
    """id → place in the picture, of the points in hand."""
    in_hand = anchor.born[0] & ~anchor.held[0]
    return {int(i): p.tolist() for i, p in zip(anchor.ids[0][in_hand], anchor.birth_xy[0][in_hand], strict=True)}


def test_points_that_go_on_keep_their_places() -> None:
    following = anchor().following(tracks(TWENTY[::-1], at=7))
    assert points(following) == {n: [10.0 * n, 5.0] for n in TWENTY}
    assert not following.held.any()


def test_a_point_on_untouched_ground_is_born_where_it_appears() -> None:
    following = anchor([0, 1]).moved(tracks([0, 1])).following(tracks([0, 1, 30]))
    assert points(following)[30] == pytest.approx([300.0, 5.0], abs=1e-4)


def test_a_point_on_what_was_moved_is_looked_up_through_the_movement() -> None:
    """Four points carried by 40 pixels; a fifth appears on top of one of them."""
    start = tracks([0, 1, 2, 3])
    carried = anchor([0, 1, 2, 3]).moved(TrackBatch(start.xy + 40, start.visible, start.ids))
    there = TrackBatch(carried.xy[:, None, :1], torch.ones(1, 1, 1, dtype=torch.bool), torch.tensor([[50]]))
    born = points(carried.following(there))[50]
    # within 5 % of the way, which is what the soft fall-off to standing still keeps back
    assert born == pytest.approx(carried.birth_xy[0, 0].tolist(), abs=0.05 * 40 * 2**0.5)


def test_what_was_moved_is_held_when_it_is_let_go() -> None:
    carried = anchor([0, 1]).moved(tracks([0, 1], at=40))
    let_go = carried.following(
        TrackBatch(torch.zeros(1, 4, 0, 2), torch.zeros(1, 4, 0).bool(), torch.zeros(1, 0).long())
    )
    assert let_go.held.all()
    assert let_go.held.shape == (1, 2)
    assert let_go.xy.tolist() == carried.xy.tolist()
    assert (let_go.strength() > 0).all()


def test_what_stood_still_or_was_hidden_is_forgotten_when_it_is_let_go() -> None:
    assert anchor([0, 1]).following(nothing()).ids.shape == (1, 0)
    hidden = anchor([0, 1]).moved(tracks([0, 1], [False, False], at=40))
    assert hidden.following(nothing()).ids.shape == (1, 0)


def test_a_hand_takes_over_what_is_held_under_it_and_leaves_the_rest() -> None:
    carried = anchor([0, 20]).moved(tracks([0, 20], at=40))
    there = TrackBatch(carried.xy[:, None, :1] + 3, torch.ones(1, 1, 1, dtype=torch.bool), torch.tensor([[50]]))
    following = carried.following(there)
    assert following.held.sum() == 1
    assert following.ids[following.held].tolist() == [20]


def test_a_held_points_number_is_nobodys() -> None:
    carried = anchor([0]).moved(tracks([0], at=40))
    _, known = carried.following(nothing()).places(torch.tensor([[0]]))
    assert not known.any()


def test_too_much_held_takes_the_anchor_anew() -> None:
    many = list(range(300))
    carried = anchor(many).moved(tracks(many, at=40))
    assert not carried.crowded
    kept = tracks([1000], at=-9000)
    held = carried.following(kept).moved(kept)
    assert held.crowded
    fresh = picture() * 0
    renewed = held.renewed(fresh)
    assert (renewed.picture == fresh).all()
    assert renewed.ids.tolist() == [[1000]]
    assert torch.equal(renewed.birth_xy, held.xy[:, :1])
    assert not renewed.crowded
