"""Recipes for Wan: the paper's figures, stage by stage, each with where it comes from; "ours" where it is silent.

`wan_1_3b`: Wan 2.1 1.3B at 832×480. `wan_5b`: Wan 2.2 5B at 1280×704. `wan_reduced`: the same chain on a network of a
few thousand weights, for tests and rehearsals. A step's clips are batch × accumulate × ranks: `accumulate` is set for
the paper's 32 GPUs, so with fewer of them set it higher (8 GPUs: four times as high), and the steps are the same.

Clips are prepared before (`motionstream data encode`), the start is what `motionstream convert` wrote to OUT/init.
"""

from __future__ import annotations

from dataclasses import replace

from motionstream.train.recipe import (
    CausalInitRecipe,
    Changes,
    DecoderRecipe,
    Network,
    Recipe,
    SelfForcingRecipe,
    TeacherRecipe,
    derived,
    variant,
)
from motionstream.wan.taehv import PUBLISHED, TaehvConfig

START = "init"
"""Folder of the converted weights, below that of the chain."""

NETWORK_1_3B = Network(
    dit="wan2.1-1.3b-i2v",  # paper: the 1.3B has the CLIP image cross-attention; "wan2.1-1.3b" goes without
    track_channels=16,  # ours: as a latent has, which a control variant's columns for its video fit
    anchored=False,
    encoded_text=True,
)
NETWORK_5B = replace(NETWORK_1_3B, dit="wan2.2-5b", track_channels=48)  # paper: without image cross-attention

TEACHER = TeacherRecipe(
    name="wan_1_3b",
    size=(832, 480),  # the backbone's
    frames=81,  # paper: clips of at least 81 frames at 16 fps
    batch=1,
    accumulate=4,  # paper: batch 128, on 32 GPUs
    steps=4800,  # paper, stage 1
    lr=1e-5,  # paper, stage 1
    warmup_steps=100,  # ours
    decay_fraction=0.0,  # ours, in all stages: the paper names one rate
    ema_decay=0.999,  # the paper has an average, its rate is ours
    network=NETWORK_1_3B,
    data="shards",
    vae="wan2.1",
    sharded=True,  # paper: FSDP
    activation_checkpointing=True,  # ours
    text_drop=0.1,  # ours, as the two below: joint guidance needs all three
    track_drop=0.1,
    both_drop=0.1,
    anchor_drop=0.0,
    shift=6.0,  # Section 3.1: k = 6
    points_min=1000,  # paper: 1 000 to 2 500 of the 50×50 grid
    points_max=2500,
    init_from=START,
    save_minutes=30.0,
)

# Second stage: on clips that Wan generated, with middle frames masked (Section 3.1).
TEACHER_MASK = replace(
    TEACHER,
    steps=800,  # paper, stage 2 at 480p
    lr=1e-6,  # paper, stage 2
    mask_probability=0.2,  # Section 3.1
    init_from="teacher",
)

# The paper regresses 4 000 stored ODE trajectories for 2 000 steps; here causal consistency distillation, which needs
# none, with the lengths that Causal Forcing names for it.
CAUSAL = derived(
    CausalInitRecipe,
    TEACHER_MASK,  # with its batch of 128
    steps=5000,
    diffusion_steps=2000,  # Causal Forcing: at least 2 000, then at least 3 000
    lr=2e-6,  # paper, causal adaptation
    warmup_steps=50,  # ours
    ema_decay=0.99,  # Causal Forcing
    target_decay=0.99,  # Causal Forcing
    sinks=(0, 3, 6),  # Section 3.2: random sinks and windows; the ranges are ours
    windows=(3, 6, 9),
    chunks=(3,),  # paper: chunks of three latents
    ode_steps=48,  # Causal Forcing
    w_t=3.0,  # Section 3.1
    w_m=1.5,  # Section 3.1
    mask_probability=0.2,  # Section 3.2: under random masks
)

