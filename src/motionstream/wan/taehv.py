"""TAEHV: tiny decoders of Wan's latents (Boer Bohan, 2025), whose shape the paper's tiny VAE has (Appendix A).

2D convolutions, step after step of time at once; only `PastBlock` looks back, and by one step. So a stream carries one
step for each of them, and the clip at once and any split of it are the same function. Parts stand at the places
and under the names of the published files (`decoder.0` … `decoder.22`, `encoder.0` … `encoder.17`): those load as they
are, and what is trained here can be read by others. Latents are normalised ones, as the DiT sees them.

Frames are in [0, 1] inside and in [−1, 1] outside; `from_unit` and `to_unit` are the only places that convert.

Legend: B batch, F frames, T steps of time at hand, C channels, H W height and width of the tensor at hand, N = B·T.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import torch
import torch.nn.functional as F
from einops import rearrange
from safetensors.torch import save_file
from torch import Tensor, nn

from motionstream.trackers.source import read_weights
from motionstream.vae.contract import Memory
from motionstream.vae.steps import delayed, flat

SPATIAL, TEMPORAL = 8, 4
"""Pixels a latent cell spans before the last shuffle, and frames a latent spans."""
BLOCKS = 3  # with memory, at each level
ENCODER_WIDTH = 64
BOUND = 3.0
"""Latents are softly limited to ± this."""
PARTS = DECODER, ENCODER = "decoder.", "encoder."
NAMED = 3  # keys that an error names of each kind

M = TypeVar("M", bound=nn.Module)


@dataclass(frozen=True)
class TaehvConfig:
    """latent_channels: of a latent cell. patch: side in pixels of what the last shuffle makes of a cell's channels.
    widths: channels at 1/8, 1/4, 1/2 and 1/1 of the size before that shuffle."""

    latent_channels: int
    patch: int
    widths: tuple[int, int, int, int]


PUBLISHED = {
    "wan2.1": TaehvConfig(latent_channels=16, patch=1, widths=(256, 128, 64, 64)),
    "wan2.2": TaehvConfig(latent_channels=48, patch=2, widths=(256, 128, 64, 64)),
}
"""The published files `taew2_1` (9,844,611 parameters in the decoder) and `taew2_2` (9,923,532)."""


def from_unit(frames: Tensor) -> Tensor:
    """TAEHV's [0, 1] → our [−1, 1]."""
    return frames * 2 - 1


def to_unit(frames: Tensor) -> Tensor:
    """Our [−1, 1] → TAEHV's [0, 1]."""
    return (frames + 1) / 2


def conv(inner: int, outer: int, stride: int = 1, bias: bool = True) -> nn.Conv2d:
    return nn.Conv2d(inner, outer, 3, stride, padding=1, bias=bias)


def relu() -> nn.ReLU:
    return nn.ReLU(inplace=True)


class Bounded(nn.Module):
    """A soft limit, so that a latent far out does not burn."""

    def forward(self, x_NCHW: Tensor) -> Tensor:
        return BOUND * torch.tanh(x_NCHW / BOUND)


