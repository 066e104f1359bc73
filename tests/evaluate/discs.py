"""Clips with exact tracks, drawn here: a textured disc that moves over a still ground."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from motionstream.evaluate.clips import Clip, Source
from motionstream.evaluate.metrics import Video
from motionstream.tracks import Tracks

WIDTH, HEIGHT, FRAMES = 128, 96, 9


def texture(x: npt.NDArray[np.float64], y: npt.NDArray[np.float64], seed: int) -> npt.NDArray[np.float64]:
    """A smooth picture without end, 0…255, three channels."""
    rng = np.random.default_rng(seed)
    waves = rng.uniform(-0.5, 0.5, (3, 6, 2))
    phases = rng.uniform(0, 6.3, (3, 6))
    channels = [
        128 + 20 * sum(np.sin(a * x + b * y + p) for (a, b), p in zip(w, ps, strict=True))
        for w, ps in zip(waves, phases, strict=True)
    ]
    return np.stack(channels, -1)


def clip(seed: int, speed: tuple[float, float] = (3.0, 1.5)) -> Clip:
    """A disc with its own texture that moves over a still ground; tracks on both."""
    y, x = np.mgrid[:HEIGHT, :WIDTH] + 0.5
    ground = texture(x, y, seed)
    centre, radius = np.array([44.0, 40.0]), 26.0
    grid = np.stack(np.meshgrid(np.arange(12, WIDTH, 8), np.arange(12, HEIGHT - 8, 8)), -1).reshape(-1, 2) + 0.5
    on = np.linalg.norm(grid - centre, axis=-1) < radius - 2
    frames, places, seen, discs = [], [], [], []
    for frame in range(FRAMES):
        move = frame * np.array(speed)
        disc = np.hypot(x - centre[0] - move[0], y - centre[1] - move[1]) < radius
        frames.append(np.where(disc[..., None], texture(x - move[0], y - move[1], seed + 100), ground))
        places.append(np.where(on[:, None], grid + move, grid))
        discs.append(disc)
        covered = np.linalg.norm(places[-1] - centre - move, axis=-1) < radius
        seen.append(on | ~covered)
    video = np.stack(frames).clip(0, 255).round().astype(np.uint8)
    uncovered = discs[0] & ~np.stack(discs)
    return Clip(video, Tracks(np.stack(places), np.stack(seen)), "a disc", on.astype(np.int64), uncovered)


CLIPS = [clip(seed) for seed in range(2)]


def source(one: Clip, name: str = "only") -> Source:
    return Source(name, lambda: one)


SOURCES = [source(one, f"clip {number}") for number, one in enumerate(CLIPS)]


def perfect(first: Video, tracks: Tracks, caption: str, seed: int) -> Video:
    """A model that has seen the answer."""
    return next(one.video for one in CLIPS if (one.video[0] == first).all())
