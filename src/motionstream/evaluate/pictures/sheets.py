"""Contact sheets and videos side by side: the true clip, the model and the warped first frame.

Sheets also show the tracks that were given.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from motionstream.evaluate.clips import Source
from motionstream.evaluate.metrics import Video
from motionstream.stream.video import write_mp4
from motionstream.tracks import Tracks

COLUMNS = 6
POINTS = 24
TAIL = 8  # frames
LABEL = 14  # pixels of height of a line of text
GAP = 2
CRF = 8  # of videos: x264's losses are then far below what is measured on them
BACKGROUND, INK = "#181818", "#e0e0e0"
COLOURS = ("#ff5252", "#40c4ff", "#ffd740", "#69f0ae", "#e040fb", "#ffab40")


@dataclass(frozen=True)
class Example:
    """One clip of a contact sheet: its videos by row name, and the tracks that were given."""

    videos: Mapping[str, Video]
    tracks: Tracks
    caption: str
    name: str = ""


@dataclass(frozen=True)
class Pictures:
    """sheet: a .png of the clips named `drawn`, in that order. videos: a folder, an .mp4 a clip."""

    sheet: Path | None = None
    drawn: Sequence[str] = ()
    videos: Path | None = None

    def needed(self, sources: Sequence[Source]) -> list[Source]:
        """The sources whose pictures are wanted."""
        if self.videos is not None:
            return list(sources)
        return [each for each in sources if self.sheet is not None and each.name in self.drawn]

    def take(self, examples: Iterable[Example], fps: float) -> None:
        """Draw and write, one example at a time."""
        shown: dict[str, Example] = {}
        for example in examples:
            if self.sheet is not None and example.name in self.drawn:
                shown[example.name] = example
            if self.videos is not None:
                side_by_side(example, self.videos, fps)
        if self.sheet is not None:
            draw([shown[name] for name in self.drawn if name in shown], self.sheet)


def side_by_side(example: Example, folder: Path, fps: float) -> None:
    """Write an example's videos next to one another, in the order of its rows, as NAME.mp4 in a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    write_mp4(folder / f"{example.name}.mp4", np.concatenate(list(example.videos.values()), axis=2), fps, CRF)


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
