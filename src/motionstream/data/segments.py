"""Segments of a photograph: a connected region of similar colour is cut out, and the hole behind it is inpainted.

Such objects have the light and sharpness of their surroundings, as an object that is dragged in a photograph has, and
need no outline drawn by hand.

Legend: a ground is (3, h, w), a texture (4, h, w) premultiplied, both float32 in [0, 1]; masks are (h, w), bool or in
[0, 1].
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from scipy import ndimage
from torch import Tensor

CLUSTERS = (5, 16)
"""Fewest and most clusters of colour and position."""
POSITION_WEIGHT = 0.5
"""Of the photograph's height in the features, relative to a colour channel."""
SAMPLE, ROUNDS = 2048, 6
"""Pixels that k-means runs on, and its rounds."""
SEEDS = 24
"""Pixels at which a segment is tried."""
SHARES = (0.012, 0.3)
"""Least and largest share of the window that a segment covers."""
FULL = 0.35
"""Least share of its bounding box that a segment covers: no rims and nets."""
CONTRAST = 0.1
"""Least distance of its mean colour from that of its surroundings."""
AROUND = np.ones((3, 3))
"""Pixels that are connected: all eight around."""
FILLINGS = 12
"""Other places of the photograph that are tried to fill the hole."""
NEARBY = 0.15
"""Standard deviation of the vertical offset of a filling, in heights of the photograph."""
MARGIN = 2
"""Pixels around a segment that are filled too, and by which its texture is wider."""


@dataclass(frozen=True)
class Segment:
    """texture: what was cut out. centre: (2,) its middle, in pixels from the ground's. ground: with the hole filled."""

    texture: Tensor
    centre: npt.NDArray[np.float64]
    ground: Tensor


def cut_segment(ground: Tensor, window: tuple[int, int, int, int], rng: np.random.Generator) -> Segment | None:
    """A segment within a window (left, top, right, bottom) of the ground's pixels; None if none was found."""
    colours = F.avg_pool2d(_smooth(ground)[None], 2)[0]
    region = _region(colours, _clusters(colours, rng), window, rng)
    if region is None:
        return None
    mask = _smooth(F.interpolate(region.float()[None, None], ground.shape[1:], mode="bilinear")[0])[0]
    mask = ((mask - 0.5) * 2 + 0.5).clamp(0, 1)
    return Segment(*_cropped(ground, mask), _filled(ground, mask > 0, rng))


def _clusters(colours: Tensor, rng: np.random.Generator) -> Tensor:
    """(h, w): the cluster of each pixel, by k-means."""
    height, width = colours.shape[1:]
    rows, columns = (torch.arange(side) * (POSITION_WEIGHT / height) for side in (height, width))
    positions = torch.stack(torch.meshgrid(rows, columns, indexing="ij"))
    features = torch.cat([colours, positions]).flatten(1).T
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
    """(h/2, w/2) bool: a connected region of one cluster, holes closed, inside the window, unlike its surroundings."""
    left, top, right, bottom = (side // 2 for side in window)
    inside, seen = clusters[top:bottom, left:right], colours[:, top:bottom, left:right]
    smallest, largest = (share * inside.numel() for share in SHARES)
    for row, column in rng.integers(inside.shape, size=(SEEDS, 2)).tolist():
        allowed = inside == inside[row, column]
        if allowed.sum() < smallest:
            continue
        numbers, _ = ndimage.label(allowed, AROUND)
        connected = numbers == numbers[row, column]
        if connected.sum() > connected[1:-1, 1:-1].sum():
            continue  # it reaches the window's border
        region = torch.from_numpy(ndimage.binary_fill_holes(connected, AROUND))
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


def _cropped(ground: Tensor, mask: Tensor) -> tuple[Tensor, npt.NDArray[np.float64]]:
    """The segment's texture, and its middle relative to the ground's."""
    top, bottom, left, right = _bounds(mask)
    height, width = mask.shape
    top, bottom = max(top - MARGIN, 0), min(bottom + MARGIN, height)
    left, right = max(left - MARGIN, 0), min(right + MARGIN, width)
    alpha = mask[None, top:bottom, left:right]
    texture = torch.cat([ground[:, top:bottom, left:right] * alpha, alpha])
    return texture, np.array([left + right - width, top + bottom - height]) / 2


def _filled(ground: Tensor, hole: Tensor, rng: np.random.Generator) -> Tensor:
    """The ground with another place of the photograph in the hole, blended at its border.

    The blending is as in Pérez et al., "Poisson Image Editing", 2003.
    """
    hole = _wider(hole, MARGIN)
    rim = _wider(hole, 3 * MARGIN) & ~hole
    moves = _moves(hole, rng)

    def misfit(move: list[int]) -> float:
        apart = (torch.roll(ground, move, (1, 2)) - ground)[:, rim].abs().mean()
        again = (torch.roll(hole, move, (0, 1)) & hole).sum() / hole.sum()
        return float(apart + again)

    other = torch.roll(ground, min(moves, key=misfit), (1, 2))
    known = (~hole).float()[None]
    return torch.where(hole, (other + _interpolated((ground - other) * known, known)).clamp(0, 1), ground)


def _moves(hole: Tensor, rng: np.random.Generator) -> list[list[int]]:
    """Rolls (down, right) that bring other places of the picture into the hole.

    Most are from about the same height: what is beside an object is more like its background than what is above it.
    """
    top, bottom, left, right = _bounds(hole)
    height, width = hole.shape
    rows = np.clip(top + rng.normal(0, NEARBY * height, FILLINGS), 0, height - (bottom - top))
    columns = rng.uniform(0, width - (right - left), FILLINGS)
    moves: list[list[int]] = np.stack([top - rows, left - columns], -1).round().astype(int).tolist()
    return moves


def _bounds(mask: Tensor) -> tuple[int, int, int, int]:
    """Top, bottom, left and right of all that is not 0; bottom and right exclusive."""
    rows, columns = (torch.nonzero(mask.any(axis))[:, 0] for axis in (1, 0))
    return int(rows[0]), int(rows[-1]) + 1, int(columns[0]), int(columns[-1]) + 1


def _wider(mask: Tensor, by: int) -> Tensor:
    return F.max_pool2d(mask.float()[None], 2 * by + 1, 1, by)[0] > 0


def _smooth(picture: Tensor) -> Tensor:
    """Two box blurs of 3 pixels, the border repeated."""
    for _ in range(2):
        picture = F.avg_pool2d(F.pad(picture[None], (1,) * 4, mode="replicate"), 3, 1)[0]
    return picture


def _interpolated(known: Tensor, weight: Tensor) -> Tensor:
    """Values (c, h, w), already multiplied by their weight (1, h, w) in [0, 1], interpolated to where it is 0.

    Pull and push (Gortler et al., "The Lumigraph", 1996).
    """
    if min(weight.shape[1:]) < 2:
        return known.sum((1, 2), keepdim=True) / weight.sum((1, 2), keepdim=True) + 0 * known
    coarse = _interpolated(*(F.avg_pool2d(part[None], 2, ceil_mode=True)[0] for part in (known, weight)))
    return known + (1 - weight) * F.interpolate(coarse[None], weight.shape[1:], mode="bilinear")[0]
