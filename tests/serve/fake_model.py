"""A model of the public contract that really follows the tracks: each grabbed patch of the start picture is drawn
where its points are now. Fast, deterministic, and true enough for a browser test to check pixels."""

from __future__ import annotations

import threading
import time

import numpy as np
from PIL import Image

from motionstream.geometry import Fit
from motionstream.tracks import Tracks

PATCH = 12  # half side in pixels of what one point takes along


def fitted(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """(H, W, 3) uint8 of any size → the model's frame, filled and cropped."""
    fit = Fit.of((image.shape[1], image.shape[0]), size)
    left, top = fit.to_source(np.zeros(2))
    right, bottom = fit.to_source(np.array(size, float))
    return np.asarray(Image.fromarray(image).resize(size, Image.Resampling.LANCZOS, (left, top, right, bottom)))


class FakeStream:
    """Frames at `size`, 24 a second: 9 first, then 12 a chunk."""

    fps = 24.0

    def __init__(self, picture: np.ndarray, prompt: str, seed: int, model: FakeModel) -> None:
        self.size = model.size
        self.prompt, self.seed, self._model = prompt, seed, model
        self.picture = fitted(picture, self.size)
        self._births: dict[int, np.ndarray] = {}
        self._frames = 0

    @property
    def chunk_frames(self) -> int:
        return 9 if self._frames == 0 else 12

    def step(self, tracks: Tracks | None) -> np.ndarray:
        count = self.chunk_frames
        tracks = Tracks.empty(count) if tracks is None else tracks
        if tracks.frames != count:
            raise ValueError(f"tracks for {tracks.frames} frames: send {count}")
        self._model.stepped(self)
        frames = np.stack([self._frame(tracks, i) for i in range(count)])
        self._frames += count
        return frames

    def settle(self) -> None:
        self._model.settled += 1

    def _frame(self, tracks: Tracks, index: int) -> np.ndarray:
        frame = self.picture.copy()
        if "snow" in self.prompt:
            frame = frame // 2 + 127
        for xy, visible, name in zip(tracks.xy[index], tracks.visible[index], tracks.ids, strict=True):
            if visible:
                birth = self._births.setdefault(int(name), xy.copy())
                self._move_patch(frame, birth, xy)
        return frame

    def _move_patch(self, frame: np.ndarray, source: np.ndarray, target: np.ndarray) -> None:
        width, height = self.size
        y, x = np.mgrid[-PATCH : PATCH + 1, -PATCH : PATCH + 1]
        (sx, sy), (tx, ty) = np.floor(source).astype(int), np.floor(target).astype(int)
        inside = (sx + x >= 0) & (sx + x < width) & (sy + y >= 0) & (sy + y < height)
        inside &= (tx + x >= 0) & (tx + x < width) & (ty + y >= 0) & (ty + y < height)
        frame[(ty + y)[inside], (tx + x)[inside]] = self.picture[(sy + y)[inside], (sx + x)[inside]]


class FakeModel:
    """step_seconds: how long a chunk takes. `threads`, `order` and `asked` tell who called and for what else."""

    def __init__(self, step_seconds: float = 0.0, size: tuple[int, int] = (256, 144)) -> None:
        self.size = size
        self.step_seconds = step_seconds
        self.threads: set[int] = set()
        self.order: list[int] = []
        self.asked: list[dict[str, str]] = []
        self.settled = 0
        self.fail_at: int | None = None

    def open(self, image: np.ndarray, prompt: str = "", seed: int = 0, **others: str) -> FakeStream:
        self.asked.append(others)
        self.threads.add(threading.get_ident())
        return FakeStream(image, prompt, seed, self)

    def stepped(self, stream: FakeStream) -> None:
        self.threads.add(threading.get_ident())
        self.order.append(id(stream))
        if self.fail_at is not None and len(self.order) > self.fail_at:
            raise RuntimeError("device lost at /secret/path")
        time.sleep(self.step_seconds)
