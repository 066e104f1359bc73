"""Times of a few-step student: always the same few numbers, on the host.

On the host they can be looked up (the fused DiT caches the modulations of each) without waiting for the device. Each is
copied to a device once and stays there, because recorded CUDA graphs read it.
"""

from __future__ import annotations

from functools import cache

import torch
from torch import Tensor


def host_times(time: float, latents: Tensor, known: int = 0) -> Tensor:
    """(B, T) times on the CPU: 0 for the `known` first latents, `time` for the others."""
    times = torch.full(latents.shape[:2], time, dtype=torch.float32, device="cpu")
    times[:, :known] = 0
    return times


def beside(t: Tensor, latents: Tensor) -> Tensor:
    """Times on the device of the latents; those on the host are copied there once."""
    if t.device == latents.device or t.device.type != "cpu":
        return t
    return _sent(tuple(t.flatten().tolist()), tuple(t.shape), latents.device)


@cache
def _sent(values: tuple[float, ...], shape: tuple[int, ...], device: torch.device) -> Tensor:
    with torch.inference_mode(False), torch.no_grad():
        return torch.tensor(values, device="cpu").reshape(shape).to(device)
