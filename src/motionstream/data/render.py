"""Renders layers, far to near, into frames. The same torch operations on a CPU and on a GPU.

On a CPU only the window of a layer is computed; on a GPU whole frames, which needs fewer kernel launches.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from motionstream.data.layers import Layer

SHUTTER_STEPS = (-1 / 3, 0.0, 1 / 3)
"""Times at which motion blur is sampled, in shares of the time that the shutter is open."""


def draw(
    layers: Sequence[Layer],
    size: tuple[int, int],
    device: torch.device,
    crop: bool | None = None,
    shutter: float = 0.0,
) -> Tensor:
    """(F, 3, H, W) float32 in [0, 1] of `layers`, the first of which is the ground, on `device`.

    size: (W, H). crop: compute only each layer's window; by default on a CPU. shutter: frames for which it is
    open, for motion blur.
    """
    if not shutter:
        return _drawn(layers, size, device, crop)
    moments = [
        [replace(layer, placement=layer.placement.later(shutter * step)) for layer in layers] for step in SHUTTER_STEPS
    ]
    blurred = _drawn(moments[0], size, device, crop)
    for moment in moments[1:]:
        blurred += _drawn(moment, size, device, crop)
    return blurred.div_(len(moments))


def _drawn(layers: Sequence[Layer], size: tuple[int, int], device: torch.device, crop: bool | None) -> Tensor:
    by_window = device.type == "cpu" if crop is None else crop
    ground, *others = layers
    frames = torch.arange(ground.placement.frames)
    canvas = _sampled(ground, frames, torch.zeros(len(frames), 2), size, device).transpose(0, 1).contiguous()
    for layer in others:
        window = _window(layer, size) if by_window else (frames, torch.zeros(len(frames), 2), size)
        if window is not None:
            _draw_over(canvas, layer, *window)
    return canvas


def _window(layer: Layer, size: tuple[int, int]) -> tuple[Tensor, Tensor, tuple[int, int]] | None:
    """Frames in which the layer is inside, the corner of its window in each, and the window's (W, H)."""
    low, high = layer.bounds()
    limit = torch.tensor(size, dtype=low.dtype)
    low = low.floor().clamp(min=0).minimum(limit)
    high = high.ceil().clamp(min=0).minimum(limit)
    extent = high - low
    frames = (extent.amin(1) > 0).nonzero()[:, 0]
    if not len(frames):
        return None
    window = extent[frames].amax(0)
    corner = low[frames].minimum(limit - window)
    return frames, corner, (int(window[0]), int(window[1]))


def _sampled(layer: Layer, frames: Tensor, corner: Tensor, size: tuple[int, int], device: torch.device) -> Tensor:
    """(c, n, h, w): the layer in windows of `size` at `corner` (n, 2) of those frames."""
    placement = layer.placement.at(frames)
    if len(frames) > 1 and placement.is_still and (corner == corner[:1]).all():
        return _sampled(layer, frames[:1], corner[:1], size, device).expand(-1, len(frames), -1, -1)
    left, top = corner.to(device, torch.float32).unbind(-1)
    x = left[:, None, None] + torch.arange(size[0], device=device) + 0.5
    y = top[:, None, None] + torch.arange(size[1], device=device)[:, None] + 0.5
    drawn = layer.sample(layer.texture.to(device), x, y, placement.to(device, torch.float32))
    if layer.light is None:
        return drawn
    lit = drawn[:3] * layer.light[frames].to(device, torch.float32)[:, None, None]
    return torch.cat([torch.minimum(lit, drawn[3:]), drawn[3:]])


def _draw_over(canvas: Tensor, layer: Layer, frames: Tensor, corner: Tensor, size: tuple[int, int]) -> None:
    """Draw the layer over canvas (F, 3, H, W), in place."""
    drawn = _sampled(layer, frames, corner, size, canvas.device)
    colour, through = drawn[:3].transpose(0, 1), 1 - drawn[3]
    if len(frames) == len(canvas) and size == (canvas.shape[3], canvas.shape[2]):
        canvas.mul_(through[:, None]).add_(colour)
        return
    for i, (frame, (left, top)) in enumerate(zip(frames.tolist(), corner.int().tolist(), strict=True)):
        under = canvas[frame, :, top : top + size[1], left : left + size[0]]
        under.mul_(through[i]).add_(colour[i])
