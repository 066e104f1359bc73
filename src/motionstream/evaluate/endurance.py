"""Does a stream hold? Many frames of three scenes: nobody touches it, a hand keeps dragging, everything is pinned.

A stream dissolves by losing detail, drifting in colour, or leaving its picture behind. So each scene is compared, at
its end, with how it looked shortly after its start.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from motionstream.evaluate import machine
from motionstream.evaluate.metrics import Video, psnr
from motionstream.stream.model import StreamingModel
from motionstream.tracks import Tracks

SETTLED = 24
"""Frame with which the end is compared: the second after which a stream has left its given picture behind."""
SPACING = 12.0
SWING, PERIOD = 24.0, 96.0
"""The hand's drag: pixels to each side, frames there and back."""

Scene = Callable[[tuple[int, int], int, int], Tracks]
"""(size, first frame, frames) → the tracks of those frames."""


def idle(size: tuple[int, int], first: int, frames: int) -> Tracks:
    """Nobody touches it."""
    return Tracks.empty(frames)


def pinned(size: tuple[int, int], first: int, frames: int) -> Tracks:
    """Pins all over."""
    xs, ys = np.meshgrid(np.arange(SPACING, size[0], 2 * SPACING), np.arange(SPACING, size[1], 2 * SPACING))
    return _held(np.stack([xs, ys], -1).reshape(-1, 2), np.zeros((frames, 2)))


def dragged(size: tuple[int, int], first: int, frames: int) -> Tracks:
    """A grid in the middle, swung from side to side, as long as the stream lasts."""
    steps = (np.arange(3) - 1) * SPACING
    xs, ys = np.meshgrid(size[0] / 2 + steps, size[1] / 2 + steps)
    time = np.arange(first, first + frames) * (2 * np.pi / PERIOD)
    away = np.stack([SWING * np.sin(time), np.zeros(frames)], -1)
    return _held(np.stack([xs, ys], -1).reshape(-1, 2), away)


SCENES: dict[str, Scene] = {"idle": idle, "pinned": pinned, "dragged": dragged}


def _held(places: npt.NDArray[np.float64], away: npt.NDArray[np.float64]) -> Tracks:
    xy = (places[None] + away[:, None]).astype(np.float32)
    return Tracks(xy, np.ones(xy.shape[:2], bool))


@dataclass(frozen=True)
class Held:
    """Figures of one scene, and some of its frames for a sheet."""

    figures: dict[str, float]
    shown: Video


def evaluate_endurance(
    model: StreamingModel, pictures: dict[str, Video], frames: int, columns: int = 6
) -> tuple[dict[str, Any], dict[str, Video]]:
    """Every scene on every picture (H, W, 3), for `frames` frames.

    Returns figures by scene, means over pictures, and sheet rows by "picture, scene". sharpness_kept and
    contrast_kept: end over start, 1 is the same. colour_drift: largest change of a channel's mean, in levels of 255.
    psnr_to_start_db: end against start where both should look alike (idle, pinned).
    """
    figures: dict[str, Any] = {}
    rows: dict[str, Video] = {}
    for name, scene in SCENES.items():
        held = {title: hold(model, picture, scene, frames, columns) for title, picture in pictures.items()}
        keys = next(iter(held.values())).figures
        figures[name] = {key: float(np.mean([one.figures[key] for one in held.values()])) for key in keys}
        rows |= {f"{title}, {name}": one.shown for title, one in held.items()}
    return {
        "frames": frames,
        "pictures": len(pictures),
        "scenes": figures,
        "machine": machine.describe(),
        "date": machine.today(),
    }, rows


def hold(model: StreamingModel, picture: Video, scene: Scene, frames: int, columns: int) -> Held:
    """One scene from a picture, its start against its end."""
    stream, done = model.open(picture), 0
    wanted = np.linspace(0, frames - 1, columns).round().astype(int)
    shown: list[Video] = []
    start = end = np.zeros((1, 1, 1, 3), np.uint8)
    while done < frames:
        chunk = stream.step(scene(stream.size, done, stream.chunk_frames))
        shown += [chunk[i - done] for i in wanted if done <= i < done + len(chunk)]
        if done <= SETTLED < done + len(chunk):
            start = chunk[SETTLED - done :][:1]
        same_phase = (frames - 1 - SETTLED) // int(PERIOD) * int(PERIOD) + SETTLED
        if done <= same_phase < done + len(chunk):
            end = chunk[same_phase - done :][:1]
        done += len(chunk)
    return Held(compared(start, end), np.stack(shown))


def compared(start: Video, end: Video) -> dict[str, float]:
    """How much of the start (1, H, W, 3) is left at the end."""
    means = end.mean((0, 1, 2)) - start.mean((0, 1, 2))
    return {
        "sharpness_kept": sharpness(end) / max(sharpness(start), 1e-6),
        "contrast_kept": float(end.std() / max(start.std(), 1e-6)),
        "colour_drift": float(np.abs(means).max()),
        # the metric leaves out the first frame, which is given
        "psnr_to_start_db": psnr(np.concatenate([start, end]), np.concatenate([start, start])),
    }


def sharpness(frames: Video) -> float:
    """Mean absolute difference of neighbouring pixels, in levels of 255."""
    light = frames.astype(np.float32).mean(-1)
    return float(np.abs(np.diff(light, axis=-1)).mean() + np.abs(np.diff(light, axis=-2)).mean())
