"""The public contract of a stream, for code that drives one without knowing which model is behind it."""

from __future__ import annotations

from typing import Protocol

import numpy as np
import numpy.typing as npt

from motionstream.tracks import Tracks

Frames = npt.NDArray[np.uint8]


class StreamLike(Protocol):
    """size: (W, H) of the frames. fps: nominal. chunk_frames: that the next step returns, as (F, H, W, 3) uint8."""

    prompt: str

    @property
    def size(self) -> tuple[int, int]: ...
    @property
    def fps(self) -> float: ...
    @property
    def chunk_frames(self) -> int: ...
    def step(self, tracks: Tracks | None) -> Frames: ...
