"""The teacher's sampler: Euler steps along the guided ODE over a whole clip at once."""

from __future__ import annotations

import itertools

import torch
from torch import Tensor

from motionstream.diffusion import euler, ode_times
from motionstream.sampling.guidance import Control, Guidance, guided_velocity
from motionstream.sampling.model import MotionModel


@torch.no_grad()
def sample_clip(
    model: MotionModel,
    first: Tensor,
    control: Control,
    noise: Tensor,
    steps: int,
    shift: float,
    guidance: Guidance,
) -> Tensor:
    """Latents (B, T, C, h, w) of a clip whose first latent is given.

    first (B, 1, C, h, w); noise (B, T, C, h, w). The first latent stays as it is, at time 0.
    """
    times = ode_times(steps, shift).to(noise.device)
    noisy = torch.cat([first, noise[:, 1:]], 1)
    for now, after in itertools.pairwise(times):
        t = frame_times(now, noisy)
        velocity = guided_velocity(model, noisy, t, control, guidance)
        moved = euler(noisy, velocity, t, frame_times(after, noisy))
        noisy = torch.cat([first, moved[:, 1:]], 1)
    return noisy


def frame_times(t: Tensor, latents: Tensor, known: int = 1) -> Tensor:
    """(B, T) times: 0 for the `known` first latents, t (scalar or (B,)) for the others."""
    times = torch.as_tensor(t, device=latents.device).reshape(-1, 1).expand(*latents.shape[:2]).clone()
    times[:, :known] = 0
    return times
