"""Distance of two videos as textures: that there are flakes counts, where each one is does not.

Legend: B clips, F frames, M filters, P places, H W pixels.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

SIZES = ((1, 1), (3, 3), (5, 5), (9, 1), (1, 9), (7, 7), (13, 3))
"""Rows and columns of the filters: for dots, and for streaks."""
FILTERS, PLACES = 42, 2048
CROP = 112
"""Pixels a side of the part that is compared at full resolution."""
COARSE = 8
"""Pixels that are one on the coarse level."""
REACH = 8
"""Pixels to every side, and one frame, over which neighbours are compared."""
FAINT = 3e-4
"""Variance below which a video is next to even."""


def texture_distance(made: Tensor, true: Tensor, generator: torch.Generator) -> Tensor:
    """Sliced Wasserstein distance of small patches in space and time; a scalar.

    made, true: (B, F, 3, H, W). Both are passed through random filters of a few pixels over all F frames, whose
    responses at random places are sorted and compared (Bonneel et al. 2015; for textures Heitz et al. 2021): once
    in pixels of a random crop, once in blocks of 8 × 8 of the whole.
    """
    videos = [video.flatten(1, 2) for video in (made, true)]
    height, width = made.shape[-2:]
    top, left = (int(torch.randint(max(room - CROP, 0) + 1, (), generator=generator)) for room in (height, width))
    crops = [video[..., top : top + CROP, left : left + CROP] for video in videos]
    blocks = [F.avg_pool2d(video, COARSE) for video in videos]
    return _sliced(crops, SIZES, generator) + _sliced(blocks, SIZES[:2], generator)


def shape_distance(made: Tensor, true: Tensor) -> Tensor:
    """Distance of two videos' (B, F, 3, H, W) autocorrelations, over some pixels and one frame; a scalar.

    Autocorrelation separates streaks from dots and slow from fast, which single patches hardly do, and of independent
    particles it is the sum of all kinds' own. In shares of the true video's variance.
    """
    one, other = (_autocorrelation(video) for video in (made, true))
    scale = other[..., REACH, REACH].amax(-1, keepdim=True)[..., None, None] + FAINT
    return ((one - other) / scale).abs().mean()


def _autocorrelation(video: Tensor) -> Tensor:
    """(B, 2, 2 · REACH + 1, 2 · REACH + 1): the mean product with itself at every move, in the same frame and the next;
    of brightness, periodic."""
    light = video.mean(2)
    waves = torch.fft.rfft2(light - light.mean((-1, -2), keepdim=True))
    powers = [(waves * waves.conj()).mean(1), (waves[:, :-1].conj() * waves[:, 1:]).mean(1)]
    products = torch.fft.irfft2(torch.stack(powers, 1), s=light.shape[-2:]) / light[0, 0].numel()
    near = torch.roll(products, (REACH, REACH), (-2, -1))
    return near[..., : 2 * REACH + 1, : 2 * REACH + 1]


def beyond_curves(video: Tensor, plain: Tensor) -> Tensor:
    """What of a video (B, F, 3, H, W) no curve of the plain one's colours and of height explains, frame by frame."""
    light = plain.flatten(3).transpose(2, 3)
    rows = torch.linspace(-1, 1, plain.shape[-2], device=plain.device)[:, None].expand(plain.shape[-2:]).flatten()
    basis = torch.cat([light, light.square(), torch.ones_like(light[..., :1])], -1)
    basis = torch.cat([basis, rows.to(light).expand(*light.shape[:2], -1)[..., None]], -1)
    columns, _ = torch.linalg.qr(basis)
    pixels = video.flatten(3).transpose(2, 3)
    rest: Tensor = pixels - columns @ (columns.mT @ pixels)
    return rest.transpose(2, 3).view_as(video)


def _sliced(pair: list[Tensor], sizes: tuple[tuple[int, int], ...], generator: torch.Generator) -> Tensor:
    """Of two (B, C, H, W), clip by clip."""
    channels, count = pair[0].shape[1], FILTERS // len(sizes)
    return torch.stack(
        [_wasserstein(pair, _filters(count, channels, size, generator), generator) for size in sizes]
    ).mean()


def _wasserstein(pair: list[Tensor], filters_MCHW: Tensor, generator: torch.Generator) -> Tensor:
    seen = [F.conv2d(one, filters_MCHW.to(one)).flatten(2) for one in pair]
    count = seen[0].shape[-1]
    places = torch.randint(count, (2, min(PLACES, count)), generator=generator).to(seen[0].device)
    made_BMP, true_BMP = (one[..., place].sort(-1).values for one, place in zip(seen, places, strict=True))
    return F.l1_loss(made_BMP, true_BMP)


def _filters(count: int, channels: int, size: tuple[int, int], generator: torch.Generator) -> Tensor:
    """(M, C, S, S') of length 1: a random pattern in one half, in the other the plain sum, which alone separates a
    streak from dots."""
    patterns = torch.randn(count, 1, *size, generator=generator)
    patterns[::2] = 1
    filters = patterns * torch.randn(count, channels, 1, 1, generator=generator)
    return F.normalize(filters.flatten(1)).view_as(filters)