# Clips are of the teacher's length, which is the one it was trained to score.
SELF_FORCING = derived(
    SelfForcingRecipe,
    TEACHER_MASK,
    accumulate=2,  # paper: batch 64, on 32 GPUs
    steps=2000,  # paper: 400 of the generator, five of the critic for each
    critic_ratio=5,  # Section 3.2
    lr=2e-6,  # paper, generator
    lr_critic=4e-7,  # paper
    warmup_steps=0,  # Self Forcing: none
    clip=10.0,  # Self Forcing
    ema_decay=0.99,  # Self Forcing; the paper has an average
    chunk=3,  # paper: c3s1w1, in latents
    sink=3,
    window=3,
    denoising_steps=3,  # paper
    clean_pass=True,  # Section 3.2
    w_t=3.0,  # Section 3.1
    w_m=1.5,  # Section 3.1
    truth_weight=0.0,  # the paper has no such term
    t_min=0.02,  # Self Forcing: 20 … 980 of 1000
    t_max=0.98,
    mask_probability=0.0,  # Section 3.1: masking belongs to the fine-tuning stage
)

WAN_1_3B: dict[str, Recipe] = {
    "teacher": TEACHER,
    "teacher-mask": TEACHER_MASK,
    "causal": CAUSAL,
    "self-forcing": SELF_FORCING,
}

# 1280×704 and 121 frames are the backbone's; the second stage has half the steps at 720p (paper).
LARGE: Changes = {"name": "wan_5b", "size": (1280, 704), "frames": 121, "network": NETWORK_5B, "vae": "wan2.2"}
WAN_5B = variant(WAN_1_3B, LARGE, {"teacher": {}, "teacher-mask": {"steps": 400}, "causal": {}, "self-forcing": {}})

# fmt: off
REDUCED = replace(
    NETWORK_1_3B, dit="", width=32, layers=2, heads=2, ffn=64, text_dim=32, text_tokens=8, track_channels=4,
    image_dim=48,
)
# In float32, in which the tests compare to the last digit.
SMALL: Changes = {
    "name": "wan_reduced", "size": (64, 48), "frames": 17, "accumulate": 2, "steps": 4, "lr": 1e-3,
    "network": REDUCED, "dtype": "float32", "points_min": 10, "points_max": 40, "log_every": 1,
}
# fmt: on
WAN_REDUCED = variant(
    WAN_1_3B,
    SMALL,
    {
        "teacher": {"warmup_steps": 1},
        "teacher-mask": {"warmup_steps": 1},
        "causal": {"diffusion_steps": 2, "sinks": (0, 1), "windows": (1, 2), "chunks": (1, 2), "ode_steps": 8},
        "self-forcing": {"critic_ratio": 2, "chunk": 1, "sink": 1, "window": 1, "lr_critic": 1e-3},
    },
)

# Tiny decoders of Wan's latents (Appendix A). `smoke` is for tests.
# fmt: off
DECODER_2_1 = DecoderRecipe(
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
DECODER_2_2 = replace(
    DECODER_2_1, name="wan2.2", decoder=replace(PUBLISHED["wan2.2"], widths=(576, 352, 192, 64)), vae="wan2.2-vae"
)
# On the tiny VAE of the chain, in float32, without LPIPS, whose weights do not come with this project.
DECODER_SMOKE = replace(
    DECODER_2_1, name="smoke", size=(64, 48), crop=32, frames=5, batch=2, steps=4, lr=3e-3, dtype="float32", vae="vae",
    decoder=TaehvConfig(latent_channels=8, patch=1, widths=(16, 16, 8, 8)), critic_width=4,
    lpips_weight=0.0, adversarial_start=2, warmup_steps=1, log_every=1, sheet_every=4,
)
# fmt: on

CHAINS = {"wan_1_3b": WAN_1_3B, "wan_5b": WAN_5B, "wan_reduced": WAN_REDUCED}
"""Name → stage → recipe."""
DECODERS = {recipe.name: recipe for recipe in (DECODER_2_1, DECODER_2_2, DECODER_SMOKE)}
"""Name → recipe of the stage "decoder"."""
