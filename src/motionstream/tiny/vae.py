"""The tiny VAE: 8×8×4, causal in time, for two CPU cores (docs/architecture.md, section 7; paper Appendix A).

Encoder and decoder each add two paths. The *linear path* maps a block of 4 frames × 8×8 pixels to its latent cell
and back; it starts as the principal components of the training clips, so that training begins at a fair
picture instead of noise. The *network path* learns what a linear map cannot: edges that move, seams between blocks.
All its work happens at 32×18 and 64×36 (for 256×144), with wide channels; full resolution is one pixel shuffle.

Every layer with memory sees only the step before it, so the clip at once and step by step are
the same function: `forward` takes (B, T, …) with any T, and the memory left by the last call.

Legend: B batch, F frames, T latents, C channels, H W height and width of the tensor at hand.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from einops import rearrange, repeat
from torch import Tensor, nn

from motionstream.vae.causal import CausalVAE
from motionstream.vae.contract import Memory
from motionstream.vae.steps import LAYOUT, delayed, flat, laid_out


@dataclass(frozen=True)
class TinyVAEConfig:
    """latent_channels: of a latent cell. encoder: channels at one step a frame and at one step a latent, 1/8 size.
    decoder: channels at one step a latent and at one step a frame, 1/8 size, and at one step a frame, 1/4 size."""

    latent_channels: int
    encoder: tuple[int, int]
    decoder: tuple[int, int, int]
    latent_blocks: int = 2
    frame_blocks: int = 1
    half_blocks: int = 2


SPATIAL, TEMPORAL = 8, 4


def in_cells(frames_NCHW: Tensor, side: int) -> Tensor:
    """Squares of side × side pixels (N, H/side, W/side, C·side²), in the order of `pixel_unshuffle`'s channels; one
    copy into the memory layout convolutions are fastest in, where that takes three."""
    return rearrange(frames_NCHW, "n c (h q) (w r) -> n h w (c q r)", q=side, r=side)


def residual_convolutions(inner: int, width: int) -> tuple[nn.Conv2d, nn.Conv2d]:
    """The two of a residual block, of which the second starts small."""
    mix, out = nn.Conv2d(inner, width, 3, padding=1), nn.Conv2d(width, width, 3, padding=1)
    with torch.no_grad():
        out.weight.mul_(0.3)
    return mix, out


class MemoryBlock(nn.Module):
    """Residual block over a step and the step before it."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.mix, self.out = residual_convolutions(2 * width, width)
        nn.init.zeros_(self.out.bias)  # type: ignore[arg-type]

    def forward(self, x_BTCHW: Tensor, memory: Tensor | None) -> tuple[Tensor, Tensor]:
        batch = x_BTCHW.shape[0]
        past, memory = delayed(x_BTCHW, memory)
        hidden = F.silu(self.mix(torch.cat([flat(x_BTCHW), flat(past)], 1)))
        return F.silu(x_BTCHW + self.out(hidden).unflatten(0, (batch, -1))), memory


