"""Tracks that are released as in a live stream: released points leave the tracks."""

from __future__ import annotations

from typing import Any

import numpy as np

from motionstream.evaluate.baselines import Generate
from motionstream.evaluate.metrics import Video
from motionstream.stream.offline import Steps, play
from motionstream.tracks import Tracks


def releasing(model: Any) -> Generate:
    """A generator from a model of the public contract that releases points as a hand does.

    Points that are not visible any more are held to the end of the chunk and are then no longer in the tracks.
    """

    def generate(first: Video, tracks: Tracks, caption: str, seed: int) -> Video:
        stream = _Releasing(model.open(first, prompt=caption, seed=seed), tracks)
        return np.concatenate(list(play(stream, tracks, tracks.frames)))

    return generate


class _Releasing:
    """A stream that is given only the points that are still visible, in this chunk or later."""

    def __init__(self, stream: Steps, tracks: Tracks) -> None:
        self.stream, self.done = stream, 0
        self.last = tracks.frames - 1 - tracks.visible[::-1].argmax(0)

    @property
    def chunk_frames(self) -> int:
        return self.stream.chunk_frames

    def step(self, tracks: Tracks | None) -> Video:
        begin, self.done = self.done, self.done + self.chunk_frames
        if tracks is None:
            return self.stream.step(None)
        last = np.clip(self.last - begin, 0, tracks.frames - 1)
        after = np.arange(tracks.frames)[:, None] > last
        xy = np.where(after[..., None], tracks.xy[last, np.arange(tracks.points)], tracks.xy)
        return self.stream.step(Tracks(xy, tracks.visible | after, tracks.ids).select(self.last >= begin))
