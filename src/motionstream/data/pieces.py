"""Pieces of a photograph: what hangs together by its colours is lifted out, and the ground is closed behind it.

So a thing moves whose outline was never cut out by hand, in the light and the sharpness of what is round it, as it is
when somebody takes hold of a thing in a picture.

Legend: a ground is (3, h, w), a texture (4, h, w) premultiplied, both float32 in [0, 1]; masks are (h, w), bool or in
[0, 1].
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

CLUSTERS = (5, 16)
"""Of colour and place, that a photograph falls into."""
PLACE = 0.5
"""What the photograph's height counts for beside colours."""
SAMPLE, ROUNDS = 2048, 6
"""Pixels that clusters are found from, and rounds of k-means."""
SEEDS = 24
"""Places that a piece is looked for at."""
SHARES = (0.012, 0.3)
"""Of the window, that a piece may cover."""
FULL = 0.35
"""Of its box, that a piece covers at least: no rims and nets."""
CONTRAST = 0.1
"""Between its mean colour and that of what is round it, at least."""
AT_ONCE = 8
"""Pixels that a region grows by before it is looked whether it still grows."""
FILLINGS = 12
"""Other places of the photograph that are tried for a filling."""
NEARBY = 0.15
"""Heights of the photograph, a standard deviation, that a filling comes from above or below."""
MARGIN = 2
"""Pixels around a piece that are filled as well, and that its texture is wider by."""


@dataclass(frozen=True)
class Piece:
    """texture: of what was lifted out. centre: (2,) its middle, in pixels from the ground's. ground: closed behind."""

    texture: Tensor
    centre: npt.NDArray[np.float64]
    ground: Tensor


def lifted(ground: Tensor, window: tuple[int, int, int, int], rng: np.random.Generator) -> Piece | None:
    """A piece that lies within a window (left, top, right, bottom) of the ground's pixels; None if none was found."""
    colours = F.avg_pool2d(_smooth(ground)[None], 2)[0]
    region = _region(colours, _clusters(colours, rng), window, rng)
    if region is None:
        return None
    mask = _smooth(F.interpolate(region.float()[None, None], ground.shape[1:], mode="bilinear")[0])[0]
    mask = ((mask - 0.5) * 2 + 0.5).clamp(0, 1)
    return Piece(*_cropped(ground, mask), _closed(ground, mask > 0, rng))


def _clusters(colours: Tensor, rng: np.random.Generator) -> Tensor:
    """(h, w): the cluster of each pixel, by k-means."""
    height, width = colours.shape[1:]
    rows, columns = (torch.arange(side) * (PLACE / height) for side in (height, width))
    places = torch.stack(torch.meshgrid(rows, columns, indexing="ij"))
    features = torch.cat([colours, places]).flatten(1).T
    sample = features[torch.from_numpy(rng.integers(len(features), size=SAMPLE))]
    centres = sample[: int(rng.integers(*CLUSTERS, endpoint=True))]
    for _ in range(ROUNDS):
        members = F.one_hot(_nearest(sample, centres), len(centres)).float()
        counts = members.sum(0)[:, None]
        centres = torch.where(counts > 0, members.T @ sample / counts.clamp(min=1), centres)
    return _nearest(features, centres).view(height, width)


def _nearest(features: Tensor, centres: Tensor) -> Tensor:
    return (centres.square().sum(1) - 2 * features @ centres.T).argmin(1)


