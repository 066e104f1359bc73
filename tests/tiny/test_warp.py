"""The warp carries a patch with its points, leaves what is far or pinned alone, and stands still without points."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from motionstream.tiny.affinity import affinity
from motionstream.tiny.warp import (
    FARTHEST,
    NEAREST,
    NEGLIGIBLE,
    STRIDE,
    displacement,
    displacement_at,
    radii,
    spread,
    warp,
)

WIDTH, HEIGHT = 96, 64


def smooth_picture(clips: int = 1) -> Tensor:
    """Gentle waves of three colours: a shift of a pixel changes values by up to 0.3."""
    ys, xs = torch.meshgrid(torch.arange(HEIGHT) + 0.5, torch.arange(WIDTH) + 0.5, indexing="ij")
    waves = [(xs * 0.31 + ys * 0.07).sin(), (ys * 0.29 - xs * 0.05).cos(), (xs * 0.2 + ys * 0.23).sin()]
    return torch.stack(waves).expand(clips, -1, -1, -1).contiguous()


def grid(left: float, top: float, columns: int = 5, rows: int = 5, spacing: float = 4.0) -> Tensor:
    """(N, 2) points."""
    x, y = np.meshgrid(left + spacing * np.arange(columns), top + spacing * np.arange(rows))
    return torch.tensor(np.stack([x, y], -1).reshape(-1, 2), dtype=torch.float32)


def carry(picture: Tensor, points: Tensor, by: Tensor) -> tuple[Tensor, Tensor]:
    """Warp with points (N, 2) that move by (F, N, 2) or (F, 1, 2)."""
    xy = (points + by)[None]
    visible = torch.ones(xy.shape[:3], dtype=torch.bool)
    return warp(picture, affinity(picture), xy, visible, points[None], torch.ones(1, len(points), dtype=torch.bool))


def patch(picture: Tensor, left: int, top: int, size: int = 12) -> Tensor:
    return picture[..., top : top + size, left : left + size]


@pytest.mark.parametrize("by", [(0, 0), (8, 0), (0, -10), (-6, 9), (25, 7)])
def test_a_patch_moves_with_its_points(by: tuple[int, int]) -> None:
    picture = smooth_picture()
    points = grid(38, 24)
    warped, _ = carry(picture, points, torch.tensor([[[0.0, 0.0]], [by]]))
    assert warped.shape == (1, 2, 3, HEIGHT, WIDTH)
    moved = patch(warped[0, 1], 40 + by[0], 26 + by[1])
    assert (moved - patch(picture[0], 40, 26)).abs().mean() < 0.06
    torch.testing.assert_close(warped[0, 0], picture[0], atol=1e-4, rtol=0)
    if by != (0, 0):
        assert (moved - patch(picture[0], 40 + by[0], 26 + by[1])).abs().mean() > 0.3


def test_what_is_far_away_and_pinned_stays_still() -> None:
    picture = smooth_picture()
    hand, pins = grid(66, 30, 3, 3), grid(8, 8, 4, 4)
    by = torch.cat([torch.tensor([10.0, 6.0]).expand(len(hand), 2), torch.zeros(len(pins), 2)])
    warped, support = carry(picture, torch.cat([hand, pins]), by[None])
    torch.testing.assert_close(warped[0, 0, :, 4:28, 4:28], picture[0, :, 4:28, 4:28], atol=1e-4, rtol=0)
    assert (warped[0, 0] - picture[0]).abs().max() > 0.5
    assert support[0, 0, 0, 3, 3] > 0.9, "a pin speaks for its place"


def test_a_pin_holds_its_place_beside_a_moving_hand() -> None:
    picture, hand, pin = smooth_picture(), torch.tensor([[40.0, 30.0]]), torch.tensor([[52.0, 30.0]])
    by = torch.tensor([[[-10.0, 0.0], [0.0, 0.0]]])
    free, _ = carry(picture, hand, by[:, :1])
    held, _ = carry(picture, torch.cat([hand, pin]), by)
    torn, kept = ((frame[0, 0] - picture[0]).abs()[:, 28:33, 50:55].mean() for frame in (free, held))
    assert torn > 0.5
    assert kept < 0.1 * torn


def bar() -> Tensor:
    """A bright bar, 64 × 12 pixels, on dark waves."""
    picture = smooth_picture() * 0.1 - 0.7
    picture[..., 26:38, 16:80] = 0.8
    return picture


def test_a_thing_taken_by_one_end_comes_along_as_a_whole() -> None:
    picture, hand = bar(), grid(20, 29, 3, 3, 3)
    frame = carry(picture, hand, torch.tensor([[[0.0, 14.0]]]))[0][0, 0]
    bright = frame.mean(0) > 0
    columns = torch.arange(HEIGHT, dtype=torch.float)[:, None].expand(-1, WIDTH)
    for x in (24, 40, 56):
        height = columns[bright[:, x], x].mean() - 31.5
        assert height > 9, f"at x = {x} the bar has moved by {height:.1f} of 14 pixels"
    assert bright[:26].sum() == 0
    assert bright.sum() < 1.25 * 64 * 12, "it is not seen twice"


def test_what_lies_across_an_edge_does_not_come_along() -> None:
    """Ground 20 pixels from the bar's free end; as far along the bar almost all of the movement arrives."""
    picture, hand = bar(), grid(20, 29, 3, 3, 3)[None]
    seen = torch.ones(1, 9, dtype=torch.bool)
    moves = hand[:, None] + torch.tensor([0.0, 6.0])
    place = torch.tensor([[[50.0, 38.0], [50.0, 6.0], [92.0, 60.0]]])
    along, above, corner = displacement_at(place, affinity(picture), moves[:, 0], hand, seen.float(), (WIDTH, HEIGHT))[
        0
    ]
    assert along[1] < -4.5
    assert above.norm() < 0.4 * 6
    assert corner.norm() < 0.2 * 6


