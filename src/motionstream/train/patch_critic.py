"""PatchGAN: a critic (discriminator) that scores a video patch by patch (Isola et al., CVPR 2017; paper Appendix A).

Its convolutions are over space and time, so that flicker is seen as well as blur. Its field of view is about 50 × 50
pixels and a dozen frames; each score is of the clip around its place. Hinge loss, without limits on its weights.

Legend: B clips, F frames, H W pixels, t h w patches.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

GROUPS = 4  # of channels that are normalised together: batches are too small for statistics of their own


class PatchCritic(nn.Module):
    """Frames (B, F, 3, H, W) in [−1, 1] → scores (B, t, h, w), above 0 for real.

    width: channels of its first layer. Raises ValueError for a width that is no multiple of 4.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        if width < GROUPS or width % GROUPS:
            raise ValueError(f"a critic {width} channels wide: must be a positive multiple of {GROUPS}")
        self.layers = nn.Sequential(
            nn.Conv3d(3, width, (3, 4, 4), (1, 2, 2), padding=1),
            nn.LeakyReLU(0.2),
            *halving(width, 2 * width),
            *halving(2 * width, 4 * width),
            nn.Conv3d(4 * width, 1, 3, padding=1),
        )

    def forward(self, video: Tensor) -> Tensor:
        judged: Tensor = self.layers(video.transpose(1, 2)).squeeze(1)
        return judged


def halving(inner: int, outer: int) -> list[nn.Module]:
    """Half the frames, half the height and width."""
    return [nn.Conv3d(inner, outer, (3, 4, 4), 2, padding=1), nn.GroupNorm(GROUPS, outer), nn.LeakyReLU(0.2)]


def critic_loss(real: Tensor, made: Tensor) -> Tensor:
    """Hinge: scores of real clips above 1, of made ones below −1, and no further."""
    return (F.relu(1 - real) + F.relu(1 + made)).mean() / 2


def maker_loss(made: Tensor) -> Tensor:
    """The generator's loss of the critic's scores of its clips."""
    return -made.mean()


def balance(wanted: Tensor, given: Tensor, last: nn.Parameter) -> Tensor:
    """The weight that gives `given` as large a gradient at the last layer as `wanted` has (Esser et al., CVPR 2021)."""
    strong, weak = (torch.autograd.grad(loss, last, retain_graph=True)[0].norm() for loss in (wanted, given))
    weight: Tensor = (strong / (weak + 1e-6)).clamp(max=1e4).detach()
    return weight
