"""Batches for the stages that train a DiT, of clips encoded before (`data/clip_shards.py`): Wan's training data.

Passes are numbered over all ranks, and each draws by its number alone: which clips, which of their points, what is
dropped, what noise. So a run is the same however many processes share it, as long as passes a step (accumulate ×
ranks) stay the same, and it goes on exactly on another number of them.

Legend: B clips, F frames, T latents, C channels, h w latent cells, N points.
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from motionstream.conditioning import Conditioning, EncodedPrompts, TrackBatch, first_and_tracks
from motionstream.data.clip_shards import ClipShards, EncodedClip
from motionstream.geometry import Geometry
from motionstream.tracks import Tracks
from motionstream.train.motion_data import Drops, Sample, draw_drops
from motionstream.train.parallelize import rank, world_size
from motionstream.train.points import Choice, mask_middle
from motionstream.train.recipe import MotionRecipe
from motionstream.train.typed import unknown

STRIDES = {"wan2.1": 8, "wan2.2": 16}
"""Kind of VAE → pixels that a latent cell spans."""
CHANNELS = {"wan2.1": 16, "wan2.2": 48}
"""Kind of VAE → channels of its latents."""


def geometry_of(recipe: MotionRecipe) -> Geometry:
    """The recipe's frame under its published VAE."""
    if recipe.vae not in STRIDES:
        raise ValueError(unknown(f"recipe {recipe.name}: vae", recipe.vae, STRIDES))
    return Geometry(*recipe.size, spatial_stride=STRIDES[recipe.vae])


class ShardData:
    """Draws `Sample`s of prepared clips. How many passes were made is all that a checkpoint needs."""

    vae = None
    """Nothing here decodes."""

    def __init__(self, recipe: MotionRecipe, folder: Path, choice: Choice, drops: Drops) -> None:
        """Raises ValueError if the clips in the folder were prepared for another recipe."""
        self.clips, self.geometry, self.batch = ClipShards(folder), geometry_of(recipe), recipe.batch
        self.choice, self.drops, self.seed, self.device = choice, drops, recipe.seed, recipe.device
        self.passes = 0
        for what in ("vae", "size", "frames"):
            has, wants = getattr(self.clips.prepared, what), getattr(recipe, what)
            if has != wants:
                raise ValueError(
                    f"clips in {folder} were prepared with {what} = {has}, recipe {recipe.name} wants {wants}: prepare "
                    f"them again, or set {what}"
                )

    @property
    def latent_channels(self) -> int:
        return self.clips.prepared.latent_channels

    def next(self, no_motion: bool = False) -> Sample:
        """The next batch. no_motion: also the conditioning without tracks."""
        number = self.passes + rank()
        self.passes += world_size()
        random = np.random.default_rng((self.seed, number))
        wanted = [self._clip(number * self.batch + place) for place in range(self.batch)]
        return self._sample([self.clips[clip] for clip in wanted], random, self.drops, no_motion)

    def probe(self, clips: int) -> Sample:
        """The first few clips, fully controlled."""
        chosen = [self.clips[number % len(self.clips)] for number in range(clips)]
        return self._sample(chosen, np.random.default_rng(7), Drops(), no_motion=True)

    def state_dict(self) -> dict[str, Any]:
        return {"passes": self.passes}

    def load_state_dict(self, state: dict[str, Any], /) -> None:
        self.passes = int(state["passes"])

    def _clip(self, drawn: int) -> int:
        """The number of the clip that is drawn as the `drawn`-th: every one once an epoch, in an order of its own."""
        epoch, place = divmod(drawn, len(self.clips))
        return int(_order(self.seed, epoch, len(self.clips))[place])

    @torch.no_grad()
    def _sample(self, clips: list[EncodedClip], random: np.random.Generator, drops: Drops, no_motion: bool) -> Sample:
        tracks = TrackBatch.of([self._points(clip.tracks, random) for clip in clips], self.device)
        text, track, _ = draw_drops(len(clips), drops, random)
        identities, key = int(random.integers(1 << 31)), int(random.integers(1 << 62))
        latents = torch.stack([clip.latents for clip in clips]).to(self.device, torch.float32)
        given = self._conditioning(latents, tracks.hidden(torch.from_numpy(track)), identities)
        everyone = torch.ones(len(clips), dtype=torch.bool)
        rows = [self.clips.null_prompt if drop else clip.text for clip, drop in zip(clips, text, strict=True)]
        seen = [clip.seen for clip in clips if clip.seen is not None]
        return Sample(
            latents=latents,
            conditioning=given,
            no_motion=self._conditioning(latents, tracks.hidden(everyone), identities) if no_motion else None,
            prompts=self._prompts(rows),
            null_prompt=self._prompts([self.clips.null_prompt]),
            seen=torch.stack(seen).to(self.device, torch.float32) if seen else None,
            key=key,
        )

    def _points(self, tracks: Tracks, random: np.random.Generator) -> Tracks:
        """Between `fewest` and `most` of a clip's points (paper Section 3.1), middle frames masked at times."""
        many = int(random.integers(self.choice.fewest, self.choice.most + 1))
        chosen = random.permutation(tracks.points)[:many]
        return mask_middle(tracks.select(np.sort(chosen)), self.choice, random)

    def _conditioning(self, latents: Tensor, tracks: TrackBatch, identities: int) -> Conditioning:
        """As a `TrackConditioner` makes it of a picture and tracks."""
        return first_and_tracks(latents[:, :1], tracks, self.geometry, identities, starts=True)

    def _prompts(self, rows: list[Tensor]) -> EncodedPrompts:
        return EncodedPrompts.of([row.to(self.device, torch.float32) for row in rows])


@lru_cache(maxsize=4)
def _order(seed: int, epoch: int, clips: int) -> npt.NDArray[np.int64]:
    return np.random.default_rng((seed, epoch, clips)).permutation(clips)