def _region(
    colours: Tensor, clusters: Tensor, window: tuple[int, int, int, int], rng: np.random.Generator
) -> Tensor | None:
    """(h/2, w/2) bool: a connected region of one cluster, its holes closed, that lies inside the window and is unlike
    what is round it."""
    left, top, right, bottom = (side // 2 for side in window)
    inside, seen = clusters[top:bottom, left:right], colours[:, top:bottom, left:right]
    smallest, largest = (share * inside.numel() for share in SHARES)
    for row, column in rng.integers(inside.shape, size=(SEEDS, 2)).tolist():
        allowed = inside == inside[row, column]
        if allowed.sum() < smallest:
            continue
        hanging = _connected(allowed, (row, column))
        if hanging.sum() > hanging[1:-1, 1:-1].sum():
            continue  # it goes on beyond the window
        region = ~_connected(~hanging)
        if smallest <= region.sum() <= largest and _is_compact(region) and _stands_out(region, seen):
            found = torch.zeros_like(clusters, dtype=torch.bool)
            found[top:bottom, left:right] = region
            return found
    return None


def _is_compact(region: Tensor) -> bool:
    top, bottom, left, right = _bounds(region)
    return bool(region.sum() >= FULL * (bottom - top) * (right - left))


def _stands_out(region: Tensor, colours: Tensor) -> bool:
    rim = _wider(region, 3 * MARGIN) & ~region
    own, other = (colours[:, where].mean(1) for where in (region, rim))
    return bool((own - other).norm() >= CONTRAST)


def _connected(allowed: Tensor, start: tuple[int, int] | None = None) -> Tensor:
    """What hangs together with a place (row, column), or with the border, of all that is allowed."""
    reached = torch.zeros_like(allowed)
    if start is None:
        reached = allowed.clone()
        reached[1:-1, 1:-1] = False
    else:
        reached[start] = True
    reached, before = reached.float()[None], -1
    while (now := int(reached.sum())) != before:
        before = now
        for _ in range(AT_ONCE):
            reached = F.max_pool2d(reached, 3, 1, 1) * allowed
    return reached[0] > 0


def _cropped(ground: Tensor, mask: Tensor) -> tuple[Tensor, npt.NDArray[np.float64]]:
    """The piece's texture, and its middle from the ground's."""
    top, bottom, left, right = _bounds(mask)
    height, width = mask.shape
    top, bottom = max(top - MARGIN, 0), min(bottom + MARGIN, height)
    left, right = max(left - MARGIN, 0), min(right + MARGIN, width)
    alpha = mask[None, top:bottom, left:right]
    texture = torch.cat([ground[:, top:bottom, left:right] * alpha, alpha])
    return texture, np.array([left + right - width, top + bottom - height]) / 2


def _closed(ground: Tensor, hole: Tensor, rng: np.random.Generator) -> Tensor:
    """The ground with another place of the photograph in the hole, its colours made to meet what is round it (as in
    Pérez et al., "Poisson Image Editing", 2003)."""
    hole = _wider(hole, MARGIN)
    rim = _wider(hole, 3 * MARGIN) & ~hole
    moves = _moves(hole, rng)

    def misfit(move: list[int]) -> float:
        apart = (torch.roll(ground, move, (1, 2)) - ground)[:, rim].abs().mean()
        again = (torch.roll(hole, move, (0, 1)) & hole).sum() / hole.sum()
        return float(apart + again)

    other = torch.roll(ground, min(moves, key=misfit), (1, 2))
    known = (~hole).float()[None]
    return torch.where(hole, (other + _spread((ground - other) * known, known)).clamp(0, 1), ground)


def _moves(hole: Tensor, rng: np.random.Generator) -> list[list[int]]:
    """Rolls (down, right) that bring whole places of the picture there; most of about the same height, for what lies
    beside a thing is more like what is behind it than what lies above."""
    top, bottom, left, right = _bounds(hole)
    height, width = hole.shape
    rows = np.clip(top + rng.normal(0, NEARBY * height, FILLINGS), 0, height - (bottom - top))
    columns = rng.uniform(0, width - (right - left), FILLINGS)
    moves: list[list[int]] = np.stack([top - rows, left - columns], -1).round().astype(int).tolist()
    return moves


def _bounds(mask: Tensor) -> tuple[int, int, int, int]:
    """Top, bottom, left and right of all that is not 0; bottom and right are beyond it."""
    rows, columns = (torch.nonzero(mask.any(axis))[:, 0] for axis in (1, 0))
    return int(rows[0]), int(rows[-1]) + 1, int(columns[0]), int(columns[-1]) + 1


def _wider(mask: Tensor, by: int) -> Tensor:
    return F.max_pool2d(mask.float()[None], 2 * by + 1, 1, by)[0] > 0


def _smooth(picture: Tensor) -> Tensor:
    """Two box blurs of 3 pixels, the border repeated."""
    for _ in range(2):
        picture = F.avg_pool2d(F.pad(picture[None], (1,) * 4, mode="replicate"), 3, 1)[0]
    return picture


def _spread(known: Tensor, weight: Tensor) -> Tensor:
    """(c, h, w), known as far as the weight (1, h, w) says and times it, carried on smoothly to where it is not (pull
    and push, Gortler et al., "The Lumigraph", 1996)."""
    if min(weight.shape[1:]) < 2:
        return known.sum((1, 2), keepdim=True) / weight.sum((1, 2), keepdim=True) + 0 * known
    coarse = _spread(*(F.avg_pool2d(part[None], 2, ceil_mode=True)[0] for part in (known, weight)))
    return known + (1 - weight) * F.interpolate(coarse[None], weight.shape[1:], mode="bilinear")[0]
