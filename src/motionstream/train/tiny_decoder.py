"""Stage "decoder": a tiny decoder learns to decode a full VAE's latents (paper Appendix A).

The full VAE's encoder is frozen and gives the latents of true clips; the tiny decoder (`vae.taehv`) is to make those
clips of them. Loss: absolute error, LPIPS, and from `adversarial_start` on a patch critic's judgement; the critic
learns beside it, on the same clips. The decoder reads the DiT's latents as they are, and encodes nothing.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from motionstream.data.loader import Loader, loader
from motionstream.data.video_crops import VideoCrops
from motionstream.lpips import LpipsNetwork
from motionstream.train.ema import EMA
from motionstream.train.motion_data import frozen_vae
from motionstream.train.network import finished
from motionstream.train.optim import Updater
from motionstream.train.patch_critic import PatchCritic, balance, critic_loss, maker_loss
from motionstream.train.recipe import RECIPE_FILE, DecoderRecipe
from motionstream.train.stage import DrawingStage, Image, autocast, psnr
from motionstream.train.tiny_vae import difference_sheet, lpips_network
from motionstream.vae import VideoVAE
from motionstream.vae.pixels import to_model
from motionstream.wan.taehv import TaehvDecoder

CRITIC_BETAS = (0.5, 0.9)
"""AdamW's of the critic, short ones: the decoder's frames change while it learns."""


def build(recipe: DecoderRecipe, assets: Path, out: Path) -> TinyDecoderStage:
    """The stage, ready for its first step or for `load_state_dict`."""
    vae = full_vae(out / recipe.vae, recipe.device, getattr(torch, recipe.dtype))
    lpips = lpips_network(recipe.lpips_weight, recipe.lpips)
    return TinyDecoderStage(recipe, clips(recipe, assets), vae, lpips, start(recipe))


def full_vae(folder: Path, device: str, dtype: torch.dtype) -> VideoVAE:
    """The VAE to learn from: a finished run of stage "vae", or Wan's in a folder of Diffusers' layout."""
    if (folder / RECIPE_FILE).is_file():
        return frozen_vae(folder, device, dtype)
    if not folder.exists():
        raise FileNotFoundError(
            f"{folder}: no VAE there; name Wan's (--vae FOLDER), or a run of stage vae in the chain"
        )
    from motionstream.wan.vae import WanVAE

    return WanVAE.load(folder, device, dtype).without_decoder()


def clips(recipe: DecoderRecipe, assets: Path) -> Loader:
    """Crops of the recipe's videos, or clips of synthetic worlds where it names none."""
    if not recipe.clips:
        return loader(recipe, assets)
    crops = VideoCrops(recipe.clips, recipe.size, recipe.frames, recipe.crop, recipe.seed)
    return Loader(crops, recipe.batch, workers=min(8, max(1, (os.cpu_count() or 2) - 1)))


def start(recipe: DecoderRecipe) -> TaehvDecoder:
    """A decoder with fresh weights, or with those of the recipe's file; ValueError if that has other sizes."""
    if not recipe.init_from:
        return TaehvDecoder(recipe.decoder)
    decoder = TaehvDecoder.load(recipe.init_from)
    if decoder.config != recipe.decoder:
        raise ValueError(f"{recipe.init_from} is {decoder.config}, the recipe wants {recipe.decoder}: change either")
    return decoder.requires_grad_(True).train()


def trained_decoder(run_dir: Path) -> TaehvDecoder:
    """The averaged decoder of a run, for inference; `save` writes it as one file."""
    decoder = finished(run_dir, DecoderRecipe, lambda recipe: TaehvDecoder(recipe.decoder))
    return decoder.requires_grad_(False).eval()


