"""Contact sheets: rows are the true clip, the model and the warped first frame, with the tracks that were given."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw

from motionstream.evaluate.metrics import Video
from motionstream.tracks import Tracks

COLUMNS = 6
POINTS = 24
TAIL = 8  # frames
LABEL = 14  # pixels of height of a line of text
GAP = 2
BACKGROUND, INK = "#181818", "#e0e0e0"
COLOURS = ("#ff5252", "#40c4ff", "#ffd740", "#69f0ae", "#e040fb", "#ffab40")


@dataclass(frozen=True)
class Example:
    """One clip of a contact sheet: its videos by row name, and the tracks that were given."""

    videos: Mapping[str, Video]
    tracks: Tracks
    caption: str
    name: str = ""


def draw(examples: Sequence[Example], path: str | os.PathLike[str], columns: int = COLUMNS) -> None:
    """Write a PNG of the examples, one below the other. Raises ValueError when there are none."""
    if not examples:
        raise ValueError("no examples: a sheet needs at least one")
    blocks = [_block(example, columns) for example in examples]
    sheet = Image.new("RGB", (max(b.width for b in blocks), sum(b.height for b in blocks)), BACKGROUND)
    top = 0
    for block in blocks:
        sheet.paste(block, (0, top))
        top += block.height
    sheet.save(path, format="PNG")


def strips(rows: Mapping[str, Video], path: str | os.PathLike[str]) -> None:
    """Write a PNG of clips (F, H, W, 3) of one size, a labelled row each, all their frames side by side."""
    if not rows:
        raise ValueError("no rows: a sheet needs at least one")
    frames, height, width = next(iter(rows.values())).shape[:3]
    sheet = Image.new("RGB", (frames * (width + GAP), len(rows) * (height + LABEL)), BACKGROUND)
    pen = ImageDraw.Draw(sheet)
    for row, (name, video) in enumerate(rows.items()):
        pen.text((2, row * (height + LABEL) + 1), name, fill=INK)
        for column, frame in enumerate(video):
            sheet.paste(Image.fromarray(frame), (column * (width + GAP), row * (height + LABEL) + LABEL))
    sheet.save(path, format="PNG")


def _block(example: Example, columns: int) -> Image.Image:
    frames, height, width = next(iter(example.videos.values())).shape[:3]
    shown = np.linspace(0, frames - 1, min(columns, frames)).round().astype(int)
    row_height = height + LABEL
    size = (len(shown) * (width + GAP), LABEL + len(example.videos) * row_height + GAP)
    block = Image.new("RGB", size, BACKGROUND)
    pen = ImageDraw.Draw(block)
    pen.text((2, 1), example.caption or "(no caption)", fill=INK)
    for row, (name, video) in enumerate(example.videos.items()):
        top = LABEL + row * row_height
        pen.text((2, top + 1), name, fill=INK)
        for column, frame in enumerate(shown):
            block.paste(_frame(video, example.tracks, int(frame)), (column * (width + GAP), top + LABEL))
    return block


def _frame(video: Video, tracks: Tracks, frame: int) -> Image.Image:
    """A frame with the tracks given: a dot where each point should be now, and its last few places."""
    image = Image.fromarray(video[frame])
    pen = ImageDraw.Draw(image)
    for number, point in enumerate(range(0, tracks.points, max(1, tracks.points // POINTS))):
        if not tracks.visible[frame, point]:
            continue
        colour = COLOURS[number % len(COLOURS)]
        begin = max(frame - TAIL, int(tracks.visible[:, point].argmax()))
        places = [(float(x) - 0.5, float(y) - 0.5) for x, y in tracks.xy[begin : frame + 1, point]]
        if len(places) > 1:
            pen.line(places, fill=colour)
        x, y = places[-1]
        pen.ellipse((x - 1.5, y - 1.5, x + 1.5, y + 1.5), fill=colour)
    return image
