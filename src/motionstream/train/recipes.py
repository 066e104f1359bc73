"""Named recipes: a chain of stages each, most of them given as changes to another. The laptop's come first.

`tiny_cpu`: the embedded model on two CPU cores, in several sessions. `tiny_gpu`: the same on one GPU in under an
hour. `smoke`: the whole chain in seconds, for tests. Those for Wan are in `recipes_wan.py`.
"""

from __future__ import annotations

from dataclasses import replace

from motionstream.data.captions import phrases_of_effects
from motionstream.tiny.detail import DetailConfig
from motionstream.tiny.prompt_filter import PromptFilterConfig
from motionstream.tiny.vae import TinyVAEConfig
from motionstream.train import recipes_wan
from motionstream.train.recipe import (
    RECIPES,
    CausalInitRecipe,
    Changes,
    DetailRecipe,
    Network,
    PromptFilterRecipe,
    Recipe,
    RolloutRecipe,
    SelfForcingRecipe,
    TeacherRecipe,
    TinyVAERecipe,
    derived,
    variant,
)
from motionstream.train.typed import unknown

SIZE = (256, 144)
"""(W, H) of the embedded model."""
VARIETY, VARIETY_LATER = 0.5, 0.7
"""Share of varied worlds (`data.synthetic`) that a teacher and its student see; and from the rollouts on."""

# Settings that belong together are on one line.
# fmt: off
NETWORK = Network(
    width=256, layers=8, heads=2, ffn=1024, text_dim=128, text_tokens=32, track_channels=16, anchored=True,
)

VAE = TinyVAERecipe(
    name="tiny_cpu", size=SIZE, frames=9, crop=128,
    vae=TinyVAEConfig(latent_channels=24, encoder=(64, 128), decoder=(128, 64, 48), half_blocks=1),
    batch=8, steps=4000, lr=1e-3, weight_decay=0.0, warmup_steps=30, decay_fraction=0.4, ema_decay=0.98,
    edge_weight=0.5, latent_noise=0.05, sheet_every=250,
)
# Sharper to the eye, of the same latents: LPIPS beside the other losses, with weights that the user names.
VAE_DECODER = replace(VAE, steps=1200, lr=5e-4, init_from="vae", decoder_only=True, lpips_weight=0.3)

# Small frames first: what moves and what is uncovered is learned at 160×96, detail in the next stage.
TEACHER = TeacherRecipe(
    name="tiny_cpu", network=NETWORK, size=(160, 96), frames=21, variety=VARIETY,
    batch=8, steps=20000, lr=1.5e-3, warmup_steps=40, decay_fraction=0.3,
    text_drop=0.1, track_drop=0.05, both_drop=0.05, shift=3.0, points_min=4, points_max=400, sheet_every=100,
)
# The paper's second stage, mid-frame masking, at full size from the first stage's weights.
TEACHER_MASK = replace(
    TEACHER, size=SIZE, batch=4, steps=5000, lr=7.5e-4, decay_fraction=0.5, mask_probability=0.2, init_from="teacher",
)

# The lengths drawn include those with which the stages after it roll out.
CAUSAL = derived(
    CausalInitRecipe, TEACHER_MASK, sinks=(1, 3), windows=(1, 3), chunks=(1, 2, 3),
    batch=3, steps=2000, lr=5e-4, warmup_steps=10, decay_fraction=0.4, ema_decay=0.98,
    diffusion_steps=1500, ode_steps=16, target_decay=0.9, w_t=0.0, w_m=0.0, shift=6.0, sheet_every=60,
)

# Rollouts as the embedded model runs live: chunk, sink and window of one latent, one call a chunk (what an anchored
# network needs, docs/log.md), no clean pass. What a prompt asks for in light and weather is the prompt filter's to
# show, so no clip from here on has any. The shipped weights themselves were trained before training and live use had
# one set of numbers: with a sink and a window of 3, a clean pass and history_noise = 0.3 (`origin` in
# tiny/weights/model.json).
SELF_FORCING = derived(
    SelfForcingRecipe, TEACHER_MASK, chunk=1, sink=1, window=1, denoising_steps=1, clean_pass=False, shift=6.0,
    batch=2, steps=1500, lr=1e-4, lr_critic=1e-4, warmup_steps=0, decay_fraction=0.0, clip=10.0, ema_decay=0.95,
    critic_ratio=2, truth_weight=4.0, vacant_weight=3.0, effect_share=0.0, idle=0.15, sheet_every=50,
    w_m=0.0,  # text guidance alone in the real score
)

# The same rollouts, without teacher and critic, from nothing; `causal` may name a student to go on from.
ROLLOUT = derived(
    RolloutRecipe, SELF_FORCING, causal="", variety=VARIETY_LATER, vacant_weight=4.0, idle=0.1,
    steps=4000, lr=3e-4, warmup_steps=40, decay_fraction=0.4, ema_decay=0.98, sheet_every=100,
)

