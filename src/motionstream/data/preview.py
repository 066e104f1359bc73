"""Contact sheets of synthetic clips: clips as rows, frames as columns, with tracks, to check them by eye."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from motionstream.data.synthetic import Clip, SyntheticWorlds

COLUMNS = 6
SHOWN_POINTS = 60
TAIL = 6  # frames of past positions behind each dot
CAPTION_HEIGHT = 16
GAP = 4
PALETTE = ("#ff5252", "#40c4ff", "#ffd740", "#69f0ae", "#e040fb", "#ffab40", "#18ffff", "#b2ff59")


def preview(worlds: SyntheticWorlds, path: str | Path, clips: int = 6, first: int = 0) -> Path:
    """Draw clips `first` … `first + clips − 1` of `worlds` into a PNG at `path`; returns the path."""
    if clips < 1:
        raise ValueError(f"{clips} clips: a sheet needs at least 1")
    rows = [clip_row(worlds.sample(first + number)) for number in range(clips)]
    sheet = Image.new("RGB", (rows[0].width, sum(row.height for row in rows)), "#181818")
    top = 0
    for row in rows:
        sheet.paste(row, (0, top))
        top += row.height
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    sheet.save(target, "PNG")
    return target


def clip_row(clip: Clip, columns: int = COLUMNS) -> Image.Image:
    """One clip: evenly spaced frames with its tracks, and its caption underneath."""
    frames = np.linspace(0, len(clip.video) - 1, min(columns, len(clip.video))).round().astype(int)
    height, width = clip.video.shape[1:3]
    row = Image.new("RGB", (len(frames) * (width + GAP), height + CAPTION_HEIGHT + GAP), "#181818")
    for column, frame in enumerate(frames.tolist()):
        row.paste(frame_with_tracks(clip, frame), (column * (width + GAP), 0))
    label = f"{clip.caption or '(no caption)'}   [{clip.effect}]"
    ImageDraw.Draw(row).text((2, height + 1), label, fill="#e0e0e0")
    return row


def frame_with_tracks(clip: Clip, frame: int) -> Image.Image:
    """A frame with dots: filled where a point is visible, hollow where it is occluded; with short trails."""
    image = Image.fromarray(clip.video[frame])
    pen = ImageDraw.Draw(image)
    step = max(1, clip.tracks.points // SHOWN_POINTS)
    for point in range(0, clip.tracks.points, step):
        if clip.tracks.visible[: frame + 1, point].any():
            _draw_point(pen, clip, frame, point)
    return image


def _draw_point(pen: ImageDraw.ImageDraw, clip: Clip, frame: int, point: int) -> None:
    colour = PALETTE[int(clip.object_of[point]) % len(PALETTE)]
    tail = clip.tracks.xy[max(0, frame - TAIL) : frame + 1, point]
    pen.line([(float(x), float(y)) for x, y in tail], fill=colour)
    x, y = (float(value) for value in tail[-1])
    filled = colour if clip.tracks.visible[frame, point] else None
    pen.ellipse((x - 1.7, y - 1.7, x + 1.2, y + 1.2), fill=filled, outline=colour)
