"""What needs the pictures of an evaluation again: contact sheets, and videos side by side."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from motionstream.evaluate.clips import Source
from motionstream.evaluate.pictures import sheets
from motionstream.evaluate.pictures.sheets import Example
from motionstream.stream.video import write_mp4

CRF = 8  # of the videos: x264's losses are then far below what is measured on them


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
            sheets.draw([shown[name] for name in self.drawn if name in shown], self.sheet)


def side_by_side(example: Example, folder: Path, fps: float) -> None:
    """Write an example's videos next to one another, in the order of its rows, as NAME.mp4 in a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    write_mp4(folder / f"{example.name}.mp4", np.concatenate(list(example.videos.values()), axis=2), fps, CRF)
