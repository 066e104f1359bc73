"""Frames with tracks drawn on them, to check a tracker by eye."""

from __future__ import annotations

import colorsys

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw

from motionstream.tracks.tracks import Tracks

WIDEST = 480  # pixels of a drawn frame
TAIL = 8  # frames of past positions behind each dot
MOST = 900  # points drawn
RADIUS = 1.5  # pixels of a dot

Colour = tuple[int, int, int]
Video = npt.NDArray[np.uint8]


def drawn(video: Video, tracks: Tracks, pictures: int = 12, widest: int = WIDEST) -> npt.NDArray[np.uint8]:
    """(P, h, w, 3) uint8: up to `pictures` of the (F, H, W, 3) frames, evenly spread, not wider than `widest`.

    A dot where a point is visible, with a trail of its last positions; the colour is given by where it was born.
    Raises ValueError when tracks and video differ in length.
    """
    if tracks.frames != len(video):
        raise ValueError(f"tracks of {tracks.frames} frames on a video of {len(video)}: send as many")
    chosen = np.linspace(0, len(video) - 1, min(pictures, len(video))).round().astype(int)
    return np.stack([_frame(video[frame], tracks, int(frame), widest) for frame in chosen])


def marked(video: Video, tracks: Tracks) -> npt.NDArray[np.uint8]:
    """All frames of a video (F, H, W, 3), drawn on in their own size. Raises ValueError as `drawn`."""
    return drawn(video, tracks, len(video), video.shape[2])


def _frame(pixels: Video, tracks: Tracks, frame: int, widest: int) -> npt.NDArray[np.uint8]:
    height, width = pixels.shape[:2]
    scale = min(1.0, widest / width)
    image = Image.fromarray(pixels).resize((max(1, round(width * scale)), max(1, round(height * scale))))
    pen = ImageDraw.Draw(image)
    for point in range(0, tracks.points, -(-tracks.points // MOST) or 1):
        if not tracks.visible[frame, point]:
            continue
        birth = int(tracks.visible[:, point].argmax())
        colour = _colour(tracks.xy[birth, point] / (width, height))
        past = tracks.xy[max(birth, frame - TAIL) : frame + 1, point] * scale - 0.5  # Pillow's centres are at 0
        places = [(float(x), float(y)) for x, y in past]
        if len(places) > 1:
            pen.line(places, fill=colour)
        x, y = places[-1]
        pen.ellipse((x - RADIUS, y - RADIUS, x + RADIUS, y + RADIUS), fill=colour)
    return np.asarray(image)


def _colour(birth_place: npt.NDArray[np.floating]) -> Colour:
    """Hue by x and brightness by y of a place of birth in 0 … 1."""
    across, down = (float(value) for value in np.clip(birth_place, 0, 1))
    red, green, blue = colorsys.hsv_to_rgb(0.85 * across, 0.85, 1 - 0.35 * down)
    return round(255 * red), round(255 * green), round(255 * blue)
