"""`Tracks`: positions and visibility of points over frames, the control signal of every model."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float32]
BoolArray = npt.NDArray[np.bool_]
IntArray = npt.NDArray[np.int64]


def inside(xy: npt.NDArray[np.floating], size: tuple[int, int]) -> BoolArray:
    """(…,) whether positions (…, 2) are within a frame of (W, H) pixels; false for NaN."""
    within: BoolArray = np.all((xy >= 0) & (xy < np.array(size)), axis=-1)
    return within


@dataclass(frozen=True)
class Tracks:
    """N points over T pixel frames.

    xy: (T, N, 2) float32, pixels of the model's frame, x right, y down, pixel centres at +0.5.
    visible: (T, N) bool; False means occluded, outside, not yet born or released.
    ids: (N,) int64, the same number for the same point in every chunk of a stream.

    The arrays are read-only copies of those given: what was checked stays true. Copy one to change it.
    Raises ValueError on wrong shapes, repeated ids, or a non-finite position of a visible point.
    """

    xy: FloatArray
    visible: BoolArray
    ids: IntArray = None  # type: ignore[assignment]  # None: numbered from 0 on

    def __post_init__(self) -> None:
        xy = np.asarray(self.xy, np.float32)
        visible = np.asarray(self.visible, np.bool_)
        if xy.ndim != 3 or xy.shape[-1] != 2:
            raise ValueError(f"tracks.xy has shape {xy.shape}: send (frames, points, 2)")
        if visible.shape != xy.shape[:2]:
            raise ValueError(f"tracks.visible has shape {visible.shape}: send {xy.shape[:2]}, as xy has")
        ids = np.arange(xy.shape[1]) if self.ids is None else np.asarray(self.ids)
        if ids.shape != (xy.shape[1],) or not np.issubdtype(ids.dtype, np.integer):
            raise ValueError(f"tracks.ids has shape {ids.shape}: send {xy.shape[1]} integers, one a point")
        if len(np.unique(ids)) != len(ids):
            raise ValueError("tracks.ids repeats a number: give every point its own")
        finite = np.asarray(np.isfinite(xy).all(-1))
        if not finite[visible].all():
            frame, point = np.argwhere(visible & ~finite)[0]
            raise ValueError(f"tracks.xy[{frame}, {point}] is not finite: send numbers, or mark it not visible")
        for name, array in (
            ("xy", np.where(finite[..., None], xy, np.float32(0))),
            ("visible", visible.copy()),
            ("ids", ids.astype(np.int64)),
        ):
            array.setflags(write=False)
            object.__setattr__(self, name, array)

    @classmethod
    def empty(cls, frames: int) -> Tracks:
        """No control for `frames` frames."""
        return cls(np.zeros((frames, 0, 2), np.float32), np.zeros((frames, 0), bool))

    @property
    def frames(self) -> int:
        return int(self.xy.shape[0])

    @property
    def points(self) -> int:
        return int(self.xy.shape[1])

    def slice(self, begin: int, end: int) -> Tracks:
        """Frames [begin, end), same points."""
        return Tracks(self.xy[begin:end], self.visible[begin:end], self.ids)

    def select(self, points: npt.ArrayLike) -> Tracks:
        """The points at these indices (or under this mask), all frames."""
        chosen = np.asarray(points)
        return Tracks(self.xy[:, chosen], self.visible[:, chosen], self.ids[chosen])