class FrameBlock(nn.Module):
    """Residual block within a frame."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.mix, self.out = residual_convolutions(width, width)

    def forward(self, x_NCHW: Tensor) -> Tensor:
        return F.silu(x_NCHW + self.out(F.silu(self.mix(x_NCHW))))


def through(blocks: nn.ModuleList, x_BTCHW: Tensor, memory: Memory | None) -> tuple[Tensor, Memory]:
    """Blocks with memory one after another."""
    left: list[Tensor] = []
    for index, block in enumerate(blocks):
        x_BTCHW, state = block(x_BTCHW, None if memory is None else memory[index])
        left.append(state)
    return x_BTCHW, tuple(left)


def zero_(layer: nn.Conv2d) -> nn.Conv2d:
    nn.init.zeros_(layer.weight)
    nn.init.zeros_(layer.bias)  # type: ignore[arg-type]
    return layer


class TinyEncoder(nn.Module):
    """Blocks of 4 frames (B, 4T, 3, H, W) → raw latents (B, T, C, H/8, W/8)."""

    def __init__(self, config: TinyVAEConfig) -> None:
        super().__init__()
        frame, width = config.encoder
        self.linear = nn.Linear(3 * TEMPORAL * SPATIAL**2, config.latent_channels)
        self.frame_in = nn.Conv2d(3 * SPATIAL**2, frame, 1)
        self.frame_blocks = nn.Sequential(*(FrameBlock(frame) for _ in range(config.frame_blocks)))
        self.pack = nn.Conv2d(TEMPORAL * frame, width, 1)
        self.blocks = nn.ModuleList(MemoryBlock(width) for _ in range(config.latent_blocks - 1))
        self.out = zero_(nn.Conv2d(width, config.latent_channels, 3, padding=1))

    def forward(self, video_BFCHW: Tensor, memory: Memory | None) -> tuple[Tensor, Memory]:
        batch = video_BFCHW.shape[0]
        cells = in_cells(video_BFCHW.flatten(0, 1), SPATIAL)
        blocks = rearrange(cells, "(b t p) h w c -> b t h w (p c)", b=batch, p=TEMPORAL)
        linear = self.linear(blocks).movedim(-1, 2)
        x = self.frame_blocks(F.silu(self.frame_in(laid_out(cells.movedim(-1, 1)))))
        x = rearrange(x, "(b t p) c h w -> (b t) (p c) h w", b=batch, p=TEMPORAL)
        x = F.silu(self.pack(laid_out(x)))
        x, memory = through(self.blocks, x.unflatten(0, (batch, -1)), memory)
        return linear + self.out(flat(x)).unflatten(0, (batch, -1)), memory


class TinyDecoder(nn.Module):
    """Raw latents (B, T, C, h, w) → blocks of 4 frames (B, 4T, 3, 8h, 8w)."""

    def __init__(self, config: TinyVAEConfig) -> None:
        super().__init__()
        width, frame, half = config.decoder
        self.linear = nn.Linear(config.latent_channels, 3 * TEMPORAL * SPATIAL**2)
        self.latent_in = nn.Conv2d(config.latent_channels, width, 3, padding=1)
        self.latent_blocks = nn.ModuleList(MemoryBlock(width) for _ in range(config.latent_blocks))
        self.unpack = nn.Conv2d(width, TEMPORAL * frame, 1)
        self.frame_blocks = nn.ModuleList(MemoryBlock(frame) for _ in range(config.frame_blocks))
        self.grow = nn.Conv2d(frame, 4 * half, 1)
        self.half_blocks = nn.Sequential(*(FrameBlock(half) for _ in range(config.half_blocks)))
        self.out = zero_(nn.Conv2d(half, 3 * (SPATIAL // 2) ** 2, 3, padding=1))

    def forward(self, latents_BTCHW: Tensor, memory: Memory | None) -> tuple[Tensor, Memory]:
        batch, split = latents_BTCHW.shape[0], len(self.latent_blocks)
        linear = rearrange(
            self.linear(latents_BTCHW.movedim(2, -1)),
            "b t h w (p c q r) -> b (t p) c (h q) (w r)", p=TEMPORAL, q=SPATIAL, r=SPATIAL,
        )  # fmt: skip
        x = F.silu(self.latent_in(flat(latents_BTCHW))).unflatten(0, (batch, -1))
        x, slow = through(self.latent_blocks, x, memory and memory[:split])
        x = rearrange(F.silu(self.unpack(flat(x))), "(b t) (p c) h w -> b (t p) c h w", b=batch, p=TEMPORAL)
        x, fast = through(self.frame_blocks, x, memory and memory[split:])
        x = self.half_blocks(F.silu(F.pixel_shuffle(self.grow(flat(x)), 2)))
        x = F.pixel_shuffle(self.out(x), SPATIAL // 2).unflatten(0, (batch, -1))
        return linear + x, slow + fast


class TinyVAE(CausalVAE):
    """Encoder, decoder and the statistics that normalise latents (`mean`, `scale`: one number a channel)."""

    spatial_stride, temporal_stride = SPATIAL, TEMPORAL

    def __init__(self, config: TinyVAEConfig) -> None:
        super().__init__()
        self.config = config
        self.latent_channels = config.latent_channels
        self.encoder = TinyEncoder(config)
        self.decoder = TinyDecoder(config)
        self.register_buffer("mean", torch.zeros(config.latent_channels))
        self.register_buffer("scale", torch.ones(config.latent_channels))
        self.to(memory_format=LAYOUT)  # type: ignore[call-overload]

    def encode_step(self, video: Tensor, memory: Memory | None) -> tuple[Tensor, Memory]:
        starts = memory is None
        if (video.shape[1] - starts) % TEMPORAL or video.shape[1] == 0:
            raise ValueError(f"{video.shape[1]} frames: a stream starts with 1 + 4n and goes on with 4n")
        if starts:  # the first frame fills its block of four
            video = torch.cat([repeat(video[:, :1], "b 1 c h w -> b n c h w", n=TEMPORAL - 1), video], 1)
        raw, memory = self.encoder(video, memory)
        return self.normalise(raw), memory

    def decode_step(self, latents: Tensor, memory: Memory | None) -> tuple[Tensor, Memory]:
        skip = TEMPORAL - 1 if memory is None else 0
        video, memory = self.decoder(self.denormalise(latents), memory)
        return video[:, skip:], memory

    @torch.no_grad()
    def start_from_components(self, blocks_ND: Tensor) -> None:
        """Set the linear path to the principal components of N blocks (pixels in the order of `linear`'s input)."""
        mean = blocks_ND.mean(0)
        components = torch.linalg.eigh(torch.cov((blocks_ND - mean).T)).eigenvectors.flip(1)
        basis_DC = components[:, : self.latent_channels]
        self.encoder.linear.weight.copy_(basis_DC.T)
        self.encoder.linear.bias.copy_(-mean @ basis_DC)
        self.decoder.linear.weight.copy_(basis_DC)
        self.decoder.linear.bias.copy_(mean)

    @torch.no_grad()
    def set_statistics(self, raw_BTCHW: Tensor, whitening: float) -> None:
        """Normalise by these raw latents' statistics.

        whitening 1 gives every channel unit variance (fine detail then counts as much as the picture), 0 keeps
        their ratios (pixel error counts); the mean square over all channels is 1 in any case.
        """
        channels = raw_BTCHW.transpose(0, 2).flatten(1).float()
        deviation = channels.std(1)
        scale = deviation**whitening
        scale = scale * (deviation / scale).square().mean().sqrt()
        self.mean.copy_(channels.mean(1))
        self.scale.copy_(scale)
