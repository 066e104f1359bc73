"""3D scenes of textured planes under a moving camera, with exact depth and tracks. For measuring camera control.

A photograph is the distant background, another the ground, and cut-outs stand in between, facing the first camera.
Every pixel's ray is intersected with every plane, so that video, depth and tracks agree exactly.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn.functional import grid_sample, interpolate

from motionstream.camera.camera import Lens, pixel_centres, to_camera, to_world
from motionstream.camera.path import MOVES, CameraPath, moved
from motionstream.data.assets import Asset, AssetLibrary
from motionstream.tracks.tracks import Tracks, inside

Floats = npt.NDArray[np.float64]
Size = tuple[int, int]

FARTHEST = 5.0  # depth of the background, in units of the scene; cut-outs are nearer
NEAREST = 1.7
GROUND_FROM = 1.2  # depth at which the ground enters the frame at its lower edge
STANDING = (2, 4)  # cut-outs in a scene
HEIGHTS = (0.35, 0.7)  # of a cut-out, in parts of the frame's height
SHARPNESS = 1.3  # texels a pixel in the first frame, so that the camera may come nearer
BACKGROUND = 1.6  # widths of the frame that the background spans
SOLID = 0.5  # alpha from which on a cut-out occludes what is behind
SAMPLES = 2  # rays a pixel and direction
OWN = 1e-6  # relative depth error within which a point is on its plane


@dataclass(frozen=True)
class Plane:
    """A flat picture in space.

    texture: (3, h, w), which is mirrored beyond its edges, or (4, h, w) premultiplied RGBA, both in [0, 1].
    centre: (3,) of the texture, in the world. across, down: (3,) steps of one texel, at right angles.
    """

    texture: Tensor
    centre: Floats
    across: Floats
    down: Floats

    def intersect(self, eye: Floats, rays: Floats) -> tuple[Floats, Floats]:
        """Rays (…, 3) of depth 1 from `eye` (3,) → (…) depth at the plane, else NaN, and (…, 2) texels."""
        normal = np.cross(self.across, self.down)
        along = rays @ normal
        with np.errstate(divide="ignore", invalid="ignore"):
            depth = ((self.centre - eye) @ normal) / along
        depth = np.where(np.isfinite(depth) & (depth > 0), depth, np.nan)
        offset = eye + rays * depth[..., None] - self.centre
        texels = np.stack([offset @ step / (step @ step) for step in (self.across, self.down)], -1)
        return depth, texels

    def sample(self, texels: Floats) -> Tensor:
        """(M, 2) texels from the centre → (4, M) premultiplied colour and alpha; nothing where texels are NaN."""
        height, width = self.texture.shape[1:]
        where = torch.from_numpy(np.nan_to_num(texels * 2 / (width, height), nan=1e6)).float()[None, None]
        endless = self.texture.shape[0] == 3
        found = grid_sample(
            self.texture[None], where, "bilinear", "reflection" if endless else "zeros", align_corners=False
        )[0, :, 0]
        hit = torch.from_numpy(np.isfinite(texels).all(-1))
        colour = torch.cat([found, torch.ones_like(found[:1])]) if endless else found
        return colour * hit


@dataclass(frozen=True)
class CameraScene:
    """A still scene and a camera that moves through it. path: begins at the identity pose."""

    lens: Lens
    path: CameraPath
    planes: Sequence[Plane]
    caption: str
    move: str

    @property
    def frames(self) -> int:
        return self.path.frames

    def video(self) -> npt.NDArray[np.uint8]:
        """(F, H, W, 3) uint8."""
        return np.stack([self.picture(frame) for frame in range(self.frames)])

    def picture(self, frame: int) -> npt.NDArray[np.uint8]:
        """One frame (H, W, 3) uint8, several rays a pixel."""
        width, height = self.lens.size
        fine = pixel_centres((width * SAMPLES, height * SAMPLES)) / SAMPLES
        colour = self._render(frame, fine.reshape(-1, 2)).unflatten(1, (height, SAMPLES, width, SAMPLES)).mean((2, 4))
        return np.asarray(colour.permute(1, 2, 0).mul(255).add(0.5).clamp(0, 255).to(torch.uint8))

    def depth_map(self, frame: int = 0) -> Floats:
        """(H, W) depth at the pixels' centres; NaN where there is no plane."""
        return self.depth(frame, pixel_centres(self.lens.size))

    def depth(self, frame: int, xy: Floats) -> Floats:
        """(…) depth of the nearest solid plane at positions (…, 2) of a frame."""
        nearest: Floats = np.fmin.reduce(self._solid(frame, xy))
        return nearest

    def tracks(self, points: Floats) -> Tracks:
        """Where `points` (N, 2) of the first frame are in every frame, and whether they are seen."""
        world = to_world(self.path.poses[0], self._lens(0).lift(points, self.depth(0, points)))
        xy, visible = [], []
        for frame, pose in enumerate(self.path.poses):
            at, far = self._lens(frame).project(to_camera(pose, world))
            hidden = far > self.depth(frame, np.nan_to_num(at)) * (1 + OWN)
            xy.append(at)
            visible.append(inside(at, self.lens.size) & np.isfinite(far) & ~hidden)
        return Tracks(np.stack(xy).astype(np.float32), np.stack(visible))

    def _lens(self, frame: int) -> Lens:
        return self.lens.zoomed(float(self.path.zoom[frame]))

    def _intersections(self, frame: int, xy: Floats) -> list[tuple[Floats, Floats]]:
        pose = self.path.poses[frame]
        rays = self._lens(frame).lift(xy, np.ones(xy.shape[:-1])) @ pose[:3, :3].T
        return [plane.intersect(pose[:3, 3], rays) for plane in self.planes]

    def _solid(self, frame: int, xy: Floats) -> list[Floats]:
        """(…) depth of each plane, NaN where it is transparent."""
        found = []
        for plane, (depth, texels) in zip(self.planes, self._intersections(frame, xy), strict=True):
            alpha = plane.sample(texels.reshape(-1, 2))[3].numpy().reshape(depth.shape)
            found.append(np.where(alpha >= SOLID, depth, np.nan))
        return found

    def _render(self, frame: int, xy: Floats) -> Tensor:
        """(3, M) colour in [0, 1] at positions (M, 2): the planes on each ray, near ones over far ones."""
        found = self._intersections(frame, xy)
        layers = torch.stack([plane.sample(texels) for plane, (_, texels) in zip(self.planes, found, strict=True)])
        order = torch.from_numpy(np.argsort([-np.nan_to_num(depth, nan=np.inf) for depth, _ in found], axis=0))
        colour = torch.zeros(3, len(xy))
        for rank in range(len(layers)):
            layer = layers.gather(0, order[rank].expand(1, 4, -1))[0]
            colour = layer[:3] + colour * (1 - layer[3])
        return colour


