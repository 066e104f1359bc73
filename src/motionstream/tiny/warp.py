"""The warped anchor: a picture pulled along the tracks as a first guess of every frame (docs/architecture.md, 6).

The anchor is a picture in which every point has its place. Around each point the picture moves with it, and what hangs
together with its place comes along (`bonds`): the pull falls off softly within a thing and quickly at its edge, to
standing still where no point speaks. The network then repairs what a warp cannot know (tears, uncovered ground, light)
instead of carrying every texel. Beyond the paper; dropped at random in training.

Legend: B clips, F frames, N points, H W pixels, h w cells of `STRIDE` pixels.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from motionstream.tiny.affinity import AffinityMatrix

STRIDE = 4
"""Pixels between the places where the displacement is worked out; between them it is interpolated."""
NEAREST, FARTHEST = 4.0, 20.0
"""Bounds, in pixels, of the radius around a point within which it speaks for its neighbourhood."""
NOTHING = 1e-18
"""Weights below this are 0: no digit of a displacement shows them."""
TOGETHER_WEIGHT = 0.01
"""Weight, beside 1 at a point, of what surely belongs together with its place, however far away."""
STILL_WEIGHT = 0.002
"""Weight of standing still against the points' own."""
VACANT_WEIGHT = 0.03
"""Weight, where little of the picture has landed, of the movement of what lay there: it is elsewhere now and must not
be seen twice, so the ground behind what left is drawn in after it."""
CORRECTIONS = 2
"""How often what the mean takes from the points' own moves is given back, so that they arrive and pins stay."""
LANDING = 0.6 * STRIDE
"""Pixels over which a moved cell is spread where it lands."""
VACANT_SHARE = 0.5
"""Share of what lands at a place while nothing moves, below which the place is somewhat vacant."""
ROUNDS, NEAR = 2, 4.0
"""The landing is corrected so often, by no more than so many pixels: it is that of whole cells."""


def radii(birth_xy: Tensor, born: Tensor) -> Tensor:
    """(B, N) radius of each point: 0.7 × the distance to its nearest neighbour at birth, bounded."""
    distance = torch.cdist(birth_xy, birth_xy)
    lonely = ~(born[:, :, None] & born[:, None, :])
    lonely |= torch.eye(born.shape[1], dtype=torch.bool, device=born.device)
    if born.shape[1] == 0:
        return birth_xy.new_zeros(birth_xy.shape[:2])
    return (0.7 * distance.masked_fill(lonely, torch.inf).amin(-1)).clamp(NEAREST, FARTHEST)


def displacement(
    affinity: AffinityMatrix, xy: Tensor, visible: Tensor, birth_xy: Tensor, strength: Tensor, size: tuple[int, int]
) -> tuple[Tensor, Tensor]:
    """Where each place's content was in the anchor, relative to the place, and how surely.

    bonds: of the anchor picture. xy (B, F, N, 2), visible (B, F, N): the points now. birth_xy (B, N, 2):
    where they were in the anchor picture; strength (B, N): how loudly they speak, 0 if they were not in it (bool will
    do). size: (W, H). Returns (B, F, 2, H/4, W/4) backward displacement in pixels and (B, F, 1, H/4, W/4) support:
    0 … 1 by how near points are, each within its radius, and down to −1 where nothing of the picture lands: what is to
    be seen there, nobody knows.
    """
    ys, xs = axes(size, xy.device)
    inverse = -0.5 / radii(birth_xy, strength > 0).square().clamp(min=1e-6)
    speaks = (visible * strength[:, None].to(xy.dtype))[..., None]
    support = spread(speaks, xy, inverse[:, None], ys, xs).clamp(max=1)
    forward, sure = movement(affinity, (xy - birth_xy[:, None]) * speaks, speaks, birth_xy, inverse, size)
    backward, vacant = inverted(forward, sure, size)
    return backward, support * (1 - vacant) - vacant


