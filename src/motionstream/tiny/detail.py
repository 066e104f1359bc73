"""Detail: texture that the tiny VAE loses, restored from the warped anchor (docs/architecture.md, section 7).

Where decoded frames and the warped anchor agree, the warp's pixels are sharper; where something was uncovered, torn or
recoloured, the decoded frames are right. A small network decides for each pixel: it blends the two, adds the warp's
high-frequency texture to decoded colours, and a residual. In holes, where nothing of the picture lands, it takes
nothing of the warp, and smooths the decoded frames over the edges of latent cells. It has no memory, so streamed
frames equal those of the whole clip.
Beyond the paper, and an option: a model without it shows the decoded frames.

Legend: B clips, F frames, C channels, H W pixels, h w cells of `CELL` pixels.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import reduce

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from motionstream.tiny.vae import SPATIAL, FrameBlock, in_cells
from motionstream.tiny.warp import vacancy
from motionstream.vae.steps import LAYOUT, laid_out

CELL = 4
"""Pixels a side of the cells that the network works on."""
SMOOTHED = 5
"""Pixels a side of the box whose mean the fine texture is the difference to."""


@dataclass(frozen=True)
class DetailConfig:
    """width: channels of the network. blocks: residual blocks."""

    width: int = 32
    blocks: int = 1


class Detail(nn.Module):
    """Decoded frames + warped anchor → the frames shown. Untrained, it returns the decoded frames nearly unchanged."""

    def __init__(self, config: DetailConfig) -> None:
        super().__init__()
        self.config = config
        pixels = CELL**2
        self.mix = nn.Conv2d(2 * 3 * pixels + 1, config.width, 3, padding=1)
        self.blocks = nn.Sequential(*(FrameBlock(config.width) for _ in range(config.blocks)))
        self.out = nn.Conv2d(config.width, (2 + 3) * pixels, 1)
        nn.init.zeros_(self.out.weight)
        with torch.no_grad():
            self.out.bias.zero_()  # type: ignore[union-attr]
            self.out.bias[: 2 * pixels] = -3  # type: ignore[index]
        self.to(memory_format=LAYOUT)  # type: ignore[call-overload]

    def forward(self, decoded_BFCHW: Tensor, warped_BFCHW: Tensor, support_BF1hw: Tensor) -> Tensor:
        """All in [−1, 1]; support: point density, below 0 in holes. Returns (B, F, 3, H, W)."""
        # rows after rows: with three channels that is faster than channels last
        decoded, warped = (video.flatten(0, 1).contiguous() for video in (decoded_BFCHW, warped_BFCHW))
        warped = warped.to(decoded.dtype)
        support = support_BF1hw.flatten(0, 1).to(decoded.dtype)
        cells = torch.cat([in_cells(decoded, CELL), in_cells(warped, CELL), support.movedim(1, -1)], -1)
        hidden = self.blocks(F.silu(self.mix(laid_out(cells.movedim(-1, 1)))))
        blend, texture, mend = F.pixel_shuffle(self.out(hidden), CELL).split((1, 1, 3), 1)
        trust = landed(support)
        decoded = torch.lerp(soft(decoded), decoded, trust)
        shown = torch.lerp(decoded, warped, trust * blend.sigmoid()) + mend
        shown = torch.addcmul(shown, trust * texture.sigmoid(), warped - smoothed(warped))
        result: Tensor = shown.unflatten(0, decoded_BFCHW.shape[:2])
        return result


def landed(support_N1hw: Tensor) -> Tensor:
    """1 where the picture lands, 0 in holes, each pixel (N, 1, H, W)."""
    return 1 - F.interpolate(vacancy(support_N1hw), scale_factor=CELL, mode="bilinear", align_corners=False)


def soft(frames_NCHW: Tensor) -> Tensor:
    """Frames reduced to one colour a latent cell and enlarged again: bilinear, as two matrix products."""
    means = F.avg_pool2d(frames_NCHW, SPATIAL)
    down, across = (_interpolation(means, cells) for cells in means.shape[-2:])
    return down.mT @ means @ across


def _interpolation(like: Tensor, cells: int) -> Tensor:
    """(cells, pixels): interpolation weights of cells for the pixels of a row."""
    alone = torch.eye(cells, dtype=like.dtype, device=like.device)[:, None]
    return F.interpolate(alone, scale_factor=SPATIAL, mode="linear", align_corners=False)[:, 0]


def smoothed(frames_NCHW: Tensor) -> Tensor:
    """Each pixel's mean over a box around it; at the border over what is inside.

    Summed over shifted frames, in float32: pooling, with so few channels, takes ten times as long on a CPU.
    """
    inside = torch.ones(frames_NCHW.shape[-2:], device=frames_NCHW.device)
    return (_boxes(frames_NCHW.float()) / _boxes(inside)).to(frames_NCHW.dtype)


def _boxes(x: Tensor) -> Tensor:
    """Sums over the box around each pixel (…, H, W), 0 beyond the border."""
    height, width = x.shape[-2:]
    padded = F.pad(x, (SMOOTHED // 2,) * 4)
    across = reduce(torch.add, (padded[..., shift : shift + width] for shift in range(SMOOTHED)))
    return reduce(torch.add, (across[..., shift : shift + height, :] for shift in range(SMOOTHED)))
