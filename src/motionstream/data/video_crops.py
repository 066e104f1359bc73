"""Square crops of a folder of videos, to train networks on pixels alone.

The same (seed, index) is the same crop, in any order and in any process, so `Loader` works as for synthetic worlds.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from motionstream.data.synthetic import Batch
from motionstream.geometry import Fit
from motionstream.stream.video import read_span

SUFFIXES = (".mp4", ".webm", ".mkv", ".mov", ".avi")
DRAWS = 8
"""Videos tried for one crop: some are damaged or too short."""
_log = logging.getLogger(__name__)


class VideoCrops:
    """Crops of `side` × `side` pixels and `frames` frames, from random positions in all videos below a folder.

    size: (W, H) that a video is first scaled to cover, never distorted. Raises ValueError if there is no video, or the
    crop is larger than that.
    """

    device = torch.device("cpu")  # where videos are decoded

    def __init__(self, folder: str | Path, size: tuple[int, int], frames: int, side: int, seed: int) -> None:
        self.folder, self.size, self.frames, self.side, self.seed = Path(folder), size, frames, side, seed
        if side > min(size):
            raise ValueError(
                f"crops of {side} pixels from videos scaled to {size[0]}×{size[1]}: crop less or scale less"
            )
        self.paths = sorted(path for path in self.folder.rglob("*") if path.suffix.lower() in SUFFIXES)
        if not self.paths:
            raise ValueError(f"no videos below {self.folder}: give a folder of {', '.join(SUFFIXES)} files")

    def batch(self, indices: Sequence[int]) -> Batch:
        """Those crops. Videos have no tracks and no captions: those fields are empty."""
        clips = len(indices)
        return Batch(
            video=torch.stack([self.crop_of(index) for index in indices]),
            xy=torch.zeros(clips, self.frames, 0, 2),
            visible=torch.zeros(clips, self.frames, 0, dtype=torch.bool),
            object_of=torch.zeros(clips, 0, dtype=torch.int64),
            captions=[""] * clips,
        )

    def crop_of(self, index: int) -> Tensor:
        """(F, 3, side, side) uint8. Raises ValueError when one video after another cannot be used."""
        random = np.random.default_rng((self.seed, index))
        for _ in range(DRAWS):
            path = self.paths[int(random.integers(len(self.paths)))]
            place, across, down = random.random(3)
            try:
                return self._cut(read_span(path, self.frames, place), across, down)
            except (ValueError, OSError) as error:
                _log.warning("left out: %s", error)
        raise ValueError(f"{DRAWS} videos of {self.folder} in a row cannot be used, as {path}: check the folder")

    def _cut(self, video: np.ndarray, across: float, down: float) -> Tensor:
        """The square at a position (0 … 1 of the free range in x and y), scaled to its side."""
        height, width = video.shape[1:3]
        source = min(round(self.side / Fit.of((width, height), self.size).scale), height, width)
        left, top = int(across * (width - source + 1)), int(down * (height - source + 1))
        square = torch.from_numpy(video[:, top : top + source, left : left + source]).permute(0, 3, 1, 2)
        if source == self.side:
            return square.contiguous()
        scaled = F.interpolate(square.float(), (self.side, self.side), mode="bilinear", antialias=True)
        return scaled.add_(0.5).clamp_(0, 255).to(torch.uint8)
