"""What needs the pictures of an evaluation again: contact sheets, videos side by side, other packages' measures."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from motionstream.evaluate.clips import Source
from motionstream.evaluate.external import Measure
from motionstream.evaluate.pictures import sheets
from motionstream.evaluate.pictures.sheets import Example
from motionstream.stream.video import write_frames


class Pictures:
    """What is wanted of them.

    sheet: a .png of the clips named `drawn`, in that order. videos: a folder, an .mp4 a clip. measures: fed with every
    clip.
    """

    def __init__(
        self,
        sheet: Path | None = None,
        drawn: Sequence[str] = (),
        videos: Path | None = None,
        measures: Sequence[Measure] = (),
    ) -> None:
        self.sheet, self.drawn, self.videos, self.measures = sheet, drawn, videos, measures

    def needed(self, sources: Sequence[Source]) -> list[Source]:
        """The sources whose pictures are wanted."""
        if self.videos is not None or self.measures:
            return list(sources)
        return [each for each in sources if self.sheet is not None and each.name in self.drawn]

    def take(self, examples: Iterable[Example], fps: float) -> tuple[dict[str, Any], list[str]]:
        """Draw, write and measure, one example at a time; figures, and names of what could not be measured."""
        shown: dict[str, Example] = {}
        for example in examples:
            if self.sheet is not None and example.name in self.drawn:
                shown[example.name] = example
            if self.videos is not None:
                side_by_side(example, self.videos, fps)
            for measure in self.measures:
                measure.add(example.name, example.videos["model"], example.videos["true"], fps)
        if self.sheet is not None:
            sheets.draw([shown[name] for name in self.drawn if name in shown], self.sheet)
        figures: dict[str, Any] = {}
        missing: list[str] = []
        for measure in self.measures:
            measured, left_out = measure.figures()
            figures |= measured
            missing += left_out
        return figures, missing


def side_by_side(example: Example, folder: Path, fps: float) -> Path:
    """Write an example's videos next to one another, in the order of its rows, as NAME.mp4 in a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / f"{example.name}.mp4"
    write_frames(file, np.concatenate(list(example.videos.values()), axis=2), fps)
    return file