def vacancy(support: Tensor) -> Tensor:
    """Of a support (any shape): 1 where nothing of the picture lands, 0 where it does."""
    return (-support).clamp(min=0)


def axes(size: tuple[int, int], device: torch.device) -> tuple[Tensor, Tensor]:
    """y and x of the places where the displacement is worked out, in pixels."""
    ys, xs = ((torch.arange(side // STRIDE, device=device) + 0.5) * STRIDE for side in reversed(size))
    return ys, xs


def middles(size: tuple[int, int], device: torch.device) -> Tensor:
    """(h, w, 2) those places, x and y in pixels."""
    ys, xs = axes(size, device)
    return torch.stack(torch.meshgrid(xs, ys, indexing="xy"), -1)


def movement(
    affinity: AffinityMatrix, moves: Tensor, speaks: Tensor, birth_xy: Tensor, inverse: Tensor, size: tuple[int, int]
) -> tuple[Tensor, Tensor]:
    """Where each place of the anchor picture goes: the mean of the points' moves (B, F, N, 2) and of standing still.

    A point weighs as much as a place is near (its own Gaussian, −1 / 2 r² in `inverse` (B, N)) and belongs together
    with where it was born. Returns (B, F, 2, h, w) pixels and (B, F, 1, h, w) the points' share of the weight.
    """
    ys, xs = axes(size, moves.device)
    near_y, near_x = (
        bell((born[..., None] - at).square() * inverse[..., None])
        for born, at in ((birth_xy[..., 1], ys), (birth_xy[..., 0], xs))
    )
    near = (near_y[..., :, None] * near_x[..., None, :]).flatten(2)
    places = middles(size, moves.device).flatten(0, 1).expand(len(birth_xy), -1, -1)
    weight = near + TOGETHER_WEIGHT * affinity.together(birth_xy, places, size)
    near = bell(torch.cdist(birth_xy, birth_xy).square() * inverse[..., None])
    among = near + TOGETHER_WEIGHT * affinity.together(birth_xy, birth_xy, size)
    given = moves
    for _ in range(CORRECTIONS):
        given = given + moves - _mean(given, speaks, among)[0] * speaks
    mean, share = _mean(given, speaks, weight)
    grid = (len(ys), len(xs))
    return mean.mT.unflatten(-1, grid), share.mT.unflatten(-1, grid)


def _mean(moves: Tensor, speaks: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
    """The mean of moves (B, F, N, 2) and of standing still at M places, weighed by (B, N, M): (B, F, M, 2), and the
    moves' share of the weight (B, F, M, 1)."""
    values = torch.cat([moves, speaks], -1).movedim(2, -1).flatten(1, 2)
    sums = (values @ weight).unflatten(1, (moves.shape[1], 3)).mT
    total = sums[..., 2:] + STILL_WEIGHT
    return sums[..., :2] / total, sums[..., 2:] / total


def inverted(forward: Tensor, sure: Tensor, size: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """From where everything goes (B, F, 2, h, w), with the weight it has where it lands (B, F, 1, h, w), to where every
    place's content came from, relative to the place; and how vacant the place is (B, F, 1, h, w), 0 … 1.

    Cells land and are spread a little; what moved covers what stands still. Where nothing lands, the movement of what
    lay there holds: with it one looks past the thing that left, at the ground behind it.
    """
    ys, xs = axes(size, forward.device)
    places = middles(size, forward.device).movedim(-1, 0)
    landing = (places + forward).flatten(3).mT
    values = torch.cat([-forward * sure, sure, torch.ones_like(sure)], 2).flatten(3).mT
    width = forward.new_full((1, 1, 1), -0.5 / LANDING**2)
    landed = spread(values, landing, width, ys, xs)
    backward = (landed[:, :, :2] - VACANT_WEIGHT * forward) / (landed[:, :, 2:3] + VACANT_WEIGHT)
    # a place out of all bounds lands nowhere
    vacant = (1 - landed[:, :, 3:] / (VACANT_SHARE * _at_rest(ys, xs))).nan_to_num(nan=1.0).clamp(min=0)
    for _ in range(ROUNDS):
        again = -sampled(forward, (places + backward).movedim(2, -1), size)
        close = (again - backward).square().sum(2, keepdim=True) < NEAR**2
        backward = torch.where(close, again, backward)
    return backward, vacant


def _at_rest(ys: Tensor, xs: Tensor) -> Tensor:
    """(h, w) how much lands at every place while nothing moves."""
    down, across = (bell((at[:, None] - at).square() * (-0.5 / LANDING**2)).sum(0) for at in (ys, xs))
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
    weight_y = bell((xy[..., 1].unsqueeze(-2) - ys[:, None]).square() * inverse[..., None, :])
    weight_x = bell((xy[..., :1] - xs).square() * inverse[..., None])
    weighted_BFKyN = values.mT.contiguous()[..., None, :] * weight_y[:, :, None]
    field: Tensor = (weighted_BFKyN.flatten(2, 3) @ weight_x).unflatten(2, (values.shape[-1], -1))
    return field


def displacement_at(
    place: Tensor, affinity: AffinityMatrix, xy: Tensor, birth_xy: Tensor, strength: Tensor, size: tuple[int, int]
) -> Tensor:
    """The same at single places (B, M, 2) of one frame, points at xy (B, N, 2): (B, M, 2) pixels."""
    field, _ = displacement(affinity, xy[:, None], (strength > 0)[:, None], birth_xy, strength, size)
    return sampled(field, place[:, None, :, None], size)[:, 0, :, :, 0].mT


def bell(exponent: Tensor) -> Tensor:
    """exp, with 0 where it is next to nothing: processors are slow at numbers near float32's smallest."""
    floor = math.log(NOTHING) - 1
    return F.threshold(exponent.clamp(min=floor).exp(), NOTHING, 0.0)


def pull(anchor: Tensor, backward: Tensor) -> Tensor:
    """anchor (B, 3, H, W) seen through a backward displacement (B, F, 2, h, w) → (B, F, 3, H, W)."""
    batch, frames = backward.shape[:2]
    height, width = anchor.shape[-2:]
    units = backward.flatten(0, 1).float() * (2 / backward.new_tensor([width, height]).float())[:, None, None]
    offset = F.interpolate(units, size=(height, width), mode="bilinear", align_corners=False)
    grid = offset.movedim(1, -1) + own_places(height, width, anchor.device)
    # clips side by side in the batch, each with all its frames
    source = anchor.float().contiguous()[:, None].expand(-1, frames, -1, -1, -1).flatten(0, 1)
    warped = F.grid_sample(source, grid, mode="bilinear", padding_mode="border", align_corners=False)
    result: Tensor = warped.unflatten(0, (batch, frames))
    return result


def own_places(height: int, width: int, device: torch.device) -> Tensor:
    """(H, W, 2) coordinates x, y of every pixel, −1 … 1 from edge to edge of the picture."""
    ys = (torch.arange(height, device=device) + 0.5) * (2 / height) - 1
    xs = (torch.arange(width, device=device) + 0.5) * (2 / width) - 1
    return torch.stack(torch.meshgrid(xs, ys, indexing="xy"), -1)


def warp(
    anchor: Tensor, affinity: AffinityMatrix, xy: Tensor, visible: Tensor, birth_xy: Tensor, strength: Tensor
) -> tuple[Tensor, Tensor]:
    """The warped anchor (B, F, 3, H, W) and its support (B, F, 1, H/4, W/4); frames in which nothing moves are it."""
    size = (anchor.shape[-1], anchor.shape[-2])
    backward, support = displacement(affinity, xy, visible, birth_xy, strength, size)
    moves = backward.flatten(2).any(-1)[..., None, None, None]
    still = anchor.float()[:, None].expand(-1, xy.shape[1], -1, -1, -1)
    if not moves.any():
        return still, support
    return torch.where(moves, pull(anchor, backward), still), support
