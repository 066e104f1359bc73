"""Recipes of the stage "decoder": the paper's figures (Appendix A), "ours" where it is silent. `smoke` is for tests."""

from __future__ import annotations

from dataclasses import replace

from motionstream.train.recipe import DecoderRecipe, Recipe
from motionstream.wan.taehv import PUBLISHED, TaehvConfig

# fmt: off
WAN_2_1 = DecoderRecipe(
    name="wan2.1",
    decoder=PUBLISHED["wan2.1"],  # Appendix A: 9.84 M parameters, which is TAEHV's shape to the last one
    size=(832, 480),  # ours: the frame the paper measures at; clips are scaled to it before they are cut
    crop=144,  # Appendix A
    frames=21,  # Appendix A
    batch=16,  # Appendix A; over all GPUs: with 8 of them, batch=2
    steps=200_000,  # Appendix A, on 280 K clips
    lr=3e-4,  # Appendix A
    lr_critic=3e-4,  # ours, as the decoder's
    lpips_weight=1.0,  # Appendix A names LPIPS, an adversarial loss (PatchGAN) and reconstruction, no weights: ours
    adversarial_weight=0.1,  # ours
    adversarial_start=50_000,  # ours: a critic is of use once colours and shapes are right
    critic_width=64,  # PatchGAN's (Isola et al., 2017)
    # ours, as all below
    weight_decay=0.0, warmup_steps=1000, decay_fraction=0.1, ema_decay=0.9995,
    log_every=50, sheet_every=2000, save_minutes=15.0, vae="wan2.1-vae",
)
# The paper names 56.7 M parameters and a decode twice as long as Wan 2.1's, but no layout. These widths have 56.6 M;
# for TAEHV's own 9.92 M: --set decoder.widths=256,128,64,64.
WAN_2_2 = replace(
    WAN_2_1, name="wan2.2", decoder=replace(PUBLISHED["wan2.2"], widths=(576, 352, 192, 64)), vae="wan2.2-vae"
)
# On the tiny VAE of the chain, in float32, without LPIPS, whose weights do not come with this project.
SMOKE = replace(
    WAN_2_1, name="smoke", size=(64, 48), crop=32, frames=5, batch=2, steps=4, lr=3e-3, dtype="float32", vae="vae",
    decoder=TaehvConfig(latent_channels=8, patch=1, widths=(16, 16, 8, 8)), critic_width=4,
    lpips_weight=0.0, adversarial_start=2, warmup_steps=1, log_every=1, sheet_every=4,
)
# fmt: on

CHAINS: dict[str, dict[str, Recipe]] = {recipe.name: {"decoder": recipe} for recipe in (WAN_2_1, WAN_2_2, SMOKE)}
"""Name → stage → recipe."""
