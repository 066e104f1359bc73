"""TAEHV: tiny decoders of Wan's latents (Boer Bohan, 2025), whose shape the paper's tiny VAE has (Appendix A).

2D convolutions over all time steps of a call in parallel; only `PastBlock` reads the past, one step of it. So a stream
carries one step for each of them, and decoding a clip whole or in any pieces is the same function. Layers have the
positions and names of the published files (`decoder.0` … `decoder.22`): those load unchanged, and what is trained
here can be read by other programs. Latents are normalised ones, as the DiT sees them.

Frames are in [0, 1] inside the network and in [−1, 1] outside.

Legend: B batch, F frames, T time steps, C channels, H W height and width of the tensor, N = B·T.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from einops import rearrange
from safetensors.torch import save_file
from torch import Tensor, nn

from motionstream.tensor_file import read_tensors
from motionstream.vae.contract import Memory
from motionstream.vae.steps import delayed, flat
from motionstream.wan.weights import check_weights, shapes_of

SPATIAL, TEMPORAL = 8, 4
"""Pixels a latent cell spans before the last shuffle, and frames a latent spans."""
BLOCKS = 3
"""Blocks with memory at each level."""
BOUND = 3.0
"""Latents are softly limited to ± this."""
ENCODER = "encoder."
"""Prefix of the encoder's weights in a published file; not loaded."""


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


def conv(inner: int, outer: int, bias: bool = True) -> nn.Conv2d:
    return nn.Conv2d(inner, outer, 3, padding=1, bias=bias)


def relu() -> nn.ReLU:
    return nn.ReLU(inplace=True)


class Bounded(nn.Module):
    """A soft limit, so that an extreme latent does not saturate the frame."""

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
    """Each time step becomes `times` steps of twice the height and width.

    The published networks upsample first. The values are the same, since a 1×1 convolution reads no neighbours.
    """

    def __init__(self, width: int, times: int) -> None:
        super().__init__()
        self.times = times
        self.conv = nn.Conv2d(width, times * width, 1, bias=False)

    def forward(self, x_NCHW: Tensor) -> Tensor:
        steps = rearrange(self.conv(x_NCHW), "n (p c) h w -> (n p) h w c", p=self.times)
        return F.interpolate(steps.permute(0, 3, 1, 2), scale_factor=2.0, mode="nearest")


def past_blocks(width: int) -> list[nn.Module]:
    return [PastBlock(width) for _ in range(BLOCKS)]


def streaming_pass(layers: nn.ModuleList, x_BTCHW: Tensor, memory: Memory | None) -> tuple[Tensor, Memory]:
    """All layers over the time steps of this call. The memory is the last input of each `PastBlock`."""
    left: list[Tensor] = []
    for layer in layers:
        if isinstance(layer, PastBlock):
            past, last = delayed(x_BTCHW, None if memory is None else memory[len(left)])
            left.append(last.clone())  # a view would keep the whole chunk's activations alive
            out = layer(flat(x_BTCHW), flat(past))
        else:
            out = layer(flat(x_BTCHW))
        x_BTCHW = out.unflatten(0, (x_BTCHW.shape[0], -1))
    return x_BTCHW, tuple(left)


class TaehvDecoder(nn.Module):
    """Latents (B, T, C, h, w) → frames (B, 1 + 4 (T − 1), 3, H, W). The decoding half of a `VideoVAE`."""

    temporal_stride = TEMPORAL

    def __init__(self, config: TaehvConfig) -> None:
        super().__init__()
        self.config = config
        self.latent_channels, self.spatial_stride = config.latent_channels, SPATIAL * config.patch
        a, b, c, d = config.widths
        upsample = nn.Identity  # where the published networks upsample: see `Grow`
        self.decoder = nn.ModuleList(
            [
                *(Bounded(), conv(config.latent_channels, a), relu()),
                *(*past_blocks(a), upsample(), Grow(a, 1), conv(a, b, bias=False)),
                *(*past_blocks(b), upsample(), Grow(b, 2), conv(b, c, bias=False)),
                *(*past_blocks(c), upsample(), Grow(c, 2), conv(c, d, bias=False)),
                *(relu(), conv(d, 3 * config.patch**2)),
            ]
        )
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    @classmethod
    def load(
        cls, path: str | os.PathLike[str], device: torch.device | str = "cpu", dtype: torch.dtype = torch.float32
    ) -> TaehvDecoder:
        """A published file (`taew2_1`, `taew2_2`: .safetensors or .pth) or one of `save`, without gradients.

        Sizes are read off the weights. An encoder in the file is ignored. Raises FileNotFoundError, or ValueError that
        names the weights that are missing, unknown or of another shape.
        """
        weights = {k: v for k, v in read_tensors(Path(path)).items() if not k.startswith(ENCODER)}
        decoder = cls(config_of(weights, str(path)))
        check_weights(shapes_of(weights), shapes_of(decoder.state_dict()), str(path))
        decoder.load_state_dict(weights)
        return decoder.to(device, dtype).requires_grad_(False).eval()

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write a safetensors file that `load` reads, under the published names."""
        save_file({name: weight.detach().cpu().contiguous() for name, weight in self.state_dict().items()}, path)

    def forward(self, latents: Tensor, memory: Memory | None) -> tuple[Tensor, Memory]:
        """As `decode_step`, but frames are not clamped, so that training has gradients outside [−1, 1]."""
        if latents.ndim != 5 or latents.shape[2] != self.latent_channels:
            raise ValueError(
                f"latents of shape {tuple(latents.shape)}: this decoder takes (B, T, {self.latent_channels}, h, w)"
            )
        skip = TEMPORAL - 1 if memory is None else 0
        cells, memory = streaming_pass(self.decoder, latents, memory)
        return F.pixel_shuffle(cells[:, skip:], self.config.patch) * 2 - 1, memory

    def decode(self, latents: Tensor) -> Tensor:
        return self.decode_step(latents, None)[0]

    def decode_step(self, latents: Tensor, memory: Memory | None) -> tuple[Tensor, Memory]:
        frames, memory = self(latents, memory)
        return frames.clamp(-1, 1), memory


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
