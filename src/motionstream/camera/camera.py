"""Camera control: a depth map and a camera path → tracks of points all over the picture.

Each point of the first frame is unprojected by its depth and projected again from every later pose. It is visible where
it is in front of the camera, inside the frame, and not behind another part of the depth map (by a z-buffer of all its
pixels). Depth is along the camera's axis, in any unit; larger is farther, NaN unknown.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import product

import numpy as np
import numpy.typing as npt

from motionstream.camera.path import CameraPath
from motionstream.geometry import Fit
from motionstream.tracks.tracks import Tracks, inside

Floats = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]
Size = tuple[int, int]

VIEW = 60.0  # degrees of the horizontal field of view by default: an ordinary lens
SAME_SURFACE = 1.25  # neighbouring depths within this factor are one surface; otherwise there is an edge between
SLACK = 0.02  # part of its depth by which a point may lie behind the surface in its pixel …
SLOPE_PIXELS = 1.5  # … and so many pixels of the surface's own slope
STEEPEST = 0.25  # of ln depth a pixel, that counts as slope
FOOTPRINT = 0.75  # half a depth pixel's side when drawn, in its own size: also a grid turned by 45° has no holes
LARGEST_FOOTPRINT = 4.0  # pixels
CLOSEST = 1e-6  # least depth at which a point can be visible


@dataclass(frozen=True)
class Lens:
    """A pinhole: size (W, H) of its frame; focal lengths and principal point in pixels, centres at +0.5."""

    size: Size
    fx: float
    fy: float
    cx: float
    cy: float

    @classmethod
    def of(cls, size: Size, view: float = VIEW) -> Lens:
        """A lens that spans `view` degrees across the frame's width. Raises ValueError outside 1 … 179."""
        if not 1 <= view <= 179:
            raise ValueError(f"a view of {view:g} degrees: send 1 to 179, across the picture's width")
        focal = size[0] / 2 / float(np.tan(np.radians(view) / 2))
        return cls(size, focal, focal, size[0] / 2, size[1] / 2)

    def fitted(self, frame: Size) -> Lens:
        """The lens of the same picture fitted into another frame (resized and centre-cropped)."""
        fit = Fit.of(self.size, frame)
        cx, cy = fit.to_frame(np.array([self.cx, self.cy]))
        return Lens(frame, self.fx * fit.scale, self.fy * fit.scale, float(cx), float(cy))

    def zoomed(self, factor: float) -> Lens:
        return replace(self, fx=self.fx * factor, fy=self.fy * factor)

    def lift(self, xy: Floats, depth: Floats) -> Floats:
        """(…, 2) pixels at (…) depths → (…, 3) in the camera's frame."""
        x, y = (xy[..., 0] - self.cx) / self.fx, (xy[..., 1] - self.cy) / self.fy
        return np.stack([x * depth, y * depth, depth], -1)

    def project(self, points: Floats) -> tuple[Floats, Floats]:
        """(…, 3) in the camera's frame → (…, 2) pixels and (…) depths; NaN behind the camera."""
        x, y, z = np.moveaxis(points, -1, 0)
        z = np.where(z > CLOSEST, z, np.nan)
        return np.stack([self.fx * x / z + self.cx, self.fy * y / z + self.cy], -1), z


def to_world(pose: Floats, points: Floats) -> Floats:
    """(…, 3) in the camera's frame → (…, 3) in the world, by a (4, 4) pose."""
    placed: Floats = points @ pose[:3, :3].T + pose[:3, 3]
    return placed


def to_camera(pose: Floats, points: Floats) -> Floats:
    """(…, 3) in the world → (…, 3) in the camera's frame."""
    seen: Floats = (points - pose[:3, 3]) @ pose[:3, :3]
    return seen


def pixel_centres(size: Size) -> Floats:
    """(H, W, 2) places of the pixels of a frame."""
    width, height = size
    return np.stack(np.meshgrid(np.arange(width) + 0.5, np.arange(height) + 0.5), -1)


def camera_tracks(depth: Floats, lens: Lens, path: CameraPath, points: Floats) -> Tracks:
    """Tracks of `points` (N, 2) of the first frame as the camera moves; points of unknown depth are never visible.

    depth: (H, W) of the first frame. lens: of that frame; `path.zoom` multiplies it.
    Raises ValueError when depth and lens are of different sizes, or nothing of the depth is known.
    """
    if depth.shape != lens.size[::-1]:
        raise ValueError(f"a depth map of shape {depth.shape} and a frame of {lens.size}: send (H, W) of that frame")
    depth = known(depth)
    start, first = path.poses[0], lens.zoomed(float(path.zoom[0]))
    world = to_world(start, first.lift(points, depth_at(depth, points)))
    slack = SLOPE_PIXELS * _nearest(slope(depth), points)
    pixels = np.flatnonzero(np.isfinite(depth))
    surface = to_world(start, first.lift(pixel_centres(lens.size), depth).reshape(-1, 3)[pixels])
    own_size = first.fx / depth.ravel()[pixels]
    xy, visible = [], []
    for pose, zoom in zip(path.poses, path.zoom, strict=True):
        now = lens.zoomed(float(zoom))
        at, z = now.project(to_camera(pose, surface))
        nearest = z_buffer(at, z, now.fx / (z * own_size), lens.size)
        places, far = now.project(to_camera(pose, world))
        shrunk = np.minimum(now.fx / far / (first.fx / to_camera(start, world)[:, 2]), 1)
        xy.append(places)
        visible.append(_unhidden(places, far, SLACK + slack / shrunk, nearest))
    return Tracks(np.stack(xy).astype(np.float32), np.stack(visible))


