"""What a model must beat: standing still, and pulling the first frame along the tracks.

Both have the form of every generator that is measured:
(first frame (H, W, 3) uint8, tracks, caption, seed) → (F, H, W, 3) uint8.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch

from motionstream.evaluate.metrics import Video
from motionstream.tiny import warp as warped_anchor
from motionstream.tiny.affinity import affinity
from motionstream.tracks import Tracks
from motionstream.vae.pixels import from_image, to_frames

Generate = Callable[[Video, Tracks, str, int], Video]


def still(first: Video, tracks: Tracks, caption: str = "", seed: int = 0) -> Video:
    """The first frame, for as long as the tracks last."""
    return np.repeat(first[None], tracks.frames, axis=0)


@torch.no_grad()
def warp(first: Video, tracks: Tracks, caption: str = "", seed: int = 0) -> Video:
    """The first frame pulled along the tracks, with a soft fall-off to standing still between them.

    Points born later say nothing about the first frame and are left out.
    """
    picture = from_image(first)[0]
    frames, hangs = [picture], affinity(picture)
    xy, visible = torch.tensor(tracks.xy)[None], torch.tensor(tracks.visible)[None]
    for frame in range(1, tracks.frames):
        span = slice(frame, frame + 1)
        warped, _ = warped_anchor.warp(picture, hangs, xy[:, span], visible[:, span], xy[:, 0], visible[:, 0])
        frames.append(warped[:, 0])
    return to_frames(torch.cat(frames))
