"""Clips to measure on, and synthetic worlds as such clips. Real ones: `clip_folders.py`.

A source has a name and loads its clip when asked, one at a time.

Legend: F frames, N points, H W pixels.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import torch

from motionstream.data import points
from motionstream.data.assets import AssetLibrary
from motionstream.data.layers import Layer
from motionstream.data.synthetic import SyntheticWorlds
from motionstream.evaluate.metrics import Floats, Mask, Video
from motionstream.geometry import Fit
from motionstream.stream.model import fitted
from motionstream.tracks import Tracks
from motionstream.tracks.tracks import IntArray

CELL = 4  # pixels a side of the squares for which it is found out whether frame 0 shows them


@dataclass(frozen=True)
class Skipped:
    """A clip (NAME) or a frame (NAME/FILE) that was left out, and why."""

    name: str
    reason: str


@dataclass(frozen=True)
class Clip:
    """A clip at the model's size.

    video (F, H, W, 3) uint8; object_of (N,) 0 for the ground. uncovered (F, H, W): what frame 0 does not show, None
    where it is not known. exact: the tracks are exact, not a tracker's. skipped: frames that could not be read.
    effect, plot: of a world, its effect and the kind of motion in it (`data.synthetic.World`); else None.
    """

    video: Video
    tracks: Tracks
    caption: str
    object_of: IntArray
    uncovered: Mask | None = None
    exact: bool = True
    skipped: tuple[Skipped, ...] = ()
    effect: str | None = None
    plot: str | None = None

    @property
    def size(self) -> tuple[int, int]:
        """(W, H)."""
        return self.video.shape[2], self.video.shape[1]

    def at(self, size: tuple[int, int]) -> Clip:
        """The same clip filling a frame of another size (W, H); points that fall outside it are not visible."""
        if size == self.size:
            return self
        tracks = self.tracks
        xy = Fit.of(self.size, size).to_frame(tracks.xy)
        inside = ((xy >= 0) & (xy < size)).all(-1)
        moved = Tracks(xy.astype(np.float32), tracks.visible & inside, tracks.ids)
        shown = None if self.uncovered is None else resized(_as_video(self.uncovered), size)[..., 0] > 127
        return replace(self, video=resized(self.video, size), tracks=moved, uncovered=shown)


@dataclass(frozen=True)
class Source:
    """A clip that is read when it is needed. load raises Unusable with the reason when it cannot be measured."""

    name: str
    load: Callable[[], Clip]


def worlds(
    library: AssetLibrary, size: tuple[int, int], frames: int, seed: int, count: int, variety: float = 0.0
) -> list[Source]:
    """The first `count` synthetic worlds of a seed. Raises ValueError unless size and frames fit."""
    made = SyntheticWorlds(library, size=size, frames=frames, seed=seed, variety=variety)

    def clip(index: int) -> Clip:
        world = made.world(index)
        tracks, object_of = made.tracks(world, index)
        video = world.render(made.device).permute(0, 2, 3, 1).cpu().numpy()
        new = uncovered(world.layers, size, frames)
        return Clip(video, tracks, world.caption, object_of, new, effect=world.effect, plot=world.plot)

    return [Source(f"world-{index:03d}", partial(clip, index)) for index in range(count)]


def uncovered(layers: Sequence[Layer], size: tuple[int, int], frames: int) -> Mask:
    """(F, H, W) what each frame of a world shows and frame 0 does not.

    For the middle of every cell of 4 × 4 pixels: the surface there is traced back to frame 0 by its exact map, and is
    new if it was outside the frame or behind something nearer then.
    """
    width, height = size
    rows, columns = -(-height // CELL), -(-width // CELL)
    x, y = np.meshgrid(np.arange(columns), np.arange(rows))
    middles: Floats = CELL * (np.stack([x, y], -1).reshape(-1, 2) + np.float64(0.5))
    opening = [replace(layer, placement=layer.placement.at(torch.tensor([0]))) for layer in layers]
    new = np.zeros((frames, rows, columns), bool)
    for frame in range(1, frames):
        there = points.on_frame(layers, frame, middles)
        new[frame] = ~points.trace(opening, there, size)[1][0].reshape(rows, columns)
    return new.repeat(CELL, 1).repeat(CELL, 2)[:, :height, :width]


def resized(video: Video, size: tuple[int, int]) -> Video:
    """(F, H, W, 3) filling frames of (W, H), margins cut off."""
    return video if (video.shape[2], video.shape[1]) == size else np.stack([fitted(frame, size)[0] for frame in video])


def evenly(count: int, most: int) -> IntArray:
    """Which of `count` frames to keep: at most `most`, the first, the last and even steps between (paper, protocol)."""
    return np.linspace(0, count - 1, min(count, most)).round().astype(np.int64)


def _as_video(mask: Mask) -> Video:
    """(F, H, W) → (F, H, W, 3), 0 or 255."""
    return np.repeat(mask[..., None].astype(np.uint8) * np.uint8(255), 3, axis=-1)