def known(depth: Floats) -> Floats:
    """The depth map with NaN wherever it is not a positive finite number. Raises ValueError if that is everywhere."""
    depth = np.where(np.isfinite(depth) & (depth > 0), depth, np.nan).astype(np.float64)
    if not np.isfinite(depth).any():
        raise ValueError("the depth map holds no positive number: larger must mean farther, 0 unknown")
    return depth


def depth_at(depth: Floats, xy: Floats) -> Floats:
    """(…) depth at positions (…, 2), NaN where it is unknown.

    Between four pixels of one surface 1/depth is interpolated, which is exact on planes; at an edge the nearest pixel
    counts, so that no point is placed between two surfaces.
    """
    height, width = depth.shape
    x, y = (np.clip(xy[..., axis] - 0.5, 0, limit - 1) for axis, limit in enumerate((width, height)))
    left, top = np.minimum(x.astype(int), max(width - 2, 0)), np.minimum(y.astype(int), max(height - 2, 0))
    right, bottom = np.minimum(left + 1, width - 1), np.minimum(top + 1, height - 1)
    inverse = 1 / depth
    corners = np.stack([inverse[top, left], inverse[top, right], inverse[bottom, left], inverse[bottom, right]])
    u, v = x - left, y - top
    weights = np.stack([(1 - u) * (1 - v), u * (1 - v), (1 - u) * v, u * v])
    one_surface = corners.max(0) <= corners.min(0) * SAME_SURFACE  # false where one is NaN
    found: Floats = 1 / np.where(one_surface, (corners * weights).sum(0), _nearest(inverse, xy))
    return found


def slope(depth: Floats) -> Floats:
    """(H, W) steepness of the surface, ln depth a pixel; at an edge that of the less steep side."""
    across, down = (_least_step(np.log(depth), axis) for axis in (1, 0))
    steep: Floats = np.minimum(np.hypot(across, down), STEEPEST)
    return steep


def _least_step(values: Floats, axis: int) -> Floats:
    step = np.abs(np.diff(values, axis=axis))
    border = np.full_like(values.take([0], axis), np.nan)
    before, after = (np.concatenate(pair, axis) for pair in ((border, step), (step, border)))
    least: Floats = np.nan_to_num(np.fmin(before, after), nan=0.0)
    return least


def _nearest(values: Floats, xy: Floats) -> Floats:
    """Values (H, W) of the pixels in which places (…, 2) are; outside, of those at the border."""
    height, width = values.shape
    column, row = (np.clip(np.floor(xy[..., i]), 0, n - 1).astype(int) for i, n in enumerate((width, height)))
    found: Floats = values[row, column]
    return found


def z_buffer(xy: Floats, depth: Floats, side: Floats, size: Size) -> Floats:
    """(H, W) least depth drawn into each pixel, infinite where nothing is.

    xy (M, 2), depth (M,): the places, NaN where there is none. side (M,): pixels that each one's square spans.
    """
    width, height = size
    nearest = np.full((height, width), np.inf)
    half = FOOTPRINT * np.minimum(side, LARGEST_FOOTPRINT)
    drawn = np.isfinite(depth) & np.all((xy > -half[:, None]) & (xy < size + half[:, None]), axis=-1)
    xy, depth, half = xy[drawn], depth[drawn], np.maximum(half[drawn], 0.5)
    reach = int(half.max() + 0.5) if len(half) else 0
    for column, row in product(range(-reach, reach + 1), repeat=2):
        some = half + 0.5 >= max(abs(column), abs(row))
        _draw(nearest, xy[some], depth[some], half[some], column, row)
    return nearest


def _draw(nearest: Floats, xy: Floats, depth: Floats, half: Floats, column: int, row: int) -> None:
    """Put each depth into the pixel so many columns and rows from its own, where its square reaches that centre."""
    height, width = nearest.shape
    pixel = np.floor(xy) + np.array([column, row])
    covers = np.all(np.abs(pixel + 0.5 - xy) <= half[:, None], axis=-1)
    covers &= np.all((pixel >= 0) & (pixel < (width, height)), axis=-1)
    x, y = pixel[covers].astype(int).T
    np.minimum.at(nearest, (y, x), depth[covers])


def _unhidden(xy: Floats, depth: Floats, slack: Floats, nearest: Floats) -> Mask:
    """(N,) inside the frame, in front of the camera, and not behind what was drawn in all of the four pixels around.

    One pixel is not enough: next to a silhouette, squares that reach over it would hide the background beside it.
    """
    height, width = nearest.shape
    seen: Mask = np.isfinite(depth) & inside(xy, (width, height))
    left, top = np.floor(xy[seen] - 0.5).astype(int).T
    columns, rows = (np.clip((low, low + 1), 0, limit - 1) for low, limit in ((left, width), (top, height)))
    farthest = nearest[rows[:, None], columns[None]].max((0, 1))
    seen[seen] = depth[seen] <= farthest * (1 + slack[seen])
    return seen


def middle_distance(depth: Floats) -> float:
    """The median depth of the middle third of the frame: the unit of camera movements."""
    height, width = depth.shape
    middle = depth[height // 3 : height - height // 3, width // 3 : width - width // 3]
    usual = np.nanmedian(middle if np.isfinite(middle).any() else depth)
    return float(usual)
