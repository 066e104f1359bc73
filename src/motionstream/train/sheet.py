"""Sample sheets: rows of frames in one picture."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from einops import rearrange
from torch import Tensor

from motionstream.train.stage import Image


def rows(videos: Sequence[Tensor]) -> Image:
    """Clips (F, 3, H, W) uint8 of one size → one picture, a clip a row. Shorter rows are filled with black."""
    most = max(video.shape[0] for video in videos)
    lines = []
    for video in videos:
        frames = rearrange(video.cpu().numpy(), "f c h w -> h f w c")
        padded = np.pad(frames, ((0, 0), (0, most - frames.shape[1]), (0, 0), (0, 0)))
        lines.append(rearrange(padded, "h f w c -> h (f w) c"))
    sheet: Image = np.concatenate(lines)
    return sheet
