"""What the stages that train a DiT share: their clips, what they resume by, and a student's rollout of its own.

Legend: B clips, T latents, C channels, h w latent cells.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor

from motionstream.data.loader import loader
from motionstream.dit import RollingCache
from motionstream.geometry import Geometry
from motionstream.sampling import MotionModel, RolloutConfig, keyed, rollout
from motionstream.tiny.vae import TinyVAE
from motionstream.train.motion_data import REANCHOR, Drops, MotionData, MotionSource, Sample, context_of, frozen_vae
from motionstream.train.points import Choice
from motionstream.train.recipe import ControlledRecipe, DroppingRecipe, MotionRecipe, Recipe
from motionstream.train.stage import DrawingStage, Image, autocast, contact_sheet
from motionstream.train.wan_data import ShardData
from motionstream.vae.pixels import to_uint8


def motion_source(recipe: MotionRecipe, assets: Path, out: Path, drops: Drops, seed: int) -> MotionSource:
    """The clips a recipe asks for: prepared ones, or synthetic ones. Raises ValueError if they do not fit it."""
    if recipe.data == "shards":
        return ShardData(recipe, assets, choice_of(recipe), drops)
    return synthetic_source(recipe, assets, out, drops, seed)


def synthetic_source(recipe: ControlledRecipe, assets: Path, out: Path, drops: Drops, seed: int) -> MotionData:
    """Synthetic worlds, encoded by the VAE of the recipe's chain."""
    vae = frozen_vae(out / recipe.vae, recipe.device, getattr(torch, recipe.dtype))
    geometry, anchored = Geometry(*recipe.size), recipe.network.anchored
    return MotionData(loader(recipe, assets), vae, geometry, choice_of(recipe), drops, seed, anchored)


def choice_of(recipe: ControlledRecipe) -> Choice:
    return Choice(recipe.points_min, recipe.points_max, recipe.mask_probability)


def guidance_drops(recipe: DroppingRecipe) -> Drops:
    """Shares that lose the prompt, the tracks or both, so that joint guidance can be trained (paper Section 3.1)."""
    return Drops(recipe.text_drop, recipe.track_drop, recipe.both_drop, recipe.anchor_drop, reanchor=REANCHOR)


class MotionStage(DrawingStage):
    """A stage on clips with tracks."""

    data: MotionSource

    def samples(self, no_motion: bool = False) -> Iterator[Sample]:
        """The clips of a step's passes. no_motion: also the conditioning without tracks.

        Where a sample's draws have a key, the generator is set to it.
        """
        for _ in range(self.recipe.accumulate):
            sample = self.data.next(no_motion)
            if sample.key is not None:
                self.random.manual_seed(sample.key)
            yield sample


def roll_out(
    student: MotionModel,
    sample: Sample,
    rollout_config: RolloutConfig,
    seed: int,
    exit_step: int | None = None,
    history_noise: Tensor | None = None,
) -> Tensor:
    """ẑ (B, T, C, h, w): the student's own clip, chunk by chunk from the picture on, as a stream makes it.

    The gradient, where enabled, goes through call `exit_step` of each chunk alone, which is then the last one made,
    and never through the cache (Self Forcing). history_noise (B, 1, C, 1, 1): added to what later chunks see of the
    chunks beyond the sink.
    """

    def remembered(begin: int, clean: Tensor) -> Tensor:
        return clean if history_noise is None or begin < rollout_config.sink else clean + history_noise.to(clean)

    cache, context = new_cache(student, sample.latents, rollout_config), context_of(student, sample)
    conditioning, noise = sample.conditioning, keyed(seed)
    chunks = rollout(student, cache, conditioning, context, rollout_config, noise, sample.first, exit_step, remembered)
    return torch.cat(list(chunks), 1)


def new_cache(model: MotionModel, latents: Tensor, config: RolloutConfig) -> RollingCache:
    """An empty cache for these latents, in the precision that is computed in."""
    rows, columns = model.dit.grid(*latents.shape[-2:])
    half = torch.is_autocast_enabled(latents.device.type)
    dtype = torch.get_autocast_dtype(latents.device.type) if half else latents.dtype
    sizes = {"batch": len(latents), "tokens": rows * columns, "sink": config.sink, "window": config.window}
    return RollingCache(model.dit.config, **sizes, dtype=dtype, device=latents.device)


def student_sheet(
    student: MotionModel, data: MotionSource, recipe: Recipe, rollout_config: RolloutConfig
) -> Image | None:
    """Rows: true clip, the student's rollout, the warp it starts from. None without a VAE to show them with."""
    if data.vae is None:
        return None
    sample = data.probe(1)
    with torch.no_grad(), autocast(recipe):
        made = roll_out(student, sample, rollout_config, seed=0)
    return latent_sheet(data.vae, [sample.latents, made, sample.conditioning.prior()])


@torch.no_grad()
def latent_sheet(vae: TinyVAE, clips: list[Tensor]) -> Image:
    """Decoded clips (1, T, C, h, w), one a row, every third frame."""
    decoded = (vae.decode(clip.to(vae.mean.dtype))[0, ::3] for clip in clips)
    return contact_sheet([to_uint8(video) for video in decoded])
