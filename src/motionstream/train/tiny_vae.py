"""Stage "vae": the tiny VAE on synthetic worlds (paper Appendix A, in small).

Loss: absolute error, absolute error of the spatial differences (edges), and a small penalty on latents larger than
unit size. Noise on the latents makes the decoder robust to what a DiT gets slightly wrong. LPIPS beside them, with less
smoothing for some tenths of a decibel, is best added to a finished VAE, whose latents can be kept (`decoder_only`). So
can they for a decoder of other widths: it starts anew, from the linear path.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor

from motionstream.data.loader import Loader, loader
from motionstream.lpips import LpipsNetwork
from motionstream.tiny.vae import SPATIAL, TEMPORAL, TinyVAE, TinyVAEConfig
from motionstream.train.ema import EMA
from motionstream.train.network import finished
from motionstream.train.optim import Updater
from motionstream.train.recipe import TinyVAERecipe
from motionstream.train.serialise import Tree
from motionstream.train.stage import DrawingStage, Image, autocast, contact_sheet
from motionstream.vae.pixels import to_model, to_uint8

COMPONENT_BATCHES = 12
"""Batches from which the principal components are taken."""


def build(recipe: TinyVAERecipe, assets: Path, out: Path) -> TinyVAEStage:
    """The stage, ready for its first step or for `load_state_dict`."""
    lpips = lpips_network(recipe.lpips_weight, recipe.lpips)
    return TinyVAEStage(recipe, loader(recipe, assets), lpips, start(recipe, out))


def start(recipe: TinyVAERecipe, out: Path) -> TinyVAE | None:
    """The VAE to go on from, if any; where the decoder alone is trained, it may be of other sizes than the run's."""
    if not recipe.init_from:
        return None
    vae = finished_vae(out / recipe.init_from)
    if recipe.decoder_only and vae.config != recipe.vae and _same_latents(vae.config, recipe.vae):
        return _with_new_decoder(vae, recipe.vae)
    return vae


def lpips_network(weight: float, file: str) -> LpipsNetwork | None:
    """LPIPS with the weights in this file, or None where its weight is 0. Raises ValueError if no file is named."""
    if not weight:
        return None
    if not file:
        raise ValueError("no LPIPS weights: name the file (--lpips FILE), or train without (--set lpips_weight=0)")
    return LpipsNetwork.load(file)


def finished_vae(run_dir: Path) -> TinyVAE:
    """The averaged VAE of a finished run, in float32."""
    return finished(run_dir, TinyVAERecipe, lambda recipe: TinyVAE(recipe.vae))


def _same_latents(a: TinyVAEConfig, b: TinyVAEConfig) -> bool:
    """Whether all but the decoder's own sizes agree; an encoder has latent and frame blocks too."""
    return replace(a, decoder=b.decoder, half_blocks=b.half_blocks) == b


def _with_new_decoder(vae: TinyVAE, config: TinyVAEConfig) -> TinyVAE:
    """The same encoder and latents, and a new decoder of which only the linear path is trained."""
    made = TinyVAE(config)
    made.encoder.load_state_dict(vae.encoder.state_dict())
    made.decoder.linear.load_state_dict(vae.decoder.linear.state_dict())
    made.mean.copy_(vae.mean)
    made.scale.copy_(vae.scale)
    return made