DETAIL = derived(
    DetailRecipe, ROLLOUT, detail=DetailConfig(width=32, blocks=1), vae="vae-decoder", student="rollout",
    batch=4, steps=2000, lr=2e-3, weight_decay=0.0, warmup_steps=20, clip=1.0, vacant_weight=3.0, mask_probability=0.0,
)

PROMPT_FILTER = PromptFilterRecipe(
    name="tiny_cpu", prompt_filter=PromptFilterConfig(phrases_of_effects()), size=SIZE, frames=29, dtype="float32",
    batch=1, steps=8000, lr=5e-4, weight_decay=0.0, warmup_steps=20, decay_fraction=0.6, ema_decay=0.98,
    texture_from=0.1, sparsity_weight=1.2e-3, sheet_every=400,
)

TINY_CPU: dict[str, Recipe] = {
    "vae": VAE, "vae-decoder": VAE_DECODER, "teacher": TEACHER, "teacher-mask": TEACHER_MASK, "causal": CAUSAL,
    "self-forcing": SELF_FORCING, "rollout": ROLLOUT, "detail": DETAIL, "prompt-filter": PROMPT_FILTER,
}

TINY_GPU = variant(TINY_CPU, {"name": "tiny_gpu"}, {
    "vae": {"batch": 32, "steps": 12000, "sheet_every": 1000},
    "vae-decoder": {"batch": 32, "steps": 3000, "sheet_every": 500},
    "teacher": {"batch": 64, "steps": 16000, "optimizer": "muon", "sheet_every": 1000},
    "teacher-mask": {"batch": 32, "steps": 8000, "optimizer": "muon", "sheet_every": 1000},
    "causal": {
        "batch": 16, "steps": 5000, "diffusion_steps": 2500, "ode_steps": 48, "w_t": 3.0,
        "ema_decay": 0.999, "target_decay": 0.99, "sheet_every": 500,
    },
    "self-forcing": {
        "batch": 16, "frames": 33, "lr": 2e-5, "lr_critic": 2e-5, "critic_ratio": 5, "truth_weight": 0.5,
        "ema_decay": 0.99, "sheet_every": 250,
    },
    "rollout": {"batch": 16, "frames": 33, "ema_decay": 0.99, "sheet_every": 250},
    "detail": {"batch": 16, "sheet_every": 500},
    "prompt-filter": {"batch": 8, "sheet_every": 500},
})

# A few steps, reported at every one, in float32, in which the tests compare to the last digit.
BRIEF: Changes = {
    "name": "smoke", "size": (64, 48), "steps": 4, "warmup_steps": 1, "log_every": 1, "sheet_every": 4,
}
SMALL = replace(NETWORK, width=64, layers=2, heads=2, ffn=128, text_dim=32, text_tokens=16, track_channels=4)
SMALL_NETWORK: Changes = {"dtype": "float32", "network": SMALL}
SMALL_VAE: Changes = {
    "vae": TinyVAEConfig(latent_channels=8, encoder=(16, 16), decoder=(16, 16, 16)),
    "frames": 5, "batch": 2, "crop": 48, "lr": 1e-3,
}
SMALL_TEACHER: Changes = {**SMALL_NETWORK, "frames": 9, "batch": 2, "lr": 1.5e-3, "decay_fraction": 0.3}
LATER: Changes = {**SMALL_NETWORK, "frames": 17, "batch": 1}
# The paper's clean pass and calls, which the embedded model has not.
SMALL_ROLLOUT: Changes = {**LATER, "denoising_steps": 3, "clean_pass": True, "history_noise": 0.3}
SMOKE = variant(TINY_CPU, BRIEF, {
    "vae": SMALL_VAE,
    "vae-decoder": {**SMALL_VAE, "lpips_weight": 0.0},  # LPIPS's weights are not ours to ship
    "teacher": SMALL_TEACHER,
    "teacher-mask": SMALL_TEACHER,
    "causal": {**LATER, "batch": 3, "diffusion_steps": 2, "sinks": (1,), "windows": (1, 2), "chunks": (1, 2)},
    "self-forcing": {**SMALL_ROLLOUT, "w_m": 1.5},
    "rollout": SMALL_ROLLOUT,
    "detail": {**LATER, "clean_pass": True, "detail": DetailConfig(width=8, blocks=1)},
    "prompt-filter": {"frames": 9, "batch": 2},
})
# fmt: on

CHAINS = {"tiny_cpu": TINY_CPU, "tiny_gpu": TINY_GPU, "smoke": SMOKE, **recipes_wan.CHAINS}
"""Name → stage → recipe."""
NAMED = {stage: {name: chain[stage] for name, chain in CHAINS.items() if stage in chain} for stage in RECIPES}
"""Stage → name → recipe."""
NAMED["decoder"].update(recipes_wan.DECODERS)


def named(stage: str, name: str) -> Recipe:
    """The recipe of this name for this stage. Raises ValueError naming the nearest of either."""
    if stage not in RECIPES:
        raise ValueError(unknown("training stage", stage, RECIPES))
    if name not in NAMED[stage]:
        raise ValueError(unknown(f"recipe of stage {stage}", name, NAMED[stage]))
    return NAMED[stage][name]
