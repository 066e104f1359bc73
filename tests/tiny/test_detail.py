"""Detail takes each pixel from the warp or the decoded frames, has no memory, and can learn which is right."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from tests.small import randomised
from torch import Tensor

from motionstream.tiny.detail import Detail, DetailConfig, landed, smoothed, soft


def frames(seed: int, count: int = 5, size: tuple[int, int] = (32, 48)) -> Tensor:
    return torch.rand(2, count, 3, *size, generator=torch.Generator().manual_seed(seed)) * 2 - 1


def support(seed: int = 9, count: int = 5, size: tuple[int, int] = (32, 48)) -> Tensor:
    return torch.rand(2, count, 1, size[0] // 4, size[1] // 4, generator=torch.Generator().manual_seed(seed))


def test_untrained_it_leaves_decoded_frames_nearly_as_they_are() -> None:
    decoded, warped = frames(0), frames(1)
    shown = Detail(DetailConfig(8))(decoded, warped, support())
    assert shown.shape == decoded.shape
    assert (shown - decoded).abs().mean() < 0.15 * (warped - decoded).abs().mean()


@pytest.mark.parametrize("size", [(32, 48), (48, 80)])
def test_frame_by_frame_is_the_whole_clip(size: tuple[int, int]) -> None:
    detail = randomised(Detail(DetailConfig(8, blocks=2)))
    decoded, warped, sure = frames(0, 6, size), frames(1, 6, size), support(2, 6, size)
    whole = detail(decoded, warped, sure)
    parts = [detail(decoded[:, i : i + 2], warped[:, i : i + 2], sure[:, i : i + 2]) for i in (0, 2, 4)]
    torch.testing.assert_close(torch.cat(parts, 1), whole, rtol=1e-5, atol=1e-5)


def test_every_input_counts() -> None:
    detail = randomised(Detail(DetailConfig(8)))
    given = [frames(0), frames(1), support()]
    shown = detail(*given)
    for index in range(3):
        other = [*given]
        other[index] = other[index].flip(-1)
        assert (detail(*other) - shown).abs().max() > 1e-3


def test_in_a_hole_the_decoded_colours_are_shown_and_nothing_of_the_warp() -> None:
    detail, decoded, warped, sure = Detail(DetailConfig(8)), frames(0), frames(1), support()
    with torch.no_grad():
        detail.out.bias[:16] = 20  # where it may, it takes the warp
        detail.out.bias[16:32] = -20
    sure[..., 2:5, 5:9] = -1
    shown = detail(decoded, warped, sure)
    rows, columns = slice(10, 18), slice(22, 34)  # the hole without half a cell, over which trust falls
    colours = soft(decoded.flatten(0, 1)).unflatten(0, decoded.shape[:2])
    torch.testing.assert_close(shown[..., rows, columns], colours[..., rows, columns], atol=1e-4, rtol=0)
    torch.testing.assert_close(shown[..., :12], warped[..., :12], atol=1e-4, rtol=0)


def test_trust_falls_smoothly_towards_a_hole_and_nowhere_else() -> None:
    sure = torch.zeros(1, 1, 8, 12)
    assert torch.equal(landed(sure), torch.ones(1, 1, 32, 48)), "no point near is no hole"
    sure[..., 3:6, 5:8] = -0.8
    trust = landed(sure)
    assert trust.min() == pytest.approx(0.2)
    assert trust[0, 0, 16].diff().abs().max() < 0.25
    assert torch.equal(trust[..., :10, :], torch.ones(1, 1, 10, 48))


def test_cells_of_a_hole_have_no_edges() -> None:
    cells = torch.rand(1, 3, 4, 6, generator=torch.Generator().manual_seed(0))
    blocks = cells.repeat_interleave(8, -1).repeat_interleave(8, -2)
    made = soft(blocks)
    assert made.diff(dim=-1).abs().max() < 0.13 < blocks.diff(dim=-1).abs().max(), "an eighth of the largest step"
    torch.testing.assert_close(soft(torch.full((1, 3, 16, 24), 0.3)), torch.full((1, 3, 16, 24), 0.3))


def test_smoothing_keeps_what_is_flat_and_the_mean_at_the_border() -> None:
    flat = torch.full((1, 3, 8, 8), 0.3)
    torch.testing.assert_close(smoothed(flat), flat)
    ramp = torch.arange(8.0).expand(1, 1, 8, 8)
    torch.testing.assert_close(smoothed(ramp)[0, 0, 3], torch.tensor([1, 1.5, 2, 3, 4, 5, 5.5, 6]))


def test_it_learns_to_take_texture_where_the_warp_is_right_and_not_where_it_is_wrong() -> None:
    """Left half: the warp is the truth, the decoded frames are blurred. Right half: the warp shows something else."""
    torch.manual_seed(0)
    detail = Detail(DetailConfig(16))
    optimizer = torch.optim.Adam(detail.parameters(), 1e-2)
    true, wrong = frames(3, 2), frames(4, 2)
    decoded = smoothed(true.flatten(0, 1)).unflatten(0, true.shape[:2])
    warped = torch.cat([true[..., :24], wrong[..., 24:]], -1)
    sure = torch.cat([torch.ones(2, 2, 1, 8, 6), torch.zeros(2, 2, 1, 8, 6)], -1)
    for _ in range(80):
        loss = F.l1_loss(detail(decoded, warped, sure), true)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    shown = detail(decoded, warped, sure).detach()

    def error(made: Tensor, half: slice) -> float:
        return float((made - true)[..., half].abs().mean())

    left, right = slice(0, 20), slice(28, 48)
    assert error(shown, left) < 0.3 * error(decoded, left), "the warp's texture is taken"
    assert error(shown, right) < 1.02 * error(decoded, right), "what is wrong in the warp is not"
