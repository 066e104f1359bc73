"""The warped anchor: a picture pulled along the tracks, as a first guess of every frame (design section 6).

The anchor is the frame in which the points were born. Around each point the picture moves with it; the pull falls
off softly, to standing still where no point speaks. The network then repairs what a warp cannot know (tears,
uncovered ground, light) instead of carrying every texel. Beyond the paper; dropped at random in training.

Legend: B clips, F frames, N points, H W pixels, h w cells of `STRIDE` pixels.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

STRIDE = 4
"""Pixels between the places where the displacement is worked out; between them it is interpolated."""
NEAREST, FARTHEST = 4.0, 20.0
"""Bounds, in pixels, of the radius around a point within which it speaks for its neighbourhood."""
STILL_WEIGHT = 0.02
"""Weight of standing still against the points' own (1 at a point)."""


def radii(birth_xy: Tensor, born: Tensor) -> Tensor:
    """(B, N) radius of each point: 0.7 × the distance to its nearest neighbour at birth, bounded."""
    distance = torch.cdist(birth_xy, birth_xy)
    lonely = ~(born[:, :, None] & born[:, None, :])
    lonely |= torch.eye(born.shape[1], dtype=torch.bool, device=born.device)
    if born.shape[1] == 0:
        return birth_xy.new_zeros(birth_xy.shape[:2])
    return (0.7 * distance.masked_fill(lonely, torch.inf).amin(-1)).clamp(NEAREST, FARTHEST)


def displacement(
    xy: Tensor, visible: Tensor, birth_xy: Tensor, born: Tensor, size: tuple[int, int]
) -> tuple[Tensor, Tensor]:
    """Where each place's content was in the anchor, relative to the place, and how surely.

    xy (B, F, N, 2), visible (B, F, N): the points now. birth_xy (B, N, 2), born (B, N): where they were in the
    anchor picture, and whether they were in it. size: (W, H).
    Returns (B, F, 2, H/4, W/4) backward displacement in pixels and (B, F, 1, H/4, W/4) support in [0, 1].
    """
    width, height = size
    rows, columns = height // STRIDE, width // STRIDE
    ys = (torch.arange(rows, device=xy.device) + 0.5) * STRIDE
    xs = (torch.arange(columns, device=xy.device) + 0.5) * STRIDE
    inverse = -0.5 / radii(birth_xy, born)[:, None, :, None].square().clamp(min=1e-6)
    # a Gaussian in two dimensions is the product of two in one: (B, F, N, rows) × (B, F, N, columns)
    weight_y = torch.exp((xy[..., 1:] - ys).square() * inverse)
    weight_x = torch.exp((xy[..., :1] - xs).square() * inverse)
    speaks = (visible & born[:, None]).to(xy.dtype)[..., None]
    pull = torch.cat([birth_xy[:, None] - xy, torch.ones_like(speaks)], -1) * speaks
    field = torch.einsum("bfnk,bfny,bfnx->bfkyx", pull, weight_y, weight_x)
    support = field[:, :, 2:]
    return field[:, :, :2] / (support + STILL_WEIGHT), support.clamp(max=1)


def pull(anchor: Tensor, backward: Tensor) -> Tensor:
    """anchor (B, 3, H, W) seen through a backward displacement (B, F, 2, h, w) → (B, F, 3, H, W)."""
    batch, frames = backward.shape[:2]
    height, width = anchor.shape[-2:]
    offset = F.interpolate(backward.flatten(0, 1).float(), size=(height, width), mode="bilinear", align_corners=False)
    ys = torch.arange(height, device=anchor.device) + 0.5
    xs = torch.arange(width, device=anchor.device) + 0.5
    x = (offset[:, 0] + xs) * (2 / width) - 1
    y = (offset[:, 1] + ys[:, None]) * (2 / height) - 1
    # clips side by side in the batch, each with all its frames
    source = anchor.float()[:, None].expand(-1, frames, -1, -1, -1).flatten(0, 1)
    warped = F.grid_sample(source, torch.stack([x, y], -1), mode="bilinear", padding_mode="border", align_corners=False)
    result: Tensor = warped.unflatten(0, (batch, frames))
    return result


def warp(anchor: Tensor, xy: Tensor, visible: Tensor, birth_xy: Tensor, born: Tensor) -> tuple[Tensor, Tensor]:
    """The warped anchor (B, F, 3, H, W) and its support (B, F, 1, H/4, W/4)."""
    backward, support = displacement(xy, visible, birth_xy, born, (anchor.shape[-1], anchor.shape[-2]))
    return pull(anchor, backward), support
