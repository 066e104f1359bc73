"""Rectified flow: the straight path from data to noise, and conversions between its parameterisations.

z_t = (1 − t) z_0 + t z_1 with z_1 ~ N(0, 1); velocity v = z_1 − z_0; t ∈ [0, 1], 1 is noise; the network's
timestep is 1000·t (paper Section 3.1). Times are (B,) or (B, T): one a clip or one a latent frame.
"""

from __future__ import annotations

from torch import Tensor

TIMESTEPS = 1000.0


def per_cell(t: Tensor, like_BTCHW: Tensor) -> Tensor:
    """(B,) or (B, T) times, shaped to multiply latents (B, T, C, H, W)."""
    return t.reshape(*t.shape, *(1,) * (like_BTCHW.ndim - t.ndim)).to(like_BTCHW.dtype)


def interpolate(clean: Tensor, noise: Tensor, t: Tensor) -> Tensor:
    """z_t, the point at time t of the path from clean to noise."""
    t = per_cell(t, clean)
    return (1 - t) * clean + t * noise


def velocity_of(clean: Tensor, noisy: Tensor, t: Tensor, floor: float = 0.0) -> Tensor:
    """v from a prediction of z_0. `floor` bounds the division near t = 0 (for losses)."""
    return (noisy - clean) / per_cell(t.clamp(min=max(floor, 1e-6)), clean)


def clean_of(velocity: Tensor, noisy: Tensor, t: Tensor) -> Tensor:
    """z_0 from a prediction of v."""
    return noisy - per_cell(t, noisy) * velocity


def euler(noisy: Tensor, velocity: Tensor, t: Tensor, t_next: Tensor) -> Tensor:
    """One step along the ODE dz/dt = v from t to t_next."""
    return noisy + per_cell(t_next - t, noisy) * velocity
