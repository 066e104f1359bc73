"""Recipes for Wan: the paper's figures, stage by stage, each with where it comes from; "ours" where it is silent.

`wan_1_3b`: Wan 2.1 1.3B at 832×480. `wan_5b`: Wan 2.2 5B at 1280×704. `wan_reduced`: the same chain on a network of a
few thousand weights, for tests and rehearsals. A step's clips are batch × accumulate × ranks: `accumulate` is set for
the paper's 32 GPUs, so with fewer of them set it higher (8 GPUs: four times as high), and the steps are the same.

Clips are prepared before (`motionstream data encode`), the start is what `motionstream convert` wrote to OUT/init.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from motionstream.train.recipe import CausalInitRecipe, Network, Recipe, SelfForcingRecipe, TeacherRecipe

START = "init"
"""Folder of the converted weights, below that of the chain."""

NETWORK_1_3B = Network(
    dit="wan2.1-1.3b-i2v",  # paper: the 1.3B has the CLIP image cross-attention; "wan2.1-1.3b" goes without
    track_channels=16,  # ours: as a latent has, which a control variant's columns for its video fit
    anchored=False,
    encoded_text=True,
)
NETWORK_5B = replace(NETWORK_1_3B, dit="wan2.2-5b", track_channels=48)  # paper: without image cross-attention


def teacher_wan_1_3b() -> TeacherRecipe:
    return TeacherRecipe(
        name="wan_1_3b",
        size=(832, 480),  # the backbone's
        frames=81,  # paper: clips of at least 81 frames at 16 fps
        batch=1,
        accumulate=4,  # paper: batch 128, on 32 GPUs
        steps=4800,  # paper, stage 1
        lr=1e-5,  # paper, stage 1
        warmup_steps=100,  # ours
        decay_fraction=0.0,  # ours: the paper names one rate
        ema_decay=0.999,  # the paper has an average, its rate is ours
        network=NETWORK_1_3B,
        data="shards",
        vae="wan2.1",
        sharded=True,  # paper: FSDP
        recompute=True,  # ours
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


def teacher_mask_wan_1_3b() -> TeacherRecipe:
    """Second stage: on clips that Wan generated, with middle frames masked (Section 3.1)."""
    return replace(
        teacher_wan_1_3b(),
        steps=800,  # paper, stage 2 at 480p
        lr=1e-6,  # paper, stage 2
        mask_probability=0.2,  # Section 3.1
        init_from="teacher",
    )


def causal_wan_1_3b() -> CausalInitRecipe:
    """The paper regresses 4 000 stored ODE trajectories for 2 000 steps; here causal consistency distillation, which
    needs none, with the lengths that Causal Forcing names for it."""
    teacher = teacher_mask_wan_1_3b()
    return CausalInitRecipe(
        name=teacher.name,
        size=teacher.size,
        frames=teacher.frames,
        batch=1,
        accumulate=4,  # paper: batch 128, on 32 GPUs
        steps=5000,
        diffusion_steps=2000,  # Causal Forcing: at least 2 000, then at least 3 000
        lr=2e-6,  # paper, causal adaptation
        warmup_steps=50,  # ours
        decay_fraction=0.0,  # ours
        ema_decay=0.99,  # Causal Forcing
        target_decay=0.99,  # Causal Forcing
        network=teacher.network,
        data=teacher.data,
        vae=teacher.vae,
        sharded=True,
        recompute=True,
        sinks=(0, 3, 6),  # Section 3.2: random sinks and windows; the ranges are ours
        windows=(3, 6, 9),
        chunks=(3,),  # paper: chunks of three latents
        ode_steps=48,  # Causal Forcing
        w_t=3.0,  # Section 3.1
        w_m=1.5,  # Section 3.1
        shift=teacher.shift,
        points_min=teacher.points_min,
        points_max=teacher.points_max,
        text_drop=teacher.text_drop,
        track_drop=teacher.track_drop,
        both_drop=teacher.both_drop,
        anchor_drop=0.0,
        mask_probability=0.2,  # Section 3.2: under random masks
        save_minutes=teacher.save_minutes,
    )


def self_forcing_wan_1_3b() -> SelfForcingRecipe:
    teacher = teacher_mask_wan_1_3b()
    return SelfForcingRecipe(
        name=teacher.name,
        size=teacher.size,
        frames=teacher.frames,  # the teacher scores clips of the length it knows
        batch=1,
        accumulate=2,  # paper: batch 64, on 32 GPUs
        steps=2000,  # paper: 400 of the generator, five of the critic for each
        critic_ratio=5,  # Section 3.2
        lr=2e-6,  # paper, generator
        lr_critic=4e-7,  # paper
        warmup_steps=0,  # Self Forcing: none
        decay_fraction=0.0,
        clip=10.0,  # Self Forcing
        ema_decay=0.99,  # Self Forcing; the paper has an average
        network=teacher.network,
        data=teacher.data,
        vae=teacher.vae,
        sharded=True,
        recompute=True,
        chunk=3,  # paper: c3s1w1, in latents
        sink=3,
        window=3,
        denoising_steps=3,  # paper
        w_t=3.0,  # Section 3.1
        w_m=1.5,  # Section 3.1
        truth_weight=0.0,  # the paper has no such term
        t_min=0.02,  # Self Forcing: 20 … 980 of 1000
        t_max=0.98,
        shift=teacher.shift,
        points_min=teacher.points_min,
        points_max=teacher.points_max,
        mask_probability=0.0,  # Section 3.1: masking belongs to the fine-tuning stage
        save_minutes=teacher.save_minutes,
    )


def teacher_wan_5b() -> TeacherRecipe:
    return replace(
        teacher_wan_1_3b(),
        name="wan_5b",
        size=(1280, 704),  # the backbone's
        frames=121,  # the backbone's
        network=NETWORK_5B,
        vae="wan2.2",
    )


def teacher_mask_wan_5b() -> TeacherRecipe:
    first = teacher_wan_5b()
    return replace(first, steps=400, lr=1e-6, mask_probability=0.2, init_from="teacher")  # paper, 720p


def causal_wan_5b() -> CausalInitRecipe:
    teacher = teacher_mask_wan_5b()
    return replace(
        causal_wan_1_3b(),
        name=teacher.name,
        size=teacher.size,
        frames=teacher.frames,
        network=teacher.network,
        vae=teacher.vae,
    )


def self_forcing_wan_5b() -> SelfForcingRecipe:
    teacher = teacher_mask_wan_5b()
    return replace(
        self_forcing_wan_1_3b(),
        name=teacher.name,
        size=teacher.size,
        frames=teacher.frames,
        network=teacher.network,
        vae=teacher.vae,
    )


REDUCED = Network(
    width=32,
    layers=2,
    heads=2,
    ffn=64,
    text_dim=32,
    text_tokens=8,
    track_channels=4,
    anchored=False,
    encoded_text=True,
    image_dim=48,
)


def teacher_wan_reduced() -> TeacherRecipe:
    """In float32, in which the tests compare to the last digit."""
    return replace(
        teacher_wan_1_3b(),
        name="wan_reduced",
        size=(64, 48),
        frames=17,
        accumulate=2,
        steps=4,
        lr=1e-3,
        warmup_steps=1,
        network=REDUCED,
        dtype="float32",
        points_min=10,
        points_max=40,
        log_every=1,
    )


def teacher_mask_wan_reduced() -> TeacherRecipe:
    return replace(teacher_wan_reduced(), mask_probability=0.2, init_from="teacher")


def causal_wan_reduced() -> CausalInitRecipe:
    return replace(
        causal_wan_1_3b(),
        **_reduced(),
        diffusion_steps=2,
        sinks=(0, 1),
        windows=(1, 2),
        chunks=(1, 2),
        ode_steps=8,
    )


def self_forcing_wan_reduced() -> SelfForcingRecipe:
    return replace(self_forcing_wan_1_3b(), **_reduced(), critic_ratio=2, chunk=1, sink=1, window=1, lr_critic=1e-3)


def _reduced() -> dict[str, Any]:
    """What the later stages take over from the teacher's."""
    names = ("name", "size", "frames", "accumulate", "steps", "lr", "network", "dtype", "points_min", "points_max")
    teacher = teacher_wan_reduced()
    return {name: getattr(teacher, name) for name in (*names, "log_every")}


NAMED: dict[str, dict[str, Callable[[], Recipe]]] = {
    "teacher": {"wan_1_3b": teacher_wan_1_3b, "wan_5b": teacher_wan_5b, "wan_reduced": teacher_wan_reduced},
    "teacher-mask": {
        "wan_1_3b": teacher_mask_wan_1_3b,
        "wan_5b": teacher_mask_wan_5b,
        "wan_reduced": teacher_mask_wan_reduced,
    },
    "causal": {"wan_1_3b": causal_wan_1_3b, "wan_5b": causal_wan_5b, "wan_reduced": causal_wan_reduced},
    "self-forcing": {
        "wan_1_3b": self_forcing_wan_1_3b,
        "wan_5b": self_forcing_wan_5b,
        "wan_reduced": self_forcing_wan_reduced,
    },
}
"""Stage → name → recipe; part of `recipes.NAMED`."""