class PastBlock(nn.Module):
    """Residual block over a step and the step before it."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv = nn.Sequential(conv(2 * width, width), relu(), conv(width, width), relu(), conv(width, width))

    def forward(self, x_NCHW: Tensor, past_NCHW: Tensor) -> Tensor:
        return F.relu(self.conv(torch.cat([x_NCHW, past_NCHW], 1)) + x_NCHW, inplace=True)


class Grow(nn.Module):
    """Each step becomes `times` steps of twice the height and width.

    Published networks enlarge first: the values are the same, as a 1×1 convolution does not see its neighbours.
    """

    def __init__(self, width: int, times: int) -> None:
        super().__init__()
        self.times = times
        self.conv = nn.Conv2d(width, times * width, 1, bias=False)

    def forward(self, x_NCHW: Tensor) -> Tensor:
        steps = rearrange(self.conv(x_NCHW), "n (p c) h w -> (n p) h w c", p=self.times)
        return F.interpolate(steps.permute(0, 3, 1, 2), scale_factor=2.0, mode="nearest")


class Shrink(nn.Module):
    """`times` steps become one."""

    def __init__(self, width: int, times: int) -> None:
        super().__init__()
        self.times = times
        self.conv = nn.Conv2d(times * width, width, 1, bias=False)

    def forward(self, x_NCHW: Tensor) -> Tensor:
        steps: Tensor = self.conv(rearrange(x_NCHW, "(n p) c h w -> n (p c) h w", p=self.times))
        return steps


def past_blocks(width: int) -> list[nn.Module]:
    return [PastBlock(width) for _ in range(BLOCKS)]


def walk(layers: nn.ModuleList, x_BTCHW: Tensor, memory: Memory | None) -> tuple[Tensor, Memory]:
    """All layers over all steps at hand; the memory is the last input of each block that looks back."""
    left: list[Tensor] = []
    for layer in layers:
        if isinstance(layer, PastBlock):
            past, last = delayed(x_BTCHW, None if memory is None else memory[len(left)])
            left.append(last.clone())  # a view would keep the whole chunk's activations alive
            made = layer(flat(x_BTCHW), flat(past))
        else:
            made = layer(flat(x_BTCHW))
        x_BTCHW = made.unflatten(0, (x_BTCHW.shape[0], -1))
    return x_BTCHW, tuple(left)


class TaehvDecoder(nn.Module):
    """Latents (B, T, C, h, w) → frames (B, 1 + 4 (T − 1), 3, H, W). Decodes only; see `vae.contract` for the walk."""

    temporal_stride = TEMPORAL

    def __init__(self, config: TaehvConfig) -> None:
        super().__init__()
        self.config = config
        self.latent_channels, self.spatial_stride = config.latent_channels, SPATIAL * config.patch
        a, b, c, d = config.widths
        grown = nn.Identity  # published networks enlarge at this place: see `Grow`
        self.decoder = nn.ModuleList(
            [
                *(Bounded(), conv(config.latent_channels, a), relu()),
                *(*past_blocks(a), grown(), Grow(a, 1), conv(a, b, bias=False)),
                *(*past_blocks(b), grown(), Grow(b, 2), conv(b, c, bias=False)),
                *(*past_blocks(c), grown(), Grow(c, 2), conv(c, d, bias=False)),
                *(relu(), conv(d, 3 * config.patch**2)),
            ]
        )
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # what convolutions are fastest in

    @classmethod
    def load(
        cls, path: str | os.PathLike[str], device: torch.device | str = "cpu", dtype: torch.dtype = torch.float32
    ) -> TaehvDecoder:
        """Of a published file (`taew2_1`, `taew2_2`: .safetensors, or .pth through PyTorch's reader of bare tensors)
        or one of `save`, frozen; sizes are read off the weights. Of an encoder in the file no notice is taken.

        Raises FileNotFoundError, or ValueError that names what is missing, unknown or of another shape.
        """
        weights = read_weights(Path(path))
        return _loaded(cls(config_of(weights, str(path))), DECODER, weights, str(path), device, dtype)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write a safetensors file that `load` reads, under the published names."""
        save_file({name: weight.detach().cpu().contiguous() for name, weight in self.state_dict().items()}, path)

    def forward(self, latents: Tensor, memory: Memory | None) -> tuple[Tensor, Memory]:
        """As `decode_step`, but frames may leave [−1, 1] and have a gradient there: what training wants."""
        if latents.ndim != 5 or latents.shape[2] != self.latent_channels:
            raise ValueError(
                f"latents of shape {tuple(latents.shape)}: this decoder takes (B, T, {self.latent_channels}, h, w)"
            )
        skip = TEMPORAL - 1 if memory is None else 0
        cells, memory = walk(self.decoder, latents, memory)
        return from_unit(F.pixel_shuffle(cells[:, skip:], self.config.patch)), memory

    def decode(self, latents: Tensor) -> Tensor:
        return self.decode_step(latents, None)[0]

    def decode_step(self, latents: Tensor, memory: Memory | None) -> tuple[Tensor, Memory]:
        frames, memory = self(latents, memory)
        return frames.clamp(-1, 1), memory


class TaehvEncoder(nn.Module):
    """Frames (B, F, 3, H, W) → latents (B, ⌈F / 4⌉, C, h, w), whole clips only.

    Not a `VideoVAE`'s: its latent i is made of frames 4i … 4i + 3, three more than Wan's own has seen. A stream could
    have it only three frames late. For previews and for clips at hand; a model's pictures want the full encoder.
    """

    def __init__(self, config: TaehvConfig) -> None:
        super().__init__()
        self.config = config
        width = ENCODER_WIDTH
        self.encoder = nn.ModuleList(
            [
                *(conv(3 * config.patch**2, width), relu()),
                *(Shrink(width, 2), conv(width, width, 2, bias=False), *past_blocks(width)),
                *(Shrink(width, 2), conv(width, width, 2, bias=False), *past_blocks(width)),
                *(Shrink(width, 1), conv(width, width, 2, bias=False), *past_blocks(width)),
                conv(width, config.latent_channels),
            ]
        )
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    @classmethod
    def load(
        cls, path: str | os.PathLike[str], device: torch.device | str = "cpu", dtype: torch.dtype = torch.float32
    ) -> TaehvEncoder:
        """The encoder of a published file; see `TaehvDecoder.load`."""
        weights = read_weights(Path(path))
        return _loaded(cls(config_of(weights, str(path))), ENCODER, weights, str(path), device, dtype)

    def encode(self, video: Tensor) -> Tensor:
        """A whole clip in [−1, 1]; a last group of fewer than four frames is filled with its last one."""
        frames = torch.cat([video, video[:, -1:].expand(-1, -video.shape[1] % TEMPORAL, -1, -1, -1)], 1)
        return walk(self.encoder, F.pixel_unshuffle(to_unit(frames), self.config.patch), None)[0]


def config_of(weights: Mapping[str, Tensor], where: str) -> TaehvConfig:
    """Sizes of the decoder in a file. Raises ValueError if they are not all there; where: names the file."""
    inner, *steps, outer = (f"decoder.{index}.weight" for index in (1, 8, 14, 20, 22))
    if missing := [name for name in (inner, *steps, outer) if name not in weights or weights[name].ndim != 4]:
        raise ValueError(
            f"{where}: not a TAEHV decoder, it lacks {', '.join(missing)}; send taew2_1 or taew2_2 as published"
        )
    a, b, c, d = (weights[name].shape[0] for name in (inner, *steps))
    patch = round((weights[outer].shape[0] / 3) ** 0.5)
    return TaehvConfig(weights[inner].shape[1], patch, (a, b, c, d))


def _loaded(
    network: M, part: str, weights: Mapping[str, Tensor], where: str, device: torch.device | str, dtype: torch.dtype
) -> M:
    """The network with its part of the weights, frozen, once every key of the file is accounted for."""
    own = network.state_dict()
    mine = {name: weight for name, weight in weights.items() if name.startswith(part)}
    complaints = {
        "missing": [name for name in own if name not in mine],
        "unknown": [name for name in weights if name not in own and (name in mine or not name.startswith(PARTS))],
        "of another shape": [
            f"{name} {tuple(mine[name].shape)}, not {tuple(own[name].shape)}"
            for name in own
            if name in mine and mine[name].shape != own[name].shape
        ],
    }
    if said := [f"{kind}: {_some(names)}" for kind, names in complaints.items() if names]:
        raise ValueError(f"{where}: not the weights of a TAEHV {part.rstrip('.')}; {'; '.join(said)}")
    network.load_state_dict(mine)
    return network.to(device, dtype).requires_grad_(False).eval()


def _some(names: list[str]) -> str:
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return ", ".join(names[:NAMED]) + more
