"""All counting: frames ↔ latents, latents ↔ tokens, chunks, and pictures of any size ↔ the model's frame.

Legend: F pixel frames, T latent frames, C latent frames a chunk, H W height and width.
A clip of T latents is 1 + 4 (T − 1) frames: the first latent holds one frame, every later one holds four.
No other file multiplies by 4, 8 or a token count.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.floating]


@dataclass(frozen=True)
class Geometry:
    """Sizes of one model at one frame size.

    width, height: pixels of the model's frame; multiples of `spatial_stride` × `patch`.
    spatial_stride: pixels a latent cell spans in x and y (8 for Wan 2.1, 16 for Wan 2.2).
    temporal_stride: frames a latent spans (4).
    patch: latent cells a token spans in x and y (2).
    """

    width: int
    height: int
    spatial_stride: int = 8
    temporal_stride: int = 4
    patch: int = 2

    def __post_init__(self) -> None:
        step = self.spatial_stride * self.patch
        if self.width <= 0 or self.height <= 0 or self.width % step or self.height % step:
            raise ValueError(
                f"frame size {self.width}×{self.height}: width and height must be positive multiples of {step}"
            )

    @property
    def size(self) -> tuple[int, int]:
        """(W, H) of the frame in pixels."""
        return self.width, self.height

    @property
    def latent_width(self) -> int:
        return self.width // self.spatial_stride

    @property
    def latent_height(self) -> int:
        return self.height // self.spatial_stride

    @property
    def token_grid(self) -> tuple[int, int]:
        """(rows, columns) of tokens in one latent frame."""
        return self.latent_height // self.patch, self.latent_width // self.patch

    @property
    def tokens_per_latent(self) -> int:
        rows, columns = self.token_grid
        return rows * columns

    def frames(self, latents: int) -> int:
        """Pixel frames of `latents` latents from the start of a clip."""
        return 0 if latents == 0 else 1 + self.temporal_stride * (latents - 1)

    def latents(self, frames: int) -> int:
        """Latents that `frames` frames from the start of a clip need.

        Raises ValueError unless frames = 1 + 4 n.
        """
        if frames < 1 or (frames - 1) % self.temporal_stride:
            raise ValueError(f"{frames} frames: a clip has 1 + {self.temporal_stride}·n frames")
        return 1 + (frames - 1) // self.temporal_stride

    def frame_range(self, first_latent: int, latents: int) -> tuple[int, int]:
        """[begin, end) in pixel frames of `latents` latents from `first_latent` on."""
        return self.frames(first_latent), self.frames(first_latent + latents)

    def chunk_frames(self, first_latent: int, latents: int) -> int:
        """Frames that decoding those latents returns: 1 + 4(C−1) at the start, 4C later."""
        begin, end = self.frame_range(first_latent, latents)
        return end - begin


def chunk_spans(latents: int, chunk: int) -> Iterator[tuple[int, int]]:
    """(first latent, latents) of each chunk of a clip; the last one may be shorter."""
    if chunk < 1:
        raise ValueError(f"chunk of {chunk} latents: must be at least 1")
    for begin in range(0, latents, chunk):
        yield begin, min(chunk, latents - begin)


@dataclass(frozen=True)
class Fit:
    """How a picture of any size was laid into the model's frame; maps coordinates both ways.

    frame = source · scale + offset, in pixels with centres at +0.5. The picture fills the frame; its margins are cut.
    """

    source: tuple[int, int]
    frame: tuple[int, int]
    scale: float
    offset: tuple[float, float]

    @classmethod
    def of(cls, source: tuple[int, int], frame: tuple[int, int]) -> Fit:
        """Fit a source (W, H) into a frame (W, H), never distorted."""
        if min(*source, *frame) < 1:
            raise ValueError(f"cannot fit a picture of {source} into {frame}: sizes must be positive")
        scale = max(frame[0] / source[0], frame[1] / source[1])
        offset = (frame[0] - source[0] * scale) / 2, (frame[1] - source[1] * scale) / 2
        return cls(source, frame, scale, offset)

    def to_frame(self, xy: FloatArray) -> FloatArray:
        """(…, 2) source pixels → frame pixels."""
        mapped: FloatArray = np.asarray(xy, np.float64) * self.scale + np.asarray(self.offset)
        return mapped

    def to_source(self, xy: FloatArray) -> FloatArray:
        """(…, 2) frame pixels → source pixels."""
        mapped: FloatArray = (np.asarray(xy, np.float64) - np.asarray(self.offset)) / self.scale
        return mapped
