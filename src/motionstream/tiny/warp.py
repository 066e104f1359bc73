"""The warped anchor: a picture warped along the tracks, as a prior of every frame (docs/architecture.md, section 6).

Every point has a place in the anchor picture. The displacement of a pixel is a weighted mean of the points' movements
and of standing still; a point's weight is a Gaussian of its distance plus the affinity of the two places, so it falls
off slowly within an object and quickly at its edge. The network then repairs what a warp does not have (tears,
uncovered ground, light) instead of generating every pixel. Beyond the paper; dropped at random in training.

Legend: B clips, F frames, N points, H W pixels, h w cells of `STRIDE` pixels.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from motionstream.tiny.affinity import AffinityMatrix

STRIDE = 4
"""Pixels a side of the cells that the displacement is computed for; between their centres it is interpolated."""
NEAREST, FARTHEST = 4.0, 20.0
"""Bounds, in pixels, of the radius around a point within which it gives support."""
NEGLIGIBLE = 1e-18
"""Weights below this are 0: no digit of a displacement shows them."""
AFFINITY_WEIGHT = 0.01
"""Weight, beside 1 at a point, of a place with affinity 1 to it, however far away."""
REST_WEIGHT = 0.002
"""Weight of standing still, beside 1 at a point."""
VACANT_WEIGHT = 0.03
"""Weight of a place's own movement where little of the picture lands: what was there is elsewhere now and must not be
shown twice, so the pixels behind what left are stretched into the hole."""
CORRECTIONS = 2
"""How often the mean's error at the points is added back, so that they arrive exactly and pins stay."""
LANDING = 0.6 * STRIDE
"""Standard deviation in pixels of a cell where it is splatted."""
VACANT_SHARE = 0.5
"""Splatted weight, as a share of that at rest, below which a place begins to be vacant."""
ROUNDS, NEAR = 2, 4.0
"""Fixed-point iterations of the inverse displacement, and the most pixels that one may change it by."""


def radii(birth_xy: Tensor, born: Tensor) -> Tensor:
    """(B, N) radius of each point: 0.7 × the distance to its nearest neighbour at birth, bounded."""
    distance = torch.cdist(birth_xy, birth_xy)
    lonely = ~(born[:, :, None] & born[:, None, :])
    lonely |= torch.eye(born.shape[1], dtype=torch.bool, device=born.device)
    if born.shape[1] == 0:
        return birth_xy.new_zeros(birth_xy.shape[:2])
    return (0.7 * distance.masked_fill(lonely, torch.inf).amin(-1)).clamp(NEAREST, FARTHEST)


def displacement(
    affinity: AffinityMatrix, xy: Tensor, visible: Tensor, birth_xy: Tensor, point_weight: Tensor, size: tuple[int, int]
) -> tuple[Tensor, Tensor]:
    """Backward displacement (B, F, 2, H/4, W/4) in pixels, from each place to its content in the anchor, and support.

    affinity: of the anchor picture. xy (B, F, N, 2), visible (B, F, N): the points now. birth_xy (B, N, 2): their
    places in the anchor; point_weight (B, N): 0 if they have none (bool will do). size: (W, H). Support
    (B, F, 1, H/4, W/4): 0 … 1 by how near points are, each within its radius, and down to −1 in holes, where nothing
    of the picture lands.
    """
    ys, xs = axes(size, xy.device)
    inverse = -0.5 / radii(birth_xy, point_weight > 0).square().clamp(min=1e-6)
    visible_weight = (visible * point_weight[:, None].to(xy.dtype))[..., None]
    support = spread(visible_weight, xy, inverse[:, None], ys, xs).clamp(max=1)
    forward, confidence = movement(
        affinity, (xy - birth_xy[:, None]) * visible_weight, visible_weight, birth_xy, inverse, size
    )
    backward, vacant = inverted(forward, confidence, size)
    return backward, support * (1 - vacant) - vacant


def vacancy(support: Tensor) -> Tensor:
    """Of a support (any shape): 1 in holes, where nothing of the picture lands, 0 elsewhere."""
    return (-support).clamp(min=0)


