"""Generators: the model under test, and the two baselines it must beat.

All have one form: (first frame (H, W, 3) uint8, tracks, caption, seed) → (F, H, W, 3) uint8.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from motionstream.evaluate.metrics import Video
from motionstream.stream.offline import play
from motionstream.tiny import warp as warped_anchor
from motionstream.tiny.affinity import affinity
from motionstream.tracks import Tracks
from motionstream.vae.pixels import from_image, to_frames

Generate = Callable[[Video, Tracks, str, int], Video]


def by_model(model: Any) -> Generate:
    """A generator from a model of the public contract (`model.open(...)`, `stream.step(tracks)`)."""

    def generate(first: Video, tracks: Tracks, caption: str, seed: int) -> Video:
        stream = model.open(first, prompt=caption, seed=seed)
        return np.concatenate(list(play(stream, tracks, tracks.frames)))

    return generate


def generated(generate: Generate, first: Video, given: Tracks, caption: str, seed: int) -> Video:
    """What a generator makes of these tracks. Raises ValueError on a video of another shape or type."""
    video = generate(first, given, caption, seed)
    wanted = (given.frames, *first.shape)
    if video.shape != wanted or video.dtype != np.uint8:
        raise ValueError(f"generated {video.dtype} of shape {video.shape}: send uint8 of shape {wanted}")
    return video


def still(first: Video, tracks: Tracks, caption: str = "", seed: int = 0) -> Video:
    """The first frame, for as long as the tracks last."""
    return np.repeat(first[None], tracks.frames, axis=0)


@torch.no_grad()
def warp(first: Video, tracks: Tracks, caption: str = "", seed: int = 0) -> Video:
    """The first frame warped by the tracks, with a soft fall-off to no motion between them.

    Points that appear later are left out: the first frame does not show them.
    """
    picture = from_image(first)[0]
    frames, affinities = [picture], affinity(picture)
    xy, visible = torch.tensor(tracks.xy)[None], torch.tensor(tracks.visible)[None]
    for frame in range(1, tracks.frames):
        span = slice(frame, frame + 1)
        warped, _ = warped_anchor.warp(picture, affinities, xy[:, span], visible[:, span], xy[:, 0], visible[:, 0])
        frames.append(warped[:, 0])
    return to_frames(torch.cat(frames))
