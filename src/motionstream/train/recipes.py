"""Named recipes: functions that give a recipe, most of them by editing another. The laptop's come first.

`tiny_cpu`: the embedded model on two CPU cores, in several sittings. `tiny_gpu`: the same on one GPU in under an
hour. `smoke`: the whole chain in seconds, for tests. Those for Wan are in `recipes_wan.py` and
`recipes_decoder.py`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields, replace
from typing import TypeVar

from motionstream.data.captions import phrases_of_effects
from motionstream.tiny.detail import DetailConfig
from motionstream.tiny.prompt_filter import PromptFilterConfig
from motionstream.tiny.vae import TinyVAEConfig
from motionstream.train import recipes_decoder, recipes_wan
from motionstream.train.recipe import (
    RECIPES,
    CausalInitRecipe,
    DetailRecipe,
    Network,
    PromptFilterRecipe,
    Recipe,
    RolloutRecipe,
    SelfForcingRecipe,
    TeacherRecipe,
    TinyVAERecipe,
)
from motionstream.train.typed import unknown

R = TypeVar("R", bound=Recipe)
RR = TypeVar("RR", bound=RolloutRecipe)

SIZE = (256, 144)
"""(W, H) of the embedded model."""
VARIETY, VARIETY_LATER = 0.5, 0.7
"""Share of varied worlds (`data.synthetic`) that a teacher and its student see; and from the rollouts on."""

NETWORK = Network(
    width=256,
    layers=8,
    heads=2,
    ffn=1024,
    text_dim=128,
    text_tokens=32,
    track_channels=16,
    anchored=True,
)


def vae_tiny_cpu() -> TinyVAERecipe:
    return TinyVAERecipe(
        name="tiny_cpu",
        size=SIZE,
        frames=9,
        batch=8,
        steps=4000,
        lr=1e-3,
        weight_decay=0.0,
        warmup_steps=30,
        decay_fraction=0.4,
        ema_decay=0.98,
        crop=128,
        edge_weight=0.5,
        latent_noise=0.05,
        vae=TinyVAEConfig(latent_channels=24, encoder=(64, 128), decoder=(128, 64, 48), half_blocks=1),
        sheet_every=250,
    )


def vae_decoder_tiny_cpu() -> TinyVAERecipe:
    """Sharper to the eye, of the same latents: LPIPS beside the other losses, with weights that the user names."""
    return replace(vae_tiny_cpu(), steps=1200, lr=5e-4, init_from="vae", decoder_only=True, lpips_weight=0.3)


def teacher_tiny_cpu() -> TeacherRecipe:
    """Small frames first: what moves and what is uncovered is learned at 160×96, detail in the next stage."""
    return TeacherRecipe(
        name="tiny_cpu",
        variety=VARIETY,
        size=(160, 96),
        frames=21,
        batch=8,
        steps=20000,
        lr=1.5e-3,
        warmup_steps=40,
        decay_fraction=0.3,
        network=NETWORK,
        text_drop=0.1,
        track_drop=0.05,
        both_drop=0.05,
        shift=3.0,
        points_min=4,
        points_max=400,
        sheet_every=100,
    )


def teacher_mask_tiny_cpu() -> TeacherRecipe:
    """The paper's second stage, mid-frame masking, at full size from the first stage's weights."""
    first = teacher_tiny_cpu()
    return replace(
        first,
        size=SIZE,
        batch=4,
        steps=first.steps // 4,
        lr=first.lr / 2,
        decay_fraction=0.5,
        mask_probability=0.2,
        init_from="teacher",
    )


def causal_tiny_cpu() -> CausalInitRecipe:
    teacher = teacher_mask_tiny_cpu()
    return CausalInitRecipe(
        name=teacher.name,
        variety=VARIETY,
        size=teacher.size,
        frames=21,
        batch=3,
        steps=2000,
        lr=5e-4,
        dtype=teacher.dtype,
        warmup_steps=10,
        decay_fraction=0.4,
        ema_decay=0.98,
        target_decay=0.9,
        network=teacher.network,
        sinks=(3,),
        windows=(3,),
        chunks=(1, 2, 3),
        diffusion_steps=1500,
        ode_steps=16,
        w_t=0.0,
        w_m=0.0,
        shift=6.0,
        points_min=teacher.points_min,
        points_max=teacher.points_max,
        text_drop=teacher.text_drop,
        track_drop=teacher.track_drop,
        both_drop=teacher.both_drop,
        sheet_every=60,
    )


def self_forcing_tiny_cpu() -> SelfForcingRecipe:
    """Text guidance alone in the real score, and one call a chunk: what an anchored network needs (docs/log.md).

    What a prompt says of light and weather is the look's to show, so no clip here has any.
    """
    teacher = teacher_mask_tiny_cpu()
    return SelfForcingRecipe(
        name=teacher.name,
        variety=VARIETY,
        size=teacher.size,
        frames=21,
        chunk=1,
        batch=2,
        steps=1500,
        lr=1e-4,
        lr_critic=1e-4,
        critic_ratio=2,
        truth_weight=4.0,
        vacant_weight=3.0,
        effect_share=0.0,
        idle=0.15,
        drift=0.3,
        denoising_steps=1,
        w_m=0.0,
        warmup_steps=0,
        decay_fraction=0.0,
        clip=10.0,
        ema_decay=0.95,
        dtype=teacher.dtype,
        network=teacher.network,
        shift=6.0,
        points_min=teacher.points_min,
        points_max=teacher.points_max,
        sheet_every=50,
    )


def rollout_tiny_cpu() -> RolloutRecipe:
    """The same rollouts, without teacher and critic, from nothing; `causal` may name a student to go on from."""
    forcing = self_forcing_tiny_cpu()
    shared = {field.name: getattr(forcing, field.name) for field in fields(RolloutRecipe)}
    return replace(
        RolloutRecipe(**shared),
        variety=VARIETY_LATER,
        vacant_weight=4.0,
        steps=4000,
        lr=3e-4,
        idle=0.1,
        warmup_steps=40,
        decay_fraction=0.4,
        ema_decay=0.98,
        sheet_every=100,
        causal="",
    )


def detail_tiny_cpu() -> DetailRecipe:
    student = rollout_tiny_cpu()
    return DetailRecipe(
        name=student.name,
        variety=student.variety,
        effect_share=student.effect_share,
        size=student.size,
        frames=student.frames,
        batch=4,
        steps=2000,
        lr=2e-3,
        weight_decay=0.0,
        warmup_steps=20,
        decay_fraction=0.4,
        ema_decay=0.98,
        dtype=student.dtype,
        network=student.network,
        vae="vae-decoder",
        student="rollout",
        vacant_weight=3.0,
        detail=DetailConfig(width=32, blocks=1),
        chunk=student.chunk,
        sink=student.sink,
        window=student.window,
        denoising_steps=student.denoising_steps,
        clean_pass=student.clean_pass,
        shift=student.shift,
        points_min=student.points_min,
        points_max=student.points_max,
        sheet_every=100,
    )


def prompt_filter_tiny_cpu() -> PromptFilterRecipe:
    return PromptFilterRecipe(
        name="tiny_cpu",
        size=SIZE,
        frames=29,
        batch=1,
        steps=8000,
        lr=5e-4,
        weight_decay=0.0,
        warmup_steps=20,
        decay_fraction=0.6,
        ema_decay=0.98,
        dtype="float32",
        prompt_filter=PromptFilterConfig(phrases_of_effects()),
        texture_from=0.1,
        price_weight=1.2e-3,
        sheet_every=400,
    )


def vae_tiny_gpu() -> TinyVAERecipe:
    return replace(vae_tiny_cpu(), name="tiny_gpu", batch=32, steps=12000, crop=128, sheet_every=1000)


def vae_decoder_tiny_gpu() -> TinyVAERecipe:
    return replace(vae_decoder_tiny_cpu(), name="tiny_gpu", batch=32, steps=3000, sheet_every=500)


def teacher_tiny_gpu() -> TeacherRecipe:
    return replace(
        teacher_tiny_cpu(),
        name="tiny_gpu",
        batch=64,
        steps=16000,
        optimizer="muon",
        sheet_every=1000,
    )


def teacher_mask_tiny_gpu() -> TeacherRecipe:
    first = teacher_tiny_gpu()
    return replace(
        first,
        size=SIZE,
        batch=32,
        steps=first.steps // 2,
        lr=first.lr / 2,
        decay_fraction=0.5,
        mask_probability=0.2,
        init_from="teacher",
    )


def causal_tiny_gpu() -> CausalInitRecipe:
    return replace(
        causal_tiny_cpu(),
        name="tiny_gpu",
        batch=16,
        steps=5000,
        diffusion_steps=2500,
        ode_steps=48,
        w_t=3.0,
        w_m=0.0,
        ema_decay=0.999,
        target_decay=0.99,
        sheet_every=500,
    )


def self_forcing_tiny_gpu() -> SelfForcingRecipe:
    return replace(
        self_forcing_tiny_cpu(),
        name="tiny_gpu",
        batch=16,
        frames=33,
        lr=2e-5,
        lr_critic=2e-5,
        critic_ratio=5,
        truth_weight=0.5,
        ema_decay=0.99,
        sheet_every=250,
    )


def rollout_tiny_gpu() -> RolloutRecipe:
    return replace(rollout_tiny_cpu(), name="tiny_gpu", batch=16, frames=33, ema_decay=0.99, sheet_every=250)


def detail_tiny_gpu() -> DetailRecipe:
    return replace(detail_tiny_cpu(), name="tiny_gpu", batch=16, sheet_every=500)


def prompt_filter_tiny_gpu() -> PromptFilterRecipe:
    return replace(prompt_filter_tiny_cpu(), name="tiny_gpu", batch=8, sheet_every=500)


SMALL = replace(NETWORK, width=64, layers=2, heads=2, ffn=128, text_dim=32, text_tokens=16, track_channels=4)


def vae_smoke() -> TinyVAERecipe:
    small = TinyVAEConfig(latent_channels=8, encoder=(16, 16), decoder=(16, 16, 16))
    return _brief(replace(vae_tiny_cpu(), name="smoke", size=(64, 48), frames=5, batch=2, crop=48, vae=small))


def vae_decoder_smoke() -> TinyVAERecipe:
    """Without LPIPS, whose weights are not ours to ship."""
    return replace(vae_smoke(), init_from="vae", decoder_only=True)


def teacher_smoke() -> TeacherRecipe:
    """In float32, in which the tests compare to the last digit."""
    sizes = replace(teacher_tiny_cpu(), size=(64, 48), frames=9, batch=2, network=SMALL)
    return _brief(replace(sizes, name="smoke", dtype="float32"))


def teacher_mask_smoke() -> TeacherRecipe:
    return replace(teacher_smoke(), mask_probability=0.2, init_from="teacher")


def causal_smoke() -> CausalInitRecipe:
    small = teacher_smoke()
    recipe = replace(
        causal_tiny_cpu(),
        name="smoke",
        size=small.size,
        dtype=small.dtype,
        frames=17,
        diffusion_steps=2,
        sinks=(1,),
        windows=(1, 2),
        chunks=(1, 2),
        network=SMALL,
    )
    return _brief(recipe)


def self_forcing_smoke() -> SelfForcingRecipe:
    return _smoke_rollout(replace(self_forcing_tiny_cpu(), w_m=1.5))


def rollout_smoke() -> RolloutRecipe:
    return _smoke_rollout(rollout_tiny_cpu())


def _smoke_rollout(recipe: RR) -> RR:
    small = teacher_smoke()
    sizes = replace(recipe, size=small.size, frames=17, batch=1, chunk=1, sink=1, window=1, denoising_steps=3)
    return _brief(replace(sizes, name="smoke", dtype=small.dtype, network=SMALL))


def detail_smoke() -> DetailRecipe:
    student = self_forcing_smoke()
    small = DetailConfig(width=8, blocks=1)
    sizes = replace(detail_tiny_cpu(), size=student.size, frames=student.frames, batch=1, network=SMALL, detail=small)
    return _brief(
        replace(sizes, name="smoke", dtype=student.dtype, chunk=student.chunk, sink=student.sink, window=student.window)
    )


def prompt_filter_smoke() -> PromptFilterRecipe:
    return _brief(replace(prompt_filter_tiny_cpu(), name="smoke", size=(64, 48), frames=9, batch=2))


def _brief(recipe: R) -> R:
    """A run of a few steps, reported at every one."""
    return replace(recipe, steps=4, accumulate=1, warmup_steps=1, log_every=1, sheet_every=4)


NAMED: dict[str, dict[str, Callable[[], Recipe]]] = {
    "vae": {"tiny_cpu": vae_tiny_cpu, "tiny_gpu": vae_tiny_gpu, "smoke": vae_smoke},
    "vae-decoder": {"tiny_cpu": vae_decoder_tiny_cpu, "tiny_gpu": vae_decoder_tiny_gpu, "smoke": vae_decoder_smoke},
    "teacher": {"tiny_cpu": teacher_tiny_cpu, "tiny_gpu": teacher_tiny_gpu, "smoke": teacher_smoke},
    "teacher-mask": {
        "tiny_cpu": teacher_mask_tiny_cpu,
        "tiny_gpu": teacher_mask_tiny_gpu,
        "smoke": teacher_mask_smoke,
    },
    "causal": {"tiny_cpu": causal_tiny_cpu, "tiny_gpu": causal_tiny_gpu, "smoke": causal_smoke},
    "self-forcing": {
        "tiny_cpu": self_forcing_tiny_cpu,
        "tiny_gpu": self_forcing_tiny_gpu,
        "smoke": self_forcing_smoke,
    },
    "rollout": {"tiny_cpu": rollout_tiny_cpu, "tiny_gpu": rollout_tiny_gpu, "smoke": rollout_smoke},
    "detail": {"tiny_cpu": detail_tiny_cpu, "tiny_gpu": detail_tiny_gpu, "smoke": detail_smoke},
    "prompt-filter": {
        "tiny_cpu": prompt_filter_tiny_cpu,
        "tiny_gpu": prompt_filter_tiny_gpu,
        "smoke": prompt_filter_smoke,
    },
    "decoder": recipes_decoder.NAMED,
}
"""Stage → name → recipe."""
for _stage, _table in recipes_wan.NAMED.items():
    NAMED[_stage] |= _table


def named(stage: str, name: str) -> Recipe:
    """The recipe of this name for this stage. Raises ValueError naming the nearest of either."""
    if stage not in RECIPES:
        raise ValueError(unknown("training stage", stage, RECIPES))
    if name not in NAMED[stage]:
        raise ValueError(unknown(f"recipe of stage {stage}", name, NAMED[stage]))
    return NAMED[stage][name]()
