"""Random motion: smooth paths, the camera, and rotation, scaling and bending of a layer. All in numpy.

Legend: F frames. Paths start at 0 in frame 0; speeds are in pixels (or radians, or log scale) a frame.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]
Curve = Callable[[np.random.Generator, Array], Array]
FASTEST = 12.0  # pixels a frame at 256 pixels of width
SPEED_WIDTH = 256


@dataclass(frozen=True)
class Pose:
    """Where a layer is in the world, frame by frame.

    xy: (F, 2) pixels from the world's origin. angle: (F,) radians. scale: (F, 2) factors along its own axes.
    """

    xy: Array
    angle: Array
    scale: Array

    @classmethod
    def still(cls, frames: int) -> Pose:
        return cls(np.zeros((frames, 2)), np.zeros(frames), np.ones((frames, 2)))


def draw_speed(rng: np.random.Generator, width: int) -> float:
    """A peak speed in pixels a frame: mostly slow to brisk, rarely up to FASTEST."""
    speed = rng.uniform(5, FASTEST) if rng.random() < 0.06 else np.exp(rng.uniform(np.log(0.4), np.log(5)))
    return float(speed * width / SPEED_WIDTH)


def _glide(rng: np.random.Generator, time: Array) -> Array:
    return time[:, None] * _direction(rng)


def _ease(rng: np.random.Generator, time: Array) -> Array:
    begin = rng.uniform(-0.2, 0.5)
    return _min_jerk((time - begin) / rng.uniform(0.3, 0.9))[:, None] * _direction(rng)


def _sway(rng: np.random.Generator, time: Array) -> Array:
    phase = rng.uniform(0, 2 * np.pi) + 2 * np.pi * rng.uniform(0.5, 2) * time
    across = rng.uniform(-1, 1)
    along = _direction(rng)
    return np.sin(phase)[:, None] * along + across * np.cos(phase)[:, None] * along[::-1] * [1, -1]


def _wander(rng: np.random.Generator, time: Array) -> Array:
    path = np.zeros((len(time), 2))
    for rate in rng.uniform(0.2, 2.0, 3):
        path += np.sin(2 * np.pi * rate * time + rng.uniform(0, 6))[:, None] * rng.normal(size=2) / rate
    return path


def _strokes(rng: np.random.Generator, time: Array) -> Array:
    """As a pointer drags: rests, then one to three minimum-jerk strokes with short rests."""
    path = np.zeros((len(time), 2))
    begin = rng.uniform(0, 0.2)
    along = _direction(rng)
    for _ in range(rng.integers(1, 4)):
        length = rng.uniform(0.25, 0.7)
        path += _min_jerk((time - begin) / length)[:, None] * along * rng.uniform(0.4, 1)
        begin += length + rng.choice([0, rng.uniform(0, 0.2)])
        turn = rng.normal(0, 1.2)
        along = along @ rotation(turn)
    return path


def _min_jerk(x: Array) -> Array:
    x = np.clip(x, 0, 1)
    return x**3 * (10 - 15 * x + 6 * x**2)


def _direction(rng: np.random.Generator) -> Array:
    angle = rng.uniform(0, 2 * np.pi)
    return np.array([np.cos(angle), np.sin(angle)])


CURVES: tuple[Curve, ...] = (_glide, _ease, _sway, _wander, _strokes)


def path(rng: np.random.Generator, frames: int, speed: float, curve: Curve | None = None) -> Array:
    """(F, 2) path from 0 whose fastest step is `speed`. curve: its family; random by default.

    One unit of a curve's time is a second of 24 frames, so that long clips have more motion, not slower motion.
    """
    chosen = curve or CURVES[int(rng.integers(len(CURVES)))]
    raw = chosen(rng, np.arange(frames) / 24)
    peak = np.linalg.norm(np.diff(raw, axis=0), axis=1).max(initial=0)
    return (raw - raw[:1]) * (speed / peak if peak > 1e-9 else 0.0)


def shaken_path(rng: np.random.Generator, frames: int, size: tuple[int, int]) -> Array:
    """(F, 2) path of a shaken object: up to three times FASTEST, back and forth over half the frame."""
    speed = rng.uniform(FASTEST, 3 * FASTEST) * size[0] / SPEED_WIDTH
    return soft_limit(path(rng, frames, speed, _sway), np.array(size) / 4)


def drag_path(rng: np.random.Generator, frames: int, speed: float) -> Array:
    """(F, 2) path of a dragged object: smooth starts and stops."""
    return path(rng, frames, speed, _strokes)


def scalar(rng: np.random.Generator, frames: int, rate: float, limit: float) -> Array:
    """(F,) curve from 0, never steeper than `rate` and never beyond ± `limit`."""
    return soft_limit(path(rng, frames, rate)[:, 0], limit)


def soft_limit(values: Array, limit: Array | float) -> Array:
    """Values limited to ± limit by tanh; never faster than before."""
    safe = np.maximum(limit, 1e-6)
    return safe * np.tanh(values / safe)


def rotation(angle: Array | float) -> Array:
    """(…, 2, 2) rotation matrices, clockwise on screen since y points down."""
    cos, sin = np.cos(angle), np.sin(angle)
    return np.stack([np.stack([cos, -sin], -1), np.stack([sin, cos], -1)], -2)


@dataclass(frozen=True)
class Camera:
    """A camera over a flat world: pan (F, 2) pixels, zoom (F,) factor, roll (F,) radians, frame centre (2,)."""

    pan: Array
    zoom: Array
    roll: Array
    centre: Array

    def matrices(self, pose: Pose, depth: float) -> Array:
        """(F, 2, 3): a layer's own pixels → frame pixels. depth: share of the pan that it follows (1 = ground)."""
        view = self.zoom[:, None, None] * rotation(self.roll)
        linear = view @ (rotation(pose.angle) * pose.scale[:, None, :])
        offset = (view @ (pose.xy - depth * self.pan)[..., None]) + self.centre[:, None]
        return np.concatenate([linear, offset], -1)

    def world_of(self, frame: int, xy: Array, depth: float) -> Array:
        """The world position that frame pixel `xy` shows at `frame`, for a layer at `depth`."""
        view = self.zoom[frame] * rotation(self.roll[frame])
        return np.asarray(np.linalg.solve(view, xy - self.centre) + depth * self.pan[frame])


