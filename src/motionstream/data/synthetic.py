"""Synthetic worlds: endless clips with exact tracks, made of cut-outs and photographs.

A world is a photograph under a camera with objects on it, far to near, each moved by an exact map. Motion is
independent of content, so that a model has to use the tracks. See docs/architecture.md, section 7.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TypedDict

import numpy as np
import torch
from torch import Tensor

from motionstream.data import captions, effects, motion, points, segments, textures
from motionstream.data.assets import AssetLibrary, UInt8Array
from motionstream.data.effects import SHARE as EFFECT_SHARE
from motionstream.data.layers import Layer, Placement
from motionstream.data.motion import Bending, Camera, Pose, Turn
from motionstream.data.render import draw
from motionstream.geometry import Geometry
from motionstream.tracks.tracks import IntArray, Tracks

STILL, DRAG, CAMERA, MIXED = "still", "drag", "camera", "mixed"
PLOTS = {STILL: 0.10, DRAG: 0.25, CAMERA: 0.13, MIXED: 0.52}  # what moves in a world → share of such worlds
SMALLEST, LARGEST = 0.18, 0.75  # longer side of an object, as a share of the frame's height
SHAKEN, JOINTED, TURNED = 0.08, 0.4, 0.4  # shares of moving objects in varied worlds that are
BLURRED = 0.25  # share of varied worlds
SEGMENTED = 0.4  # share of varied worlds with moving objects in which a segment of the photograph may move
GROUND_COVER = (1.05, 1.9)  # how many times the ground's shorter fit covers the frame


@dataclass(frozen=True)
class Clip:
    """A rendered world.

    video: (F, H, W, 3) uint8. tracks: exact, N points. object_of: (N,) 0 = ground, else the object's number.
    caption: objects, background and effect. effect: its name, "none" if there is none.
    """

    video: UInt8Array
    tracks: Tracks
    object_of: IntArray
    caption: str
    effect: str


class Batch(TypedDict):
    """B clips as tensors: video (B, F, 3, H, W) uint8, xy (B, F, N, 2) float32 pixels, visible (B, F, N) bool,
    object_of (B, N) int64, and B captions."""

    video: Tensor
    xy: Tensor
    visible: Tensor
    object_of: Tensor
    captions: list[str]


@dataclass(frozen=True)
class World:
    """A clip before it is drawn. layers: far to near, the ground first. plot: what moves, one of `PLOTS`."""

    layers: Sequence[Layer]
    size: tuple[int, int]
    effect: str
    strength: np.ndarray
    effect_seed: int
    caption: str
    plot: str
    shutter: float = 0.0

    def render(self, device: torch.device | str = "cpu") -> Tensor:
        """(F, 3, H, W) uint8 on `device`."""
        return _bytes(self.with_effect(self._drawn(device)))

    def under_effects(self, names: Sequence[str], device: torch.device | str = "cpu") -> list[Tensor]:
        """(F, 3, H, W) uint8 with each of these effects instead of its own; the layers are drawn once."""
        frames = self._drawn(device)
        return [_bytes(replace(self, effect=name).with_effect(frames.clone())) for name in names]

    def _drawn(self, device: torch.device | str) -> Tensor:
        return draw(self.layers, self.size, torch.device(device), shutter=self.shutter)

    def with_effect(self, frames: Tensor) -> Tensor:
        """Frames (F, 3, H, W) in [0, 1] with its effect; may write into those that it is given."""
        if self.effect == effects.NONE:
            return frames
        strength = torch.from_numpy(self.strength).to(frames.device)
        return effects.BY_NAME[self.effect].apply(frames, strength, np.random.default_rng(self.effect_seed))


def _bytes(frames: Tensor) -> Tensor:
    """[0, 1] → uint8; writes into the frames that it is given."""
    return frames.mul_(255).add_(0.5).clamp_(0, 255).to(torch.uint8)


@dataclass(frozen=True)
class PlannedWorlds:
    """A batch before it is drawn: its worlds, and the tensors of `Batch` that need no drawing."""

    worlds: Sequence[World]
    xy: Tensor
    visible: Tensor
    object_of: Tensor

    def draw(self, device: torch.device | str) -> Batch:
        """Render every world on `device`."""
        return Batch(
            video=torch.stack([world.render(device) for world in self.worlds]),
            xy=self.xy.to(device),
            visible=self.visible.to(device),
            object_of=self.object_of.to(device),
            captions=[world.caption for world in self.worlds],
        )


class SyntheticWorlds:
    """Clips by number: the same (seed, index) is the same clip, in any order and in any process.

    size: (W, H), multiples of 16. frames: 1 + 4 n. points: tracks in every clip. effects: share of clips with an
    effect; True: half of them. variety: share of varied worlds, in which objects may also turn in depth under a light,
    swing from joints, be shaken, be segments of the photograph, or have motion blur.
    Raises ValueError if the size, the number of frames or a share does not fit.
    """

    def __init__(
        self,
        library: AssetLibrary,
        size: tuple[int, int] = (256, 144),
        frames: int = 25,
        seed: int = 0,
        effects: bool | float = True,
        points: int = 400,
        device: torch.device | str = "cpu",
        variety: float = 0.0,
    ) -> None:
        Geometry(*size).latents(frames)
        if points < 16:
            raise ValueError(f"{points} points a clip: ask for at least 16")
        self.library, self.size, self.frames, self.seed = library, size, frames, seed
        self.effects = EFFECT_SHARE if effects is True else float(effects)
        if not 0 <= self.effects <= 1:
            raise ValueError(f"effects = {effects}: a share of clips is from 0 to 1")
        if not 0 <= variety <= 1:
            raise ValueError(f"variety = {variety}: a share of clips is from 0 to 1")
        self.points, self.device, self.variety = points, torch.device(device), variety

    def world(self, index: int) -> World:
        """World number `index`, not drawn yet."""
        rng, more = (np.random.default_rng([self.seed, index, stream]) for stream in (0, 2))
        return _WorldMaker(self, rng, more if more.random() < self.variety else None).make()

    def tracks(self, world: World, index: int) -> tuple[Tracks, IntArray]:
        """Exact tracks of that world, and the number of the object each point is on."""
        rng = np.random.default_rng([self.seed, index, 1])
        return points.follow(world.layers, self.size, self.points, rng)

    def sample(self, index: int) -> Clip:
        """Clip number `index`."""
        world = self.world(index)
        tracks, object_of = self.tracks(world, index)
        video = world.render(self.device).permute(0, 2, 3, 1).cpu().numpy()
        return Clip(video, tracks, object_of, world.caption, world.effect)

    def plan(self, indices: Sequence[int]) -> PlannedWorlds:
        """Those clips with their tracks, not drawn yet."""
        worlds = [self.world(index) for index in indices]
        followed = [self.tracks(world, index) for world, index in zip(worlds, indices, strict=True)]
        return PlannedWorlds(
            worlds,
            torch.from_numpy(np.stack([tracks.xy for tracks, _ in followed])),
            torch.from_numpy(np.stack([tracks.visible for tracks, _ in followed])),
            torch.from_numpy(np.stack([numbers for _, numbers in followed])),
        )

    def batch(self, indices: Sequence[int]) -> Batch:
        """Those clips stacked, on the device they were drawn on."""
        return self.plan(indices).draw(self.device)


@dataclass(frozen=True)
class _Moving:
    """How an object moves. radius: its half-size in pixels; see `Pose`, `Bending` and `Turn`."""

    camera: Camera
    pose: Pose
    depth: float
    bending: Bending | None = None
    radius: float = 1.0
    turn: Turn | None = None

    def layer(self, texture: Tensor, number: int, solid: bool) -> Layer:
        tilt, light = (None, None) if self.turn is None else (self.turn.tilt, torch.from_numpy(self.turn.light))
        matrices = self.camera.matrices(self.pose, self.depth)
        return Layer(texture, Placement.of(matrices, self.bending, self.radius, tilt), number, solid, light)


class _WorldMaker:
    """Draws the parameters of one world from rng. more: random numbers of varied worlds, None in others."""

    def __init__(self, worlds: SyntheticWorlds, rng: np.random.Generator, more: np.random.Generator | None) -> None:
        self.more = more
        self.library, self.size, self.frames = worlds.library, worlds.size, worlds.frames
        self.effects, self.rng = worlds.effects, rng
        self.layers: list[Layer] = []
        self.names: list[str] = []

    def make(self) -> World:
        rng = self.rng
        plot = str(rng.choice(list(PLOTS), p=list(PLOTS.values())))
        place, camera = self._ground(plot)
        segmented = self._move_segment(camera, plot)
        count = int(rng.choice([1, 2, 3, 4], p=[0.3, 0.35, 0.22, 0.13]))
        moved = int(rng.integers(count))
        for number in range(count):
            self._object(camera, plot, dragged=plot == DRAG and number == moved and not segmented)
        if plot in (CAMERA, MIXED) and rng.random() < 0.4:
            for _ in range(rng.integers(1, 3)):
                self._foreground(camera)
        effect = effects.draw_effect(rng, self.effects) if self.effects else effects.NONE
        strength = effects.draw_strength(rng, self.frames)
        text = captions.caption(rng, self.names, place, effect)
        seed = int(rng.integers(2**31))
        shutter = self.more.uniform(0.3, 0.8) if self.more is not None and self.more.random() < BLURRED else 0.0
        return World(self.layers, self.size, effect, strength, seed, text, plot, shutter)

    def _ground(self, plot: str) -> tuple[str, Camera]:
        rng = self.rng
        asset = self.library.choose_background(rng)
        texture = textures.ground_texture(self.library.load(asset), self.size, rng.uniform(*GROUND_COVER))
        texture = self._recoloured(texture)
        room = (np.array([texture.shape[2], texture.shape[1]]) - self.size) / 2
        moves = plot == CAMERA or (plot == MIXED and rng.random() < 0.6)
        make = motion.moving_camera if moves else motion.parked_camera
        camera = make(rng, self.frames, self.size, room)
        matrix = camera.matrices(Pose.still(self.frames), 1.0)
        self.layers.append(Layer(texture, Placement.of(matrix, None, 1.0), 0))
        return asset.caption, camera

    def _move_segment(self, camera: Camera, plot: str) -> bool:
        """A segment of the ground's own photograph that moves, in some varied worlds; whether there is one."""
        more = self.more
        if more is None or plot not in (DRAG, MIXED) or more.random() >= SEGMENTED:
            return False
        ground = self.layers[0]
        corner = camera.world_of(0, np.zeros(2), 1.0) + np.array(ground.texture.shape[:0:-1]) / 2
        left, top = corner.round().astype(int).tolist()
        segment = segments.cut_segment(ground.texture, (left, top, left + self.size[0], top + self.size[1]), more)
        if segment is None:
            return False
        self.layers[0] = replace(ground, texture=segment.ground)
        make = motion.drag_path if plot == DRAG else motion.path
        path = make(more, self.frames, motion.draw_speed(more, self.size[0]))
        angle = motion.turning(more, self.frames)
        pose = Pose(segment.centre + path - path[0], angle - angle[0], np.ones((self.frames, 2)))
        self._add(segment.texture, _Moving(camera, pose, 1.0))
        return True

    def _object(self, camera: Camera, plot: str, dragged: bool) -> None:
        rng = self.rng
        side = self.size[1] * np.exp(rng.uniform(np.log(SMALLEST), np.log(LARGEST)))
        texture = self._cutout(side)
        moves = dragged or (plot == MIXED and rng.random() < 0.8)
        depth = 1.0 if rng.random() < 0.6 else rng.uniform(1, 1.4)
        pose = self._pose(camera, depth, moves, dragged)
        bends = moves and rng.random() < (0.15 if dragged else 0.35)
        radius = max(texture.shape[1:]) / 2
        bending = Bending.draw(rng, self.frames, radius) if bends else None
        moving = _Moving(camera, pose, depth, bending, radius)
        if moves and self.more is not None:
            moving = self._varied(self.more, moving)
        if rng.random() < 0.4:
            self._shadow(texture, moving)
        self._add(texture, moving)

    def _varied(self, more: np.random.Generator, moving: _Moving) -> _Moving:
        """In a varied world an object may also be shaken, swing from joints or turn in depth."""
        pose, bending, radius = moving.pose, moving.bending, moving.radius
        if more.random() < SHAKEN:
            pose = replace(pose, xy=pose.xy[:1] + motion.shaken_path(more, self.frames, self.size))
        if bending is None and more.random() < JOINTED:
            bending = Bending.jointed(more, self.frames, radius)
        turn = Turn.draw(more, self.frames, radius) if more.random() < TURNED else None
        if turn is not None:
            pose = replace(pose, scale=pose.scale * turn.squeeze)
        return replace(moving, pose=pose, bending=bending, turn=turn)

    def _pose(self, camera: Camera, depth: float, moves: bool, dragged: bool) -> Pose:
        """Where an object is: inside the frame at frame 0, or at a later one if it may enter and leave."""
        rng, frames = self.rng, self.frames
        anchor = 0 if dragged or not moves or rng.random() < 0.6 else int(rng.integers(frames))
        path = np.zeros((frames, 2))
        if moves:
            make = motion.drag_path if dragged else motion.path
            path = make(rng, frames, motion.draw_speed(rng, self.size[0]))
        margin = 0.12 if dragged else 0.02
        start = camera.world_of(anchor, rng.uniform(margin, 1 - margin, 2) * self.size, depth)
        turns = moves and (not dragged or rng.random() < 0.3)
        angle = rng.normal(0, 0.12) + (motion.turning(rng, frames) if turns else np.zeros(frames))
        scale = motion.growing(rng, frames) if turns else np.ones((frames, 2))
        return Pose(start + path - path[anchor], angle, scale)

    def _foreground(self, camera: Camera) -> None:
        """A large cut-out of another photograph, nearer than all else, that passes by as the camera moves."""
        rng = self.rng
        photo = self.library.load(self.library.choose_background(rng))
        side = self.size[1] * rng.uniform(0.4, 0.9)
        patch = textures.patch_cutout(photo, int(side * rng.uniform(1, 2)), rng)
        depth = rng.uniform(1.3, 1.9)
        at = rng.uniform(0, 1, 2) * self.size
        start = camera.world_of(int(rng.integers(self.frames)), at, depth)
        pose = Pose(np.broadcast_to(start, (self.frames, 2)), np.zeros(self.frames), np.ones((self.frames, 2)))
        self._add(self._recoloured(textures.cutout_texture(patch, side)), _Moving(camera, pose, depth))

    def _shadow(self, texture: Tensor, moving: _Moving) -> None:
        rng = self.rng
        soft = textures.shadow_texture(texture, rng.uniform(0.2, 0.5))
        fall = rng.uniform(0.04, 0.16) * max(texture.shape[1:]) * np.array([rng.uniform(-1, 1), 1])
        pose = moving.pose
        self._add(soft, replace(moving, pose=replace(pose, xy=pose.xy + fall)), solid=False)

    def _add(self, texture: Tensor, moving: _Moving, solid: bool = True) -> None:
        number = 1 + sum(layer.solid for layer in self.layers[1:])
        self.layers.append(moving.layer(texture, number, solid))

    def _cutout(self, side: float) -> Tensor:
        rng = self.rng
        asset = self.library.choose_cutout(rng)
        if asset is None:
            photo = self.library.load(self.library.choose_background(rng))
            pixels = textures.patch_cutout(photo, int(side * rng.uniform(1, 2.5)), rng)
        else:
            self.names.append(asset.caption)
            pixels = self.library.load(asset)
        if rng.random() < 0.5:
            pixels = pixels[:, ::-1]
        return self._recoloured(textures.cutout_texture(np.ascontiguousarray(pixels), side))

    def _recoloured(self, texture: Tensor) -> Tensor:
        """Random brightness and colour temperature; keeps premultiplied colour at or below alpha."""
        gain = self.rng.uniform(0.8, 1.15) * self.rng.uniform(0.94, 1.06, 3)
        colour = texture[:3] * torch.from_numpy(gain.astype(np.float32))[:, None, None]
        if texture.shape[0] == 3:
            return colour.clamp_(max=1)
        return torch.cat([torch.minimum(colour, texture[3:]), texture[3:]])
