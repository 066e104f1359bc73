"""Stage "detail": what the student's frames lack is taken from the warped anchor (see `tiny.detail`).

The finished student rolls out on its own outputs, as it does live; its decoded frames and the warp go in, the true
clip is wanted. So the network learns to use each where it is right, with the faults this student really makes.
Loss: absolute error and that of the spatial differences, as for the tiny VAE. Where nothing of the picture lands, which
is little of a clip, the first counts for more and the second not at all: its edges cannot be known.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from motionstream.sampling import MotionModel
from motionstream.tiny.detail import CELL, Detail
from motionstream.tiny.warp import vacancy
from motionstream.train.ema import EMA
from motionstream.train.motion_data import REANCHOR, Drops, MotionData, WorldSample
from motionstream.train.motion_stage import MotionStage, roll_out, synthetic_source
from motionstream.train.network import finished, new_model
from motionstream.train.optim import Updater
from motionstream.train.recipe import DetailRecipe
from motionstream.train.stage import Image, autocast, contact_sheet, psnr
from motionstream.train.tiny_vae import edge_error
from motionstream.vae.pixels import to_uint8


def build(recipe: DetailRecipe, assets: Path, out: Path) -> DetailStage:
    """The stage, ready for its first step or for `load_state_dict`."""
    drops = Drops(text=recipe.text_drop, reanchor=REANCHOR)
    data = synthetic_source(recipe, assets, out, drops, recipe.seed + 3)
    student = new_model(recipe.network, data.latent_channels, out / recipe.student)
    detail = finished_detail(out / recipe.init_from) if recipe.init_from else Detail(recipe.detail)
    return DetailStage(recipe, data, student, detail)


def finished_detail(run_dir: Path) -> Detail:
    """The averaged network of a finished run of stage "detail"."""
    return finished(run_dir, DetailRecipe, lambda recipe: Detail(recipe.detail))


class DetailStage(MotionStage):
    recipe: DetailRecipe
    data: MotionData

    def __init__(self, recipe: DetailRecipe, data: MotionData, student: MotionModel, detail: Detail) -> None:
        super().__init__(recipe, data, recipe.seed + 3)
        self.student = student.to(recipe.device).requires_grad_(False).eval()
        self.detail = detail.to(recipe.device)
        self.ema = EMA(self.detail, recipe.ema_decay)
        self.updater = Updater.of(recipe, self.detail, self.ema)
        self.updaters = {"detail": self.updater}

    def step(self, step: int, progress: float) -> dict[str, float]:
        for _ in range(self.recipe.accumulate):
            sample = self.data.next()
            with autocast(self.recipe):
                decoded = self.decoded_rollout(sample, int(torch.randint(1 << 31, (), generator=self.random)))
                warp = sample.warp()
                shown = self.detail(*_after_first(decoded, warp.frames, warp.support)).float()
            self.updater.backward(detail_losses(shown, decoded, sample, self.recipe))
        return self.updater.apply(step, progress)

    def sheet(self) -> Image | None:
        """Rows: true clip, frames shown, decoded frames, warp."""
        sample = self.data.probe(1)
        warp = sample.warp()
        with torch.no_grad(), autocast(self.recipe):
            decoded = self.decoded_rollout(sample, seed=0)
            shown = self.ema.average(decoded, warp.frames, warp.support)
        return contact_sheet([to_uint8(clip[0, ::3]) for clip in (sample.video, shown, decoded, warp.frames)])

    @torch.no_grad()
    def decoded_rollout(self, sample: WorldSample, seed: int) -> Tensor:
        """The student's own clip in pixels (B, F, 3, H, W)."""
        made = roll_out(self.student, sample, self.recipe.live.rollout_config, seed)
        return self.data.vae.decode(made.to(self.data.vae.mean.dtype)).float()


def detail_losses(shown: Tensor, decoded: Tensor, sample: WorldSample, recipe: DetailRecipe) -> dict[str, Tensor]:
    """shown (B, F − 1, 3, H, W): what the network makes of all frames but the given one."""
    warped = sample.warp()
    decoded, true, warp, support = _after_first(decoded, sample.video.float(), warped.frames.float(), warped.support)
    vacant = vacancy(support).repeat_interleave(CELL, -1).repeat_interleave(CELL, -2)
    weight = 1 + recipe.vacant_weight * vacant
    parts = {"l1": ((shown - true).abs() * weight).mean(), "edges": edge_error(shown, true, 1 - vacant)}
    loss = parts["l1"] + recipe.edge_weight * parts["edges"]
    makers = {"shown": shown.detach(), "decoded": decoded, "warp": warp}
    return {"loss": loss, **parts, **{f"psnr_{name}": psnr(made, true) for name, made in makers.items()}}


def _after_first(*clips: Tensor) -> list[Tensor]:
    return [clip[:, 1:] for clip in clips]