def parked_camera(rng: np.random.Generator, frames: int, size: tuple[int, int], room: Array) -> Camera:
    """A camera that does not move. room: (2,) pixels that it may be away from the middle."""
    pan = np.broadcast_to(rng.uniform(-1, 1, 2) * room, (frames, 2))
    return Camera(pan, np.ones(frames), np.zeros(frames), np.array(size) / 2)


def moving_camera(rng: np.random.Generator, frames: int, size: tuple[int, int], room: Array) -> Camera:
    """A camera that pans, and sometimes zooms and rolls. room: (2,) pixels it may pan each way."""
    start = rng.uniform(-0.8, 0.8, 2) * room
    pan = soft_limit(start + path(rng, frames, draw_speed(rng, size[0])), room)
    zoom = scalar(rng, frames, rng.uniform(0.002, 0.014), 0.35) if rng.random() < 0.5 else np.zeros(frames)
    roll = scalar(rng, frames, rng.uniform(0.001, 0.012), 0.3) if rng.random() < 0.35 else np.zeros(frames)
    return Camera(pan, np.exp(zoom), roll, np.array(size) / 2)


def turning(rng: np.random.Generator, frames: int) -> Array:
    """(F,) angle of an object: 0 half of the time, else swinging or spinning."""
    if rng.random() < 0.5:
        return np.zeros(frames)
    return scalar(rng, frames, rng.uniform(0.005, 0.08), rng.uniform(0.2, 3))


