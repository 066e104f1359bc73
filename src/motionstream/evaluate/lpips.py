"""LPIPS of two videos, frame by frame; the network is in `vae.lpips`, where training reads it too."""

from __future__ import annotations

import torch

from motionstream.evaluate.metrics import Video, unit_frames
from motionstream.lpips import LpipsNetwork

TOGETHER = 16  # frames of a video that are compared at once


class Lpips(LpipsNetwork):
    """Perceptual distance of two pictures, and the mean of two videos."""

    @torch.no_grad()
    def video(self, made: Video, true: Video) -> float:
        """Mean over the frames after the first of two (F, H, W, 3) uint8 videos."""
        parts = [slice(begin, begin + TOGETHER) for begin in range(1, len(true), TOGETHER)]
        distances = [self(*(unit_frames(video[part]) * 2 - 1 for video in (made, true))) for part in parts]
        return float(torch.cat(distances).mean())
