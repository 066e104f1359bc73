"""Small networks with random weights, none of them zero, so that no branch is silent; and tracks to steer them with."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import numpy as np
import torch
from torch import Tensor, nn

from motionstream.conditioning import ConditioningConfig, TrackBatch
from motionstream.dit import CONFIGS, RollingCache
from motionstream.geometry import Geometry
from motionstream.sampling import Control, ModelConfig, MotionModel, RolloutConfig
from motionstream.tiny.conditioner import AnchoredConditioner, AnchoredConditioning
from motionstream.tiny.network import motion_model
from motionstream.tiny.vae import TinyVAE, TinyVAEConfig
from motionstream.tracks import Tracks

CHANNELS = 6
GEOMETRY = Geometry(48, 32)
PROMPTS = ["a red kite over a field", "a boat, snow"]


@torch.no_grad()
def randomised(module: nn.Module, std: float = 0.1) -> nn.Module:
    """Every weight drawn anew; weights of norms around 1."""
    for name, weight in module.named_parameters():
        weight.normal_(1.0 if "norm" in name and name.endswith("weight") else 0.0, std)
    return module.eval()


def small_vae(seed: int = 0) -> TinyVAE:
    torch.manual_seed(seed)
    vae = TinyVAE(TinyVAEConfig(CHANNELS, (8, 12), (12, 8, 8), latent_blocks=3, frame_blocks=2, half_blocks=1))
    randomised(vae).requires_grad_(False)
    vae.mean.normal_()
    vae.scale.uniform_(0.5, 2)
    return vae


def small_config(anchored: bool = True) -> ModelConfig:
    conditioning = ConditioningConfig(CHANNELS, track_channels=5, anchored=anchored)
    dit = replace(
        CONFIGS["tiny"],
        width=48,
        heads=2,
        layers=2,
        ffn=64,
        text_dim=16,
        text_tokens=7,
        in_channels=CHANNELS + conditioning.channels,
        out_channels=CHANNELS,
    )
    return ModelConfig(dit, conditioning)


def small_model(anchored: bool = True, seed: int = 0) -> MotionModel:
    torch.manual_seed(seed)
    model = motion_model(small_config(anchored))
    randomised(model)
    return model


def moving_tracks(frames: int, points: int = 7, seed: int = 0, clips: int = 1) -> TrackBatch:
    """Points that wander through the frame of `GEOMETRY`, some of them hidden or late."""
    random = np.random.default_rng(seed)
    return TrackBatch.of([_wandering(frames, points, random) for _ in range(clips)])


def _wandering(frames: int, points: int, random: np.random.Generator) -> Tracks:
    start = random.uniform((4, 4), (GEOMETRY.width - 4, GEOMETRY.height - 4), (1, points, 2))
    steps = random.normal(0, 1.5, (frames, points, 2)).cumsum(0)
    return Tracks((start + steps).astype(np.float32), random.random((frames, points)) < 0.8)


def picture(clips: int = 1, seed: int = 0) -> Tensor:
    """(B, 3, H, W) in [−1, 1]."""
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(clips, 3, GEOMETRY.height, GEOMETRY.width, generator=generator) * 2 - 1


def small_conditioning(latents: int, clips: int = 1, seed: int = 0) -> AnchoredConditioning:
    tracks = moving_tracks(GEOMETRY.frames(latents), seed=seed, clips=clips)
    return AnchoredConditioner(small_vae(), GEOMETRY, seed).clip(picture(clips, seed), tracks)


def small_control(model: MotionModel, latents: int, clips: int = 2) -> Control:
    conditioning = small_conditioning(latents, clips)
    tracks = moving_tracks(GEOMETRY.frames(latents), clips=clips).hidden(torch.ones(clips, dtype=torch.bool))
    null = AnchoredConditioner(small_vae(), GEOMETRY).clip(picture(clips), tracks)
    return Control(conditioning, model.context(PROMPTS[:clips]), null, model.context([""] * clips))


def cache_for(model: MotionModel, rollout_config: RolloutConfig, clips: int = 1) -> RollingCache:
    make = partial(RollingCache, model.dit.config, batch=clips, tokens=GEOMETRY.tokens_per_latent)
    return make(sink=rollout_config.sink, window=rollout_config.window)