def growing(rng: np.random.Generator, frames: int) -> Array:
    """(F, 2) scale of an object: nearer, farther, squashed; often constant."""
    both = scalar(rng, frames, rng.uniform(0.003, 0.02), 0.5) if rng.random() < 0.4 else np.zeros(frames)
    squash = scalar(rng, frames, rng.uniform(0.005, 0.04), 0.3) if rng.random() < 0.25 else np.zeros(frames)
    return np.exp(np.stack([both + squash, both - squash], -1))


@dataclass(frozen=True)
class Bending:
    """A non-rigid warp as two shears, each inverted exactly by its negative.

    u += bend·v²/r + sway·sin(k·v/r + sway_phase) + Σ hinge·ramp(v/r − joint), then v += ripple·sin(k·u/r +
    ripple_phase), with (u, v) the layer's own pixels from its centre and r half its longer side. A ramp is 0 before its
    joint and rises behind it, so that this part swings. shears: (F, 7) of bend, sway, its phase, ripple, its phase and
    two hinges. waves: k of sway, k of ripple. joints: positions of the hinges.
    """

    shears: Array
    waves: tuple[float, float]
    joints: tuple[float, float] = (0.0, 0.0)

    @classmethod
    def draw(cls, rng: np.random.Generator, frames: int, radius: float) -> Bending:
        """A random warp of an object of half-size `radius` pixels."""
        bend = radius * (rng.normal(0, 0.1) + scalar(rng, frames, rng.uniform(0.005, 0.04), 0.35))
        sway, ripple = radius * rng.uniform(0, 0.12, 2) * (rng.random(2) < 0.6)
        phases = rng.uniform(0, 2 * np.pi, (2, 1)) + rng.uniform(-0.35, 0.35, (2, 1)) * np.arange(frames)
        waves = float(rng.uniform(1.5, 4)), float(rng.uniform(1.5, 4))
        columns = np.broadcast_arrays(bend, sway, phases[0], ripple, phases[1], 0, 0)
        return cls(np.stack(columns, -1), waves)

    @classmethod
    def jointed(cls, rng: np.random.Generator, frames: int, radius: float) -> Bending:
        """One or two joints behind which the object swings, like a tail, a leg or a neck."""
        shears = np.zeros((frames, 7))
        time = np.arange(frames) / 24
        for joint in range(rng.integers(1, 3)):
            swing = rng.uniform(0.15, 0.6) * np.sin(2 * np.pi * rng.uniform(0.3, 1.6) * time + rng.uniform(0, 6))
            shears[:, 5 + joint] = radius * (swing - swing[0] * rng.random())
        joints = float(rng.uniform(-0.6, 0.1)), float(rng.uniform(0.1, 0.6))
        return cls(shears, (1.0, 1.0), joints)


@dataclass(frozen=True)
class Turn:
    """An object that turns out of the picture's plane, as a flat object in perspective. All frame by frame.

    tilt: (F, 2) one over the pixels to the vanishing line along its own axes. squeeze: (F, 2) factors of its scale.
    light: (F,) factor of its brightness, as it turns to the light or away.
    """

    tilt: Array
    squeeze: Array
    light: Array

    @classmethod
    def draw(cls, rng: np.random.Generator, frames: int, radius: float) -> Turn:
        """About the vertical or, less often, the horizontal axis, by up to 60°, of an object of half-size `radius`."""
        axis = int(rng.random() < 0.25)
        angle = rng.normal(0, 0.15) + scalar(rng, frames, rng.uniform(0.01, 0.07), 0.9)
        tilt, squeeze = np.zeros((frames, 2)), np.ones((frames, 2))
        tilt[:, axis] = np.sin(angle) / (radius * rng.uniform(3, 8))
        squeeze[:, axis] = np.cos(angle)
        return cls(tilt, squeeze, 1 + rng.uniform(-0.35, 0.35) * (np.sin(angle) - np.sin(angle[0])))