class TinyVAEStage(DrawingStage):
    """vae: a trained one to go on from; None: one that starts from the clips' principal components."""

    recipe: TinyVAERecipe
    data: Loader

    def __init__(
        self, recipe: TinyVAERecipe, data: Loader, lpips: LpipsNetwork | None = None, vae: TinyVAE | None = None
    ) -> None:
        if vae is not None and vae.config != recipe.vae:
            raise ValueError(f"{recipe.init_from} is {vae.config}, the recipe wants {recipe.vae}: change either")
        super().__init__(recipe, data, recipe.seed)
        self.lpips = lpips and lpips.to(recipe.device)
        self.vae = (vae or TinyVAE(recipe.vae)).to(recipe.device)
        self.vae.encoder.requires_grad_(not recipe.decoder_only)
        self.ema = EMA(self.vae, recipe.ema_decay)
        self.updater = Updater.of(recipe, self.vae, self.ema)
        self.updaters = {"vae": self.updater}
        self.started = vae is not None

    def step(self, step: int, progress: float) -> dict[str, float]:
        if not self.started:
            self._start()
        for _ in range(self.recipe.accumulate):
            self.updater.backward(self._losses(self._clips()))
        return self.updater.apply(step, progress)

    def sheet(self) -> Image | None:
        """True, rebuilt and their difference, of a few frames."""
        video = to_model(self.data.probe(1)["video"].to(self.recipe.device))
        with torch.no_grad():
            rebuilt = self.ema.average.decode(self.ema.average.encode(video))
        return difference_sheet(video, rebuilt)

    def state_dict(self) -> dict[str, Tree]:
        return {**super().state_dict(), "started": self.started}

    def load_state_dict(self, state: dict[str, Any], /) -> None:
        super().load_state_dict(state)
        self.started = bool(state["started"])

    def _start(self) -> None:
        """Principal components and statistics of the first batches: where training begins."""
        clips = [self._clips() for _ in range(COMPONENT_BATCHES)]
        self.vae.start_from_components(torch.cat([blocks(clip) for clip in clips]))
        with torch.no_grad():
            raw = torch.cat([self.vae.encode(clip) for clip in clips])
        self.vae.set_statistics(raw, self.recipe.whitening)
        self.ema.update(self.vae)
        self.started = True

    def _clips(self) -> Tensor:
        video = to_model(next(self.data)["video"].to(self.recipe.device))
        top, left = (
            int(torch.randint(0, side - self.recipe.crop + 1, (), generator=self.random)) // 2 * 2
            for side in video.shape[-2:]
        )
        return video[..., top : top + self.recipe.crop, left : left + self.recipe.crop]

    def _losses(self, video: Tensor) -> dict[str, Tensor]:
        with autocast(self.recipe):
            latents = self.vae.encode(video)
            noise = torch.randn(latents.shape, generator=self.random).to(latents)
            rebuilt = self.vae.decode(latents + self.recipe.latent_noise * noise)
        rebuilt = rebuilt.float()
        size = F.relu(latents.float().square().mean() - 1)
        parts = {"l1": F.l1_loss(rebuilt, video), "edges": edge_error(rebuilt, video), "size": size}
        loss = parts["l1"] + self.recipe.edge_weight * parts["edges"] + self.recipe.size_weight * parts["size"]
        if self.lpips is not None:
            with autocast(self.recipe):
                parts["lpips"] = self.lpips(rebuilt.flatten(0, 1), video.flatten(0, 1)).float().mean()
            loss = loss + self.recipe.lpips_weight * parts["lpips"]
        psnr = 10 * torch.log10(4 / F.mse_loss(rebuilt.detach(), video))
        return {"loss": loss, "psnr": psnr, **parts}


def difference_sheet(video: Tensor, rebuilt: Tensor) -> Image:
    """Rows: true frames (B, F, 3, H, W), rebuilt ones, their difference; a few frames of the first clip."""
    difference = (rebuilt - video).abs() * 4 - 1
    return contact_sheet([to_uint8(part[0, ::4]) for part in (video, rebuilt, difference)])


def edge_error(a: Tensor, b: Tensor, weight: Tensor | None = None) -> Tensor:
    """Mean absolute difference of horizontal and vertical pixel differences.

    weight: of places (…, H, W); None = all count alike.
    """
    error = a - b
    across, down = error.diff(dim=-1).abs(), error.diff(dim=-2).abs()
    if weight is not None:
        across, down = across * weight[..., 1:], down * weight[..., 1:, :]
    return across.mean() + down.mean()


def blocks(video_BFCHW: Tensor) -> Tensor:
    """(N, 768) blocks of 4 frames × 8×8, in the order of the encoder's linear path; frames after the first."""
    return rearrange(
        video_BFCHW[:, 1:], "b (t p) c (h q) (w r) -> (b t h w) (p c q r)", p=TEMPORAL, q=SPATIAL, r=SPATIAL
    )