def test_support_says_where_nothing_lands() -> None:
    """A square on even ground, taken by the middle: what it covered is vacant once it has left, and only that."""
    picture = torch.zeros(1, 3, HEIGHT, WIDTH)
    patch(picture, 24, 24, 16)[:] = 1
    _, support = carry(picture, grid(28, 28, 3, 3), torch.tensor([[[0.0, 0.0]], [[36.0, 0.0]]]))
    assert (support[:, 0] >= 0).all(), "nothing has moved"
    vacant = support[0, 1, 0] < -0.5
    behind = torch.zeros_like(vacant)
    behind[24 // STRIDE : 40 // STRIDE, 24 // STRIDE : 40 // STRIDE] = True
    assert vacant[behind].float().mean() > 0.5
    assert not vacant[:, 48 // STRIDE :].any(), "where it went something has landed"
    assert support[0, 1, 0, 32 // STRIDE, 68 // STRIDE] > 0.9, "there points speak"


def test_no_points_no_motion() -> None:
    picture = smooth_picture(2)
    empty = torch.zeros(2, 0, 2), torch.zeros(2, 0, dtype=torch.bool)
    warped, support = warp(
        picture, affinity(picture), torch.zeros(2, 3, 0, 2), torch.zeros(2, 3, 0, dtype=torch.bool), *empty
    )
    torch.testing.assert_close(warped, picture[:, None].expand_as(warped), atol=1e-4, rtol=0)
    assert support.shape == (2, 3, 1, HEIGHT // STRIDE, WIDTH // STRIDE)
    assert not support.any()


@pytest.mark.parametrize("silent", ["hidden", "not born"])
def test_points_that_are_hidden_or_not_in_the_picture_pull_nothing(silent: str) -> None:
    picture, points = smooth_picture(), grid(40, 24)[None]
    visible = torch.full((1, 1, 25), silent != "hidden")
    born = torch.full((1, 25), silent != "not born")
    warped, support = warp(picture, affinity(picture), points[:, None] + 9, visible, points, born)
    torch.testing.assert_close(warped[:, 0], picture, atol=1e-4, rtol=0)
    assert not support.any()


def test_clips_of_a_batch_do_not_mix() -> None:
    pictures = torch.cat([smooth_picture(), -smooth_picture()])
    points, by = grid(30, 20), torch.tensor([[[7.0, 3.0]], [[14.0, 6.0]]])
    alone = [carry(one[None], points, by * sign)[0] for one, sign in zip(pictures, (1, -1), strict=True)]
    xy = torch.stack([points + by, points - by])
    birth, born = points.expand(2, -1, -1), torch.ones(2, 25, dtype=torch.bool)
    between, _ = warp(pictures, affinity(pictures), xy, torch.ones(2, 2, 25, dtype=torch.bool), birth, born)
    torch.testing.assert_close(between, torch.cat(alone), atol=1e-5, rtol=0)


def test_displacement_points_back_to_where_content_was() -> None:
    points = grid(40, 24)[None]
    seen = torch.ones(1, 25, dtype=torch.bool)
    backward, support = displacement(
        affinity(smooth_picture()), points[:, None] + torch.tensor([8.0, -4.0]), seen[:, None], points, seen, (96, 64)
    )
    row, column = int((32 - 4) // STRIDE), int((48 + 8) // STRIDE)
    torch.testing.assert_close(backward[0, 0, :, row, column], torch.tensor([-8.0, 4.0]), atol=0.3, rtol=0)
    assert support.max() == 1
    assert backward[0, 0, :, -1, 0].abs().max() < 1e-3


def test_a_points_reach_follows_its_nearest_neighbour_within_bounds() -> None:
    birth = torch.tensor([[[10.0, 10.0], [20.0, 10.0], [20.0, 10.5], [90.0, 60.0], [11.0, 10.0]]])
    born = torch.tensor([[True, True, True, True, False]])
    assert radii(birth, born)[0, :4].tolist() == pytest.approx([7.0, NEAREST, NEAREST, FARTHEST])
    alone = radii(birth[:, :1], born[:, :1])
    assert alone.tolist() == [[FARTHEST]]


def test_a_frame_in_which_nothing_moves_is_the_picture_itself() -> None:
    birth = torch.tensor([[[20.0, 12.0], [30.0, 14.0]]])
    born = torch.ones(1, 2, dtype=torch.bool)
    xy = birth[:, None].repeat(1, 3, 1, 1)
    xy[:, 1] += 4
    anchor = smooth_picture()
    warped, _ = warp(anchor, affinity(anchor), xy, torch.ones(1, 3, 2, dtype=torch.bool), birth, born)
    assert torch.equal(warped[:, 0], anchor)
    assert torch.equal(warped[:, 2], anchor)
    assert not torch.equal(warped[:, 1], anchor)
    assert torch.equal(
        warp(anchor, affinity(anchor), xy[:, :1], torch.ones(1, 1, 2, dtype=torch.bool), birth, born)[0][:, 0], anchor
    )


def test_weights_too_small_to_matter_are_left_out_without_a_trace() -> None:
    """The field equals the sum written out in float64 with every weight in it."""
    torch.manual_seed(0)
    xy, values = torch.rand(2, 3, 40, 2) * 200, torch.randn(2, 3, 40, 3)
    inverse = -0.5 / (4 + 16 * torch.rand(2, 1, 40)).square()
    ys, xs = torch.arange(2.0, 200, 4), torch.arange(2.0, 200, 4)
    y, x = (xy.double()[..., 1, None] - ys).square(), (xy.double()[..., 0, None] - xs).square()
    weight = torch.exp((y[..., :, None] + x[..., None, :]) * inverse.double()[..., None, None])
    expected = torch.einsum("bfnk,bfnyx->bfkyx", values.double(), weight).float()
    assert (weight < NEGLIGIBLE).any()
    torch.testing.assert_close(spread(values, xy, inverse, ys, xs), expected, atol=1e-6, rtol=1e-4)