class TinyDecoderStage(DrawingStage):
    recipe: DecoderRecipe
    data: Loader

    def __init__(
        self, recipe: DecoderRecipe, data: Loader, vae: VideoVAE, lpips: LpipsNetwork | None, decoder: TaehvDecoder
    ) -> None:
        _check(vae, decoder)
        super().__init__(recipe, data, recipe.seed)
        self.vae = vae
        self.lpips = lpips and lpips.to(recipe.device)
        self.decoder = decoder.to(recipe.device)
        self.critic = PatchCritic(recipe.critic_width).to(recipe.device)
        self.ema = EMA(self.decoder, recipe.ema_decay)
        self.updater = Updater.of(recipe, self.decoder, self.ema)
        self.critic_updater = Updater.of(recipe, self.critic, lr=recipe.lr_critic, betas=CRITIC_BETAS)
        self.updaters = {"decoder": self.updater, "critic": self.critic_updater}

    def step(self, step: int, progress: float) -> dict[str, float]:
        judged = step >= self.recipe.adversarial_start and self.recipe.adversarial_weight > 0
        for _ in range(self.recipe.accumulate):
            video = self._clips()
            latents = self._latents(video)
            with autocast(self.recipe):
                made = self.decoder(latents, None)[0].float()
            self.updater.backward(self._losses(made, video, judged))
            if judged:
                self.critic_updater.backward({"loss": critic_loss(self._judge(video), self._judge(made.detach()))})
        done = self.updater.apply(step, progress)
        if judged:
            critic = self.critic_updater.apply(step, progress)
            done |= {f"critic_{name}": value for name, value in critic.items()}
            done["skipped"] = max(done["skipped"], critic["skipped"])
        return done

    def sheet(self) -> Image | None:
        """True, rebuilt and their difference, of a few frames."""
        video = self._cut(self.data.probe(1)["video"], torch.Generator().manual_seed(0))
        with torch.no_grad():
            rebuilt = self.ema.average.decode(self._latents(video))
        return difference_sheet(video, rebuilt)

    def _clips(self) -> Tensor:
        return self._cut(next(self.data)["video"], self.random)

    def _cut(self, frames: Tensor, random: torch.Generator) -> Tensor:
        """A square of the recipe's side from anywhere in the clips, in [−1, 1]."""
        side = self.recipe.crop
        top, left = (int(torch.randint(0, free - side + 1, (), generator=random)) for free in frames.shape[-2:])
        return to_model(frames[..., top : top + side, left : left + side].to(self.recipe.device))

    @torch.no_grad()
    def _latents(self, video: Tensor) -> Tensor:
        return self.vae.encode(video.to(getattr(torch, self.recipe.dtype))).float()

    def _losses(self, made: Tensor, video: Tensor, judged: bool) -> dict[str, Tensor]:
        recipe = self.recipe
        parts = {"l1": F.l1_loss(made, video)}
        rebuilt = parts["l1"]
        if self.lpips is not None:
            parts["lpips"] = self.lpips(made.flatten(0, 1), video.flatten(0, 1)).mean()
            rebuilt = rebuilt + recipe.lpips_weight * parts["lpips"]
        loss = rebuilt
        if judged:
            with _held(self.critic):
                parts["adversarial"] = maker_loss(self._judge(made))
            parts["balance"] = balance(rebuilt, parts["adversarial"], self._last())
            loss = rebuilt + recipe.adversarial_weight * parts["balance"] * parts["adversarial"]
        return {"loss": loss, "psnr": psnr(made.detach(), video), **parts}

    def _judge(self, video: Tensor) -> Tensor:
        # A CPU's half-precision Conv3d is slower, and gives a wrong weight gradient for a single output channel.
        with autocast(self.recipe) if video.device.type != "cpu" else nullcontext():
            judged: Tensor = self.critic(video)
        return judged.float()

    def _last(self) -> nn.Parameter:
        last: nn.Parameter = self.decoder.decoder[-1].weight  # type: ignore[assignment]
        return last


@contextmanager
def _held(module: nn.Module) -> Iterator[None]:
    """Inside, gradients pass through the module and leave none in it."""
    module.requires_grad_(False)
    try:
        yield
    finally:
        module.requires_grad_(True)


def _check(vae: VideoVAE, decoder: TaehvDecoder) -> None:
    for name in ("latent_channels", "spatial_stride", "temporal_stride"):
        has, reads = getattr(vae, name), getattr(decoder, name)
        if has != reads:
            raise ValueError(f"the VAE has {name} = {has}, the recipe's decoder {reads}: choose the recipe of that VAE")
