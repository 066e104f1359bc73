"""Where points lie in the anchor: born, carried, held, taken over, and anew."""

from __future__ import annotations

import pytest
import torch
from tests.small import picture

from motionstream.conditioning import TrackBatch
from motionstream.tiny.anchor import Anchor


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


def test_only_points_that_take_hold_are_looked_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """It costs as much as a warp, and mostly nobody takes hold."""
    looked_up = []
    offset = Anchor._offset

    def counting(self: Anchor, place: torch.Tensor) -> torch.Tensor:
        looked_up.append(place.shape[1])
        return offset(self, place)

    monkeypatch.setattr(Anchor, "_offset", counting)
    going_on = anchor().following(tracks(TWENTY, at=1)).following(tracks(TWENTY[:5], at=2)).following(nothing())
    assert not looked_up
    going_on.following(tracks([99]))
    assert looked_up == [1]


def half_dark() -> torch.Tensor:
    """(1, 3, 144, 256): dark to the left of x = 128, bright to the right."""
    picture = torch.full((1, 3, 144, 256), -0.8)
    picture[..., 128:] = 0.8
    return picture


def carried(by: float) -> Anchor:
    """Five by five points in the dark, around (60, 60), carried to the right and down."""
    x, y = torch.meshgrid(torch.arange(48.0, 73, 6), torch.arange(48.0, 73, 6), indexing="xy")
    start = torch.stack([x, y], -1).reshape(1, 1, -1, 2)
    ids = torch.arange(25)[None]
    shown = torch.ones(1, 1, 25, dtype=torch.bool)
    born = Anchor.of(half_dark()).seen(TrackBatch(start, shown, ids), 0)
    return born.moved(TrackBatch(start + by, shown, ids))


def appearing(anchor: Anchor, x: float, y: float) -> list[float]:
    """Where in the picture a new point at (x, y) is found, beside those that are there."""
    xy = torch.cat([anchor.xy, torch.tensor([[[x, y]]])], 1)[:, None]
    ids = torch.cat([anchor.ids, torch.tensor([[99]])], 1)
    return points(anchor.following(TrackBatch(xy, torch.ones(1, 1, 26, dtype=torch.bool), ids)))[99]


def test_a_point_on_untouched_ground_is_born_where_it_appears() -> None:
    """In another thing than what moved by 20 pixels, so that only what leaks across its edge reaches it."""
    assert appearing(carried(20), 230, 60) == pytest.approx([230.0, 60.0], abs=0.6)
    assert appearing(carried(0), 230, 60) == [230.0, 60.0]


def test_a_point_on_what_was_moved_is_looked_up_through_the_movement() -> None:
    assert 15 < appearing(carried(40), 61, 63)[0] < 45, "ground from behind what has left"
    # within 2 % of the way, which is what standing still keeps back
    assert appearing(carried(40), 101, 98) == pytest.approx([61.0, 58.0], abs=0.02 * 40 * 2**0.5)


def test_what_was_moved_is_held_when_it_is_let_go() -> None:
    carried = anchor([0, 1]).moved(tracks([0, 1], at=40))
    let_go = carried.following(
        TrackBatch(torch.zeros(1, 4, 0, 2), torch.zeros(1, 4, 0).bool(), torch.zeros(1, 0).long())
    )
    assert let_go.held.all()
    assert let_go.held.shape == (1, 2)
    assert let_go.xy.tolist() == carried.xy.tolist()
    assert (let_go.held_weight() > 0).all()


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
    assert not carried.too_many_held
    kept = tracks([1000], at=-9000)
    held = carried.following(kept).moved(kept)
    assert held.too_many_held
    fresh = picture() * 0
    renewed = held.renewed(fresh)
    assert (renewed.picture == fresh).all()
    assert renewed.ids.tolist() == [[1000]]
    assert torch.equal(renewed.birth_xy, held.xy[:, :1])
    assert not renewed.too_many_held


def panned(by: float, frames: int = 4) -> TrackBatch:
    """A lattice of points over 48 × 32 pixels that goes `by` pixels to the left in the last frame."""
    places = torch.cartesian_prod(torch.arange(4.0, 48, 8), torch.arange(4.0, 32, 8))
    xy = places.expand(1, frames, -1, -1).clone()
    xy[:, -1, :, 0] -= by
    return TrackBatch(xy, xy[..., 0] > 0, torch.arange(len(places))[None])


@pytest.mark.parametrize("by", [0, 8, 16, -16])
def test_what_has_come_into_view_lies_outside_the_picture(by: float) -> None:
    start = panned(by)
    moved = Anchor.of(picture()).seen(start, 0).moved(start)
    assert float(moved.outside()) == pytest.approx(abs(by) / 48, abs=0.03)


def test_a_clip_of_its_own_is_measured_by_itself() -> None:
    two = [panned(by) for by in (0, 16)]
    both = TrackBatch(*(torch.cat([getattr(one, name) for one in two]) for name in ("xy", "visible", "ids")))
    shares = Anchor.of(picture(2)).seen(both, 0).moved(both).outside()
    assert shares[0] == 0
    assert shares[1] > 0.3


def test_what_has_no_finite_source_is_not_counted() -> None:
    start = panned(0)
    start.xy[:, -1, :, 0] = 3e38
    assert float(Anchor.of(picture()).seen(start, 0).moved(start).outside()) == 0


@pytest.mark.parametrize("by", [(150, 0), (-50, 30), (0, 60)])
def test_a_thing_dragged_across_the_picture_does_not_empty_it(by: tuple[int, int]) -> None:
    """Behind it lies ground of the picture: the view stays."""
    grid = torch.cartesian_prod(torch.arange(52.0, 84, 12), torch.arange(60.0, 90, 12))
    xy = torch.stack([grid, grid + torch.tensor(by)])[None]
    drag = TrackBatch(xy, torch.ones(1, 2, len(grid)).bool(), torch.arange(len(grid))[None])
    assert float(Anchor.of(half_dark()).seen(drag, 0).moved(drag).outside()) < 0.25


def test_what_nobody_took_hold_of_is_in_the_picture() -> None:
    assert Anchor.of(picture(2)).outside().tolist() == [0, 0]
