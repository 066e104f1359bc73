"""A synthetic world under every effect that a prompt can name: its true clips, captions and tracks."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from motionstream.data.captions import with_effect
from motionstream.data.effects import BY_NAME, NONE
from motionstream.data.synthetic import SyntheticWorlds, World
from motionstream.evaluate.metrics import Video, unit_frames
from motionstream.evaluate.probe import features
from motionstream.tracks import Tracks
from motionstream.vae.pixels import to_frames

CLASSES = (NONE, *BY_NAME)
DRAWS = 3  # of the true effect, applied to a model's frames


@dataclass(frozen=True)
class PromptWorld:
    """One world. tracks: of all points that are ever visible. seed: of the effects' strength and wording."""

    world: World
    tracks: Tracks
    number: int
    seed: int

    @classmethod
    def of(cls, worlds: SyntheticWorlds, number: int, seed: int) -> PromptWorld:
        world = worlds.world(number)
        tracks, _ = worlds.tracks(world, number)
        return cls(world, tracks.select(tracks.visible.any(0)), number, seed)

    def caption(self, effect: str) -> str:
        """The world's caption with the effect named in it."""
        return with_effect(self.world.caption, effect, self._rng(effect))

    def under(self, effect: str) -> World:
        """The world with this effect in place of its own."""
        return replace(self.world, effect=effect, strength=ramp(self.tracks.frames, self._rng(effect)))

    def true(self, effect: str) -> Video:
        """The true clip under this effect, (F, H, W, 3)."""
        video: Video = self.under(effect).render().permute(0, 2, 3, 1).contiguous().numpy()
        return video

    def redrawn(self, effect: str) -> Iterator[World]:
        """The world under other random draws of the effect: other flakes, another thickness and onset."""
        for draw in range(1, DRAWS + 1):
            rng = self._rng(effect, draw)
            strength = ramp(self.tracks.frames, rng)
            yield replace(self.world, effect=effect, strength=strength, effect_seed=int(rng.integers(1 << 31)))

    def features(self) -> dict[str, dict[str, float]]:
        """The probe's features of the true clips, by effect."""
        return {effect: features(self.true(effect), self.tracks) for effect in CLASSES}

    def _rng(self, effect: str, *draw: int) -> np.random.Generator:
        return np.random.default_rng([self.seed, self.number, CLASSES.index(effect), *draw])


def ramp(frames: int, rng: np.random.Generator) -> npt.NDArray[np.float32]:
    """(F,) strength of an effect: 0 in frame 0, 1 before the middle."""
    begin, length = rng.uniform(0, frames / 8), rng.uniform(frames / 8, frames / 3)
    rising = np.clip((np.arange(frames) - begin) / length, 0, 1)
    return np.asarray(rising * rising * (3 - 2 * rising), np.float32)


def affected(video: Video, world: World) -> Video:
    """Frames (F, H, W, 3) of a world's length and size under that world's effect."""
    return to_frames(world.with_effect(unit_frames(video)) * 2 - 1)