class CameraScenes:
    """Scenes by number: the same (seed, index) gives the same scene. size (W, H), frames: of the video."""

    def __init__(self, library: AssetLibrary, size: Size, frames: int, seed: int = 0) -> None:
        if frames < 2:
            raise ValueError(f"{frames} frames: a camera moves over at least 2")
        self.library, self.size, self.frames, self.seed = library, size, frames, seed

    def scene(self, index: int) -> CameraScene:
        """A scene; its camera movements take turns through all of `MOVES`, of random sign and amount."""
        rng = np.random.default_rng([self.seed, index])
        lens = Lens.of(self.size, float(rng.uniform(45, 65)))
        background, ground = self.library.choose_background(rng), self.library.choose_background(rng)
        standing = [self._standing(lens, rng) for _ in range(int(rng.integers(*STANDING, endpoint=True)))]
        planes = (self._far(lens, background), self._ground(lens, ground), *(plane for plane, _ in standing))
        move = list(MOVES)[index % len(MOVES)]
        path = moved(move, self.frames, _amount(move, rng), distance=float(rng.uniform(NEAREST, FARTHEST * 0.7)))
        return CameraScene(lens, path, planes, _caption([name for _, name in standing], background), move)

    def _far(self, lens: Lens, asset: Asset) -> Plane:
        """A photograph as the distant background."""
        texture = _texture(self.library.load(asset)[..., :3], BACKGROUND * lens.size[0] * SHARPNESS)
        step = FARTHEST / lens.fx / SHARPNESS
        return Plane(texture, np.array([0, 0, FARTHEST]), np.array([step, 0, 0]), np.array([0, step, 0]))

    def _ground(self, lens: Lens, asset: Asset) -> Plane:
        """A photograph as the ground."""
        middle = (GROUND_FROM + FARTHEST) / 2
        step = middle / lens.fx
        texture = _texture(self.library.load(asset)[..., :3], lens.size[0])
        return Plane(texture, np.array([0, _eye_height(lens), middle]), np.array([step, 0, 0]), np.array([0, 0, -step]))

    def _standing(self, lens: Lens, rng: np.random.Generator) -> tuple[Plane, str]:
        """A cut-out on the ground, or a photograph where the library has none."""
        asset = self.library.choose_cutout(rng) or self.library.choose_background(rng)
        pixels = self.library.load(asset)
        depth = float(rng.uniform(NEAREST, FARTHEST * 0.7))
        high = float(rng.uniform(*HEIGHTS)) * lens.size[1] * NEAREST / depth  # pixels in the first frame
        wide = high * pixels.shape[1] / pixels.shape[0]
        texture = _texture(pixels, max(wide * SHARPNESS, 2))
        step = depth / lens.fx / SHARPNESS
        left, right = (lens.lift(np.array([x, 0.0]), np.array(depth))[0] for x in (0, lens.size[0]))
        foot = _eye_height(lens) - step * texture.shape[1] / 2
        centre = np.array([rng.uniform(left, right), foot, depth])
        return Plane(texture, centre, np.array([step, 0, 0]), np.array([0, step, 0])), asset.caption


def _eye_height(lens: Lens) -> float:
    """Of the camera above the ground, so that the ground enters the frame at `GROUND_FROM`."""
    return (lens.size[1] - lens.cy) / lens.fy * GROUND_FROM


def _texture(pixels: npt.NDArray[np.uint8], width: float) -> Tensor:
    """(c, h, w) float32 in [0, 1], alpha premultiplied, `width` texels across, antialiased."""
    texture = torch.from_numpy(pixels.astype(np.float32) / 255).permute(2, 0, 1)
    if len(texture) == 4:
        texture = torch.cat([texture[:3] * texture[3:], texture[3:]])
    across = max(2, round(width))
    rows = max(2, round(across * texture.shape[1] / texture.shape[2]))
    resized = interpolate(texture[None], (rows, across), mode="bilinear", align_corners=False, antialias=True)
    return resized[0]


def _amount(move: str, rng: np.random.Generator) -> float:
    """0.5 to 1.25 of the default amount, either sign; a crane only goes up, because the ground is near."""
    usual, factor, back = MOVES[move].amount, float(rng.uniform(0.5, 1.25)), bool(rng.integers(2)) and move != "crane"
    if move == "zoom":
        zoom = float(usual**factor)
        return 1 / zoom if back else zoom
    return -usual * factor if back else usual * factor


def _caption(objects: Sequence[str], background: Asset) -> str:
    named = list(dict.fromkeys(filter(None, [*objects, background.caption])))
    return ", ".join(named) or "a picture"
