"""The warped anchor: a picture pulled along the tracks as a first guess of every frame (docs/architecture.md, 6).

The anchor is a picture in which every point has its place. Around each point the picture moves with it; the pull falls
off softly, to standing still where no point speaks. The network then repairs what a warp cannot know (tears,
uncovered ground, light) instead of carrying every texel. Beyond the paper; dropped at random in training.

Legend: B clips, F frames, N points, H W pixels, h w cells of `STRIDE` pixels.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

STRIDE = 4
"""Pixels between the places where the displacement is worked out; between them it is interpolated."""
NEAREST, FARTHEST = 4.0, 20.0
"""Bounds, in pixels, of the radius around a point within which it speaks for its neighbourhood."""
NOTHING = 1e-18
"""Weights below this are 0: no digit of a displacement shows them."""
STILL_WEIGHT = 0.02
"""Weight of standing still against the points' own (1 at a point)."""
LEFT_WEIGHT = 1e-6
"""The same where something has moved away: what lay there is elsewhere now and must not be seen twice, so the ground
behind what left is drawn in after it."""


def radii(birth_xy: Tensor, born: Tensor) -> Tensor:
    """(B, N) radius of each point: 0.7 × the distance to its nearest neighbour at birth, bounded."""
    distance = torch.cdist(birth_xy, birth_xy)
    lonely = ~(born[:, :, None] & born[:, None, :])
    lonely |= torch.eye(born.shape[1], dtype=torch.bool, device=born.device)
    if born.shape[1] == 0:
        return birth_xy.new_zeros(birth_xy.shape[:2])
    return (0.7 * distance.masked_fill(lonely, torch.inf).amin(-1)).clamp(NEAREST, FARTHEST)


def displacement(
    xy: Tensor, visible: Tensor, birth_xy: Tensor, strength: Tensor, size: tuple[int, int]
) -> tuple[Tensor, Tensor]:
    """Where each place's content was in the anchor, relative to the place, and how surely.

    xy (B, F, N, 2), visible (B, F, N): the points now. birth_xy (B, N, 2): where they were in the anchor picture;
    strength (B, N): how loudly they speak, 0 if they were not in it (bool will do). size: (W, H).
    Returns (B, F, 2, H/4, W/4) backward displacement in pixels and (B, F, 1, H/4, W/4) support in [0, 1].
    """
    width, height = size
    rows, columns = height // STRIDE, width // STRIDE
    ys = (torch.arange(rows, device=xy.device) + 0.5) * STRIDE
    xs = (torch.arange(columns, device=xy.device) + 0.5) * STRIDE
    inverse = -0.5 / radii(birth_xy, strength > 0)[:, None].square().clamp(min=1e-6)
    speaks = (visible * strength[:, None].to(xy.dtype))[..., None]
    towards = birth_xy[:, None] - xy
    field = spread(torch.cat([towards, torch.ones_like(speaks)], -1) * speaks, xy, inverse, ys, xs)
    gone = (towards.square().sum(-1, keepdim=True) * -inverse[..., None]).clamp(max=1) * (speaks > 0)
    vacated = spread(gone, birth_xy[:, None].expand_as(xy), inverse, ys, xs).clamp(max=1)
    support = field[:, :, 2:]
    still = STILL_WEIGHT * (1 - vacated) + LEFT_WEIGHT
    return field[:, :, :2] / (support + still), support.clamp(max=1)


def spread(values: Tensor, xy: Tensor, inverse: Tensor, ys: Tensor, xs: Tensor) -> Tensor:
    """Σ_n values_n exp(‖place − xy_n‖² · inverse_n) on a grid: (B, F, N, K) → (B, F, K, rows, columns).

    A Gaussian in two dimensions is the product of two in one, so this is a matrix product a frame.
    """
    weight_y = bell((xy[..., 1:] - ys).square() * inverse[..., None])
    weight_x = bell((xy[..., :1] - xs).square() * inverse[..., None])
    weighted_BFKyN = values.mT[..., None, :] * weight_y.mT[:, :, None]
    field: Tensor = (weighted_BFKyN.flatten(2, 3) @ weight_x).unflatten(2, (values.shape[-1], -1))
    return field


def displacement_at(place: Tensor, xy: Tensor, birth_xy: Tensor, strength: Tensor) -> Tensor:
    """The same field at single places (B, M, 2) of one frame, points at xy (B, N, 2): (B, M, 2) pixels."""
    radius = radii(birth_xy, strength > 0)[:, None, :].clamp(min=1e-3)
    weight = torch.exp(-0.5 * (torch.cdist(place, xy) / radius).square()) * strength[:, None, :]
    return weight @ (birth_xy - xy) / (weight.sum(-1, keepdim=True) + STILL_WEIGHT)


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


def warp(anchor: Tensor, xy: Tensor, visible: Tensor, birth_xy: Tensor, strength: Tensor) -> tuple[Tensor, Tensor]:
    """The warped anchor (B, F, 3, H, W) and its support (B, F, 1, H/4, W/4); frames in which nothing moves are it."""
    backward, support = displacement(xy, visible, birth_xy, strength, (anchor.shape[-1], anchor.shape[-2]))
    moves = backward.flatten(2).any(-1)[..., None, None, None]
    still = anchor.float()[:, None].expand(-1, xy.shape[1], -1, -1, -1)
    if not moves.any():
        return still, support
    return torch.where(moves, pull(anchor, backward), still), support