def axes(size: tuple[int, int], device: torch.device) -> tuple[Tensor, Tensor]:
    """y and x of the cell centres, in pixels."""
    ys, xs = ((torch.arange(side // STRIDE, device=device) + 0.5) * STRIDE for side in reversed(size))
    return ys, xs


def cell_centres(size: tuple[int, int], device: torch.device) -> Tensor:
    """(h, w, 2) x and y of the cell centres in pixels."""
    ys, xs = axes(size, device)
    return torch.stack(torch.meshgrid(xs, ys, indexing="xy"), -1)


def movement(
    affinity: AffinityMatrix,
    moves: Tensor,
    visible_weight: Tensor,
    birth_xy: Tensor,
    inverse: Tensor,
    size: tuple[int, int],
) -> tuple[Tensor, Tensor]:
    """Forward displacement of each place: the mean of the points' moves (B, F, N, 2) and of standing still.

    inverse (B, N): −1 / 2 r² of each point's Gaussian. Returns (B, F, 2, h, w) pixels and (B, F, 1, h, w) the points'
    share of the weight.
    """
    ys, xs = axes(size, moves.device)
    near_y, near_x = (
        gaussian((born[..., None] - at).square() * inverse[..., None])
        for born, at in ((birth_xy[..., 1], ys), (birth_xy[..., 0], xs))
    )
    near = (near_y[..., :, None] * near_x[..., None, :]).flatten(2)
    places = cell_centres(size, moves.device).flatten(0, 1).expand(len(birth_xy), -1, -1)
    weight = near + AFFINITY_WEIGHT * affinity.between(birth_xy, places, size)
    near = gaussian(torch.cdist(birth_xy, birth_xy).square() * inverse[..., None])
    among = near + AFFINITY_WEIGHT * affinity.between(birth_xy, birth_xy, size)
    given = moves
    for _ in range(CORRECTIONS):
        given = given + moves - _mean(given, visible_weight, among)[0] * visible_weight
    mean, share = _mean(given, visible_weight, weight)
    grid = (len(ys), len(xs))
    return mean.mT.unflatten(-1, grid), share.mT.unflatten(-1, grid)


def _mean(moves: Tensor, visible_weight: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
    """The mean of moves (B, F, N, 2) and of standing still at M places, weighed by (B, N, M): (B, F, M, 2), and the
    moves' share of the weight (B, F, M, 1)."""
    values = torch.cat([moves, visible_weight], -1).movedim(2, -1).flatten(1, 2)
    sums = (values @ weight).unflatten(1, (moves.shape[1], 3)).mT
    total = sums[..., 2:] + REST_WEIGHT
    return sums[..., :2] / total, sums[..., 2:] / total


def inverted(forward: Tensor, confidence: Tensor, size: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """Forward displacement (B, F, 2, h, w) and its confidence (B, F, 1, h, w) → backward displacement, and how vacant
    each place is (B, F, 1, h, w), 0 … 1.

    Cells are splatted as small Gaussians; what moved covers what stands still. In holes the displacement of what was
    there is kept.
    """
    ys, xs = axes(size, forward.device)
    places = cell_centres(size, forward.device).movedim(-1, 0)
    landing = (places + forward).flatten(3).mT
    values = torch.cat([-forward * confidence, confidence, torch.ones_like(confidence)], 2).flatten(3).mT
    width = forward.new_full((1, 1, 1), -0.5 / LANDING**2)
    landed = spread(values, landing, width, ys, xs)
    backward = (landed[:, :, :2] - VACANT_WEIGHT * forward) / (landed[:, :, 2:3] + VACANT_WEIGHT)
    # displacements that are not finite land nowhere
    vacant = (1 - landed[:, :, 3:] / (VACANT_SHARE * _at_rest(ys, xs))).nan_to_num(nan=1.0).clamp(min=0)
    for _ in range(ROUNDS):
        again = -sampled(forward, (places + backward).movedim(2, -1), size)
        close = (again - backward).square().sum(2, keepdim=True) < NEAR**2
        backward = torch.where(close, again, backward)
    return backward, vacant


def _at_rest(ys: Tensor, xs: Tensor) -> Tensor:
    """(h, w) splatted weight at every place while nothing moves."""
    down, across = (gaussian((at[:, None] - at).square() * (-0.5 / LANDING**2)).sum(0) for at in (ys, xs))
    return down[:, None] * across


def sampled(field: Tensor, places: Tensor, size: tuple[int, int]) -> Tensor:
    """A field (B, F, K, h, w) at (B, F, …, …, 2) places in pixels, two dimensions of them: (B, F, K, …, …)."""
    grid = (places * (2 / places.new_tensor(size)) - 1).flatten(0, 1)
    found = F.grid_sample(field.flatten(0, 1), grid, mode="bilinear", padding_mode="border", align_corners=False)
    result: Tensor = found.unflatten(0, field.shape[:2])
    return result


def spread(values: Tensor, xy: Tensor, inverse: Tensor, ys: Tensor, xs: Tensor) -> Tensor:
    """Σ_n values_n exp(‖place − xy_n‖² · inverse_n) on a grid: (B, F, N, K) → (B, F, K, rows, columns).

    A Gaussian in two dimensions is the product of two in one, so this is a matrix product a frame.
    """
    weight_y = gaussian((xy[..., 1].unsqueeze(-2) - ys[:, None]).square() * inverse[..., None, :])
    weight_x = gaussian((xy[..., :1] - xs).square() * inverse[..., None])
    weighted_BFKyN = values.mT.contiguous()[..., None, :] * weight_y[:, :, None]
    field: Tensor = (weighted_BFKyN.flatten(2, 3) @ weight_x).unflatten(2, (values.shape[-1], -1))
    return field


def displacement_at(
    place: Tensor, affinity: AffinityMatrix, xy: Tensor, birth_xy: Tensor, point_weight: Tensor, size: tuple[int, int]
) -> Tensor:
    """The same at single places (B, M, 2) of one frame, points at xy (B, N, 2): (B, M, 2) pixels."""
    field, _ = displacement(affinity, xy[:, None], (point_weight > 0)[:, None], birth_xy, point_weight, size)
    return sampled(field, place[:, None, :, None], size)[:, 0, :, :, 0].mT


def gaussian(exponent: Tensor) -> Tensor:
    """exp, flushed to 0 below `NEGLIGIBLE`: processors are slow at denormal numbers."""
    floor = math.log(NEGLIGIBLE) - 1
    return F.threshold(exponent.clamp(min=floor).exp(), NEGLIGIBLE, 0.0)


def resampled(anchor: Tensor, backward: Tensor) -> Tensor:
    """anchor (B, 3, H, W) resampled by a backward displacement (B, F, 2, h, w) → (B, F, 3, H, W)."""
    batch, frames = backward.shape[:2]
    height, width = anchor.shape[-2:]
    units = backward.flatten(0, 1).float() * (2 / backward.new_tensor([width, height]).float())[:, None, None]
    offset = F.interpolate(units, size=(height, width), mode="bilinear", align_corners=False)
    grid = offset.movedim(1, -1) + pixel_grid(height, width, anchor.device)
    # clips side by side in the batch, each with all its frames
    source = anchor.float().contiguous()[:, None].expand(-1, frames, -1, -1, -1).flatten(0, 1)
    warped = F.grid_sample(source, grid, mode="bilinear", padding_mode="border", align_corners=False)
    result: Tensor = warped.unflatten(0, (batch, frames))
    return result


def pixel_grid(height: int, width: int, device: torch.device) -> Tensor:
    """(H, W, 2) coordinates x, y of every pixel, −1 … 1 from edge to edge of the picture."""
    ys = (torch.arange(height, device=device) + 0.5) * (2 / height) - 1
    xs = (torch.arange(width, device=device) + 0.5) * (2 / width) - 1
    return torch.stack(torch.meshgrid(xs, ys, indexing="xy"), -1)


def warp(
    anchor: Tensor, affinity: AffinityMatrix, xy: Tensor, visible: Tensor, birth_xy: Tensor, point_weight: Tensor
) -> tuple[Tensor, Tensor]:
    """The warped anchor (B, F, 3, H, W) and its support (B, F, 1, H/4, W/4); frames in which nothing moves are it."""
    size = (anchor.shape[-1], anchor.shape[-2])
    backward, support = displacement(affinity, xy, visible, birth_xy, point_weight, size)
    moves = backward.flatten(2).any(-1)[..., None, None, None]
    still = anchor.float()[:, None].expand(-1, xy.shape[1], -1, -1, -1)
    if not moves.any():
        return still, support
    return torch.where(moves, resampled(anchor, backward), still), support
