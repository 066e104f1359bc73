"""Ground-truth tracks: points on what a frame shows, moved by their layer's map, occluded by nearer layers.

Legend: F frames, N points. A point is on one layer and has one local position for the whole clip.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from motionstream.data.layers import Layer
from motionstream.data.motion import Array
from motionstream.tracks.tracks import IntArray, Tracks

COVERS = 0.5  # alpha from which on a nearer layer occludes a point
OPAQUE = 0.9  # least alpha of a texture where a point is put on it
GRID_SHARE, OBJECT_SHARE, LATE_SHARE = 0.5, 0.25, 0.2
LATE_FRAMES = 3  # later frames in which points are born
LATE_TRIES = 8  # positions tried for each of them: most are of something visible before


class Points(NamedTuple):
    """layer: (N,) index into the world's layers. local: (N, 2). born: (N,) its first frame."""

    layer: IntArray
    local: Array
    born: IntArray

    def pick(self, chosen: IntArray) -> Points:
        return Points(self.layer[chosen], self.local[chosen], self.born[chosen])

    @classmethod
    def join(cls, parts: Sequence[Points]) -> Points:
        return cls(*map(np.concatenate, zip(*parts, strict=True)))


def follow(
    layers: Sequence[Layer], size: tuple[int, int], count: int, rng: np.random.Generator
) -> tuple[Tracks, IntArray]:
    """Tracks of `count` points of a world and (count,) the number of the layer each lies on.

    Half start on a jittered grid of frame 0, a quarter on the objects of frame 0, up to a fifth are born later, on
    what frame 0 did not show; the rest are anywhere in frame 0. `visible` is exact: inside the frame, born, and not
    occluded.
    """
    frames = layers[0].placement.frames
    grid = on_frame(layers, 0, _jittered_grid(size, int(count * GRID_SHARE), rng))
    objects = _on_objects(layers, int(count * OBJECT_SHARE), rng)
    late = _later(layers, size, rng, int(count * LATE_SHARE))
    spare = on_frame(layers, 0, rng.uniform(0, size, (count - len(grid.born), 2)))
    parts = [grid, objects, late, spare]
    points = Points.join(parts)
    xy, shown = trace(layers, points, size)
    kind = np.repeat(np.arange(4), [len(part.born) for part in parts])
    chosen = rng.permutation(_select(kind, shown, points.born, count))
    born = np.arange(frames)[:, None] >= points.born[chosen]
    tracks = Tracks(xy[:, chosen].astype(np.float32), shown[:, chosen] & born)
    numbers = np.array([layer.number for layer in layers])
    return tracks, numbers[points.layer[chosen]]


def trace(
    layers: Sequence[Layer], points: Points, size: tuple[int, int]
) -> tuple[Array, np.ndarray[tuple[int, int], np.dtype[np.bool_]]]:
    """(F, N, 2) exact positions and (F, N) whether each is inside the frame and not occluded."""
    frames = layers[0].placement.frames
    xy = torch.empty(frames, len(points.born), 2, dtype=torch.float64)
    hidden = torch.zeros(frames, len(points.born), dtype=torch.bool)
    owner = torch.from_numpy(points.layer)
    for index, layer in enumerate(layers):
        mine = owner == index
        xy[:, mine] = layer.placement.forward(torch.from_numpy(points.local)[mine])
        behind = owner < index
        # Layers are far to near, so the positions of all points behind this one are known by now.
        if layer.solid and index and behind.any():
            hidden[:, behind] |= layer.alpha_at(xy[:, behind]) > COVERS
    inside = ((xy >= 0) & (xy < torch.tensor(size))).all(-1)
    return xy.numpy(), (inside & ~hidden).numpy()


def _select(kind: IntArray, shown: np.ndarray, born: IntArray, count: int) -> IntArray:
    """Indices of `count` points: the grid, then visible object points and true late births, then spares."""
    at = np.arange(len(kind))
    grid = at[kind == 0]
    objects = at[(kind == 1) & shown[0]][: int(count * OBJECT_SHARE)]
    late = at[(kind == 2) & shown[born, at]]
    chosen = np.concatenate([grid, objects, late])
    return np.concatenate([chosen, at[kind == 3][: count - len(chosen)]])


def _jittered_grid(size: tuple[int, int], count: int, rng: np.random.Generator) -> Array:
    """At most `count` positions on a grid of square cells over the frame, each anywhere in its cell."""
    columns = max(1, int(np.sqrt(count * size[0] / size[1])))
    rows = max(1, count // columns)
    cells = np.stack(np.meshgrid(np.arange(columns), np.arange(rows)), -1).reshape(-1, 2)
    return np.asarray((cells + rng.random(cells.shape)) * np.array(size) / (columns, rows))


def on_frame(layers: Sequence[Layer], frame: int, xy: Array) -> Points:
    """Points on whatever frame `frame` shows at (N, 2) xy."""
    owner = np.zeros(len(xy), np.int64)
    local = np.zeros((len(xy), 2))
    at = torch.from_numpy(xy)[None]
    for index, layer in enumerate(layers):
        placement = layer.placement.at(torch.tensor([frame]))
        if not layer.solid:
            continue
        here = (layer.alpha_at(at, placement) > COVERS)[0].numpy()
        local[here] = torch.stack(placement.inverse(at[..., 0], at[..., 1]), -1)[0].numpy()[here]
        owner[here] = index
    return Points(owner, local, np.full(len(xy), frame))


def _on_objects(layers: Sequence[Layer], count: int, rng: np.random.Generator) -> Points:
    """Twice `count` points shared evenly among the objects, on opaque parts of each, visible or not."""
    objects = [index for index, layer in enumerate(layers) if layer.solid and index]
    each = 2 * count // max(1, len(objects))
    parts = [Points(np.zeros(0, np.int64), np.zeros((0, 2)), np.zeros(0, np.int64))]
    for index in objects:
        local = _opaque_positions(layers[index].texture, each, rng)
        parts.append(Points(np.full(len(local), index), local, np.zeros(len(local), np.int64)))
    joined = Points.join(parts)
    return joined.pick(rng.permutation(len(joined.born)))


def _opaque_positions(texture: Tensor, count: int, rng: np.random.Generator) -> Array:
    """(≤ count, 2) random local positions where the texture is opaque."""
    rows, columns = (texture[3] > OPAQUE).numpy().nonzero()
    if not len(rows):
        return np.zeros((0, 2))
    drawn = rng.integers(len(rows), size=count)
    height, width = texture.shape[1:]
    return np.stack([columns[drawn] + 0.5 - width / 2, rows[drawn] + 0.5 - height / 2], -1)


def _later(layers: Sequence[Layer], size: tuple[int, int], rng: np.random.Generator, count: int) -> Points:
    """At most `count` points on what a few later frames show and frame 0 does not."""
    frames = layers[0].placement.frames
    births = rng.integers(1, frames, LATE_FRAMES) if frames > 1 else np.zeros(LATE_FRAMES, np.int64)
    each = LATE_TRIES * count // LATE_FRAMES
    tried = [on_frame(layers, int(birth), rng.uniform(0, size, (each, 2))) for birth in births]
    candidates = Points.join(tried)
    opening = [replace(layer, placement=layer.placement.at(torch.tensor([0]))) for layer in layers]
    new = np.flatnonzero(~trace(opening, candidates, size)[1][0])
    return candidates.pick(rng.permutation(new)[:count])
