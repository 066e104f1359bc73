"""The tiny VAE for streaming, faster: the same weights, memories and pixels with fewer passes over memory.

Beside the reference, never instead of it: `fuse_vae` wraps a TinyVAE and refuses gradients. What it saves: channels lie
last throughout, so that 1×1 convolutions are products and a shuffle moves runs of channels; activations and residuals
happen inside the products; the linear path is laid out as the network path is and joins it before the one shuffle.

Legend: B batch, F frames, T latents, N steps of all clips, C channels, H W height and width of the tensor at hand,
h w latent cells; p frame within its latent, (q, r) pixel within its cell.
"""

from __future__ import annotations

from typing import cast

import torch
from einops import rearrange
from torch import Tensor, nn

from motionstream.products import Convolution, Product
from motionstream.vae.contract import Memory
from motionstream.vae.tiny import SPATIAL, TEMPORAL, FrameBlock, MemoryBlock, TinyDecoder, TinyEncoder, TinyVAE

HALF = SPATIAL // 2


def fuse_vae(vae: TinyVAE) -> FusedTinyVAE:
    """The streaming form of a VAE whose weights will not change."""
    return FusedTinyVAE(vae)


class FusedTinyVAE(TinyVAE):
    """Stands where a TinyVAE stands; memories go from one to the other. Raises ValueError if gradients are on."""

    def __init__(self, vae: TinyVAE) -> None:
        nn.Module.__init__(self)
        self.config, self.latent_channels = vae.config, vae.latent_channels
        self.encoder, self.decoder = vae.encoder, vae.decoder
        self.register_buffer("mean", vae.mean)
        self.register_buffer("scale", vae.scale)
        self._encode, self._decode = FusedEncoder(vae.encoder), FusedDecoder(vae.decoder)
        self.eval()

    def run_encoder(self, video: Tensor, memory: Memory | None) -> tuple[Tensor, Memory]:
        refuse_gradients()
        return self._encode(video, memory)

    def run_decoder(self, raw: Tensor, memory: Memory | None) -> tuple[Tensor, Memory]:
        refuse_gradients()
        return self._decode(raw, memory)


def refuse_gradients() -> None:
    if torch.is_grad_enabled():
        raise ValueError("a fused VAE has no gradients: call it under torch.inference_mode()")


class FusedEncoder:
    """`TinyEncoder.forward`, same arguments and result."""

    def __init__(self, encoder: TinyEncoder) -> None:
        weight = encoder.linear.weight.detach()
        self.linear_pDC = rearrange(weight, "c (p d) -> p d c", p=TEMPORAL).contiguous()
        self.linear_bias = cast(Tensor, encoder.linear.bias).detach()
        self.frame_in = point(encoder.frame_in)
        self.frame_blocks = [FusedFrameBlock(cast(FrameBlock, block)) for block in encoder.frame_blocks]
        self.pack = point(encoder.pack)
        self.blocks = [FusedMemoryBlock(cast(MemoryBlock, block)) for block in encoder.blocks]
        self.out = Convolution(encoder.out)

    def __call__(self, video_BFCHW: Tensor, memory: Memory | None) -> tuple[Tensor, Memory]:
        batch = video_BFCHW.shape[0]
        cells = rearrange(video_BFCHW, "b f c (h q) (w r) -> (b f) h w (c q r)", q=SPATIAL, r=SPATIAL).contiguous()
        x = self.frame_in(cells)
        for block in self.frame_blocks:
            x = block(x)
        x = self.pack(rearrange(x, "(n p) h w c -> n h w (p c)", p=TEMPORAL))
        x, memory = walk(self.blocks, x.unflatten(0, (batch, -1)), memory)
        out = self.out.onto(self._linear(cells), x.flatten(0, 1))
        return out.unflatten(0, (batch, -1)).movedim(-1, 2), memory

    def _linear(self, cells_NhwC: Tensor) -> Tensor:
        """The linear path, each frame's share of it by itself."""
        _, h, w, _ = cells_NhwC.shape
        shares = torch.matmul(rearrange(cells_NhwC, "(n p) h w d -> n p (h w) d", p=TEMPORAL), self.linear_pDC)
        linear: Tensor = (shares.sum(1) + self.linear_bias).unflatten(1, (h, w))
        return linear


class FusedDecoder:
    """`TinyDecoder.forward`, same arguments and result; pixels lie channels last in memory."""

    def __init__(self, decoder: TinyDecoder) -> None:
        self.linear = Product(*linear_by_half_cells(decoder.linear))
        self.latent_in = Convolution(decoder.latent_in, "swish")
        self.latent_blocks = [FusedMemoryBlock(cast(MemoryBlock, block)) for block in decoder.latent_blocks]
        self.unpack = point(decoder.unpack)
        self.frame_blocks = [FusedMemoryBlock(cast(MemoryBlock, block)) for block in decoder.frame_blocks]
        self.grow = point(channels_last(decoder.grow, 2))
        self.half_blocks = [FusedFrameBlock(cast(FrameBlock, block)) for block in decoder.half_blocks]
        self.out = Convolution(channels_last(decoder.out, HALF))

    def __call__(self, latents_BTChw: Tensor, memory: Memory | None) -> tuple[Tensor, Memory]:
        batch, split = latents_BTChw.shape[0], len(self.latent_blocks)
        cells = latents_BTChw.movedim(2, -1).flatten(0, 1).contiguous()
        x = self.latent_in(cells).unflatten(0, (batch, -1))
        x, slow = walk(self.latent_blocks, x, memory and memory[:split])
        x = rearrange(self.unpack(x), "b t h w (p c) -> b (t p) h w c", p=TEMPORAL)
        x, fast = walk(self.frame_blocks, x, memory and memory[split:])
        x = shuffled(self.grow(x.flatten(0, 1)), 2)
        for block in self.half_blocks:
            x = block(x)
        linear = rearrange(self.linear(cells), "n h w (p q r c) -> (n p) (h q) (w r) c", p=TEMPORAL, q=2, r=2)
        pixels = shuffled(self.out.onto(linear, x), HALF)
        return pixels.unflatten(0, (batch, -1)).movedim(-1, 2), slow + fast


class FusedMemoryBlock:
    """`MemoryBlock`, on (B, T, H, W, C)."""

    def __init__(self, block: MemoryBlock) -> None:
        self.mix, self.out = Convolution(block.mix, "swish"), Convolution(block.out)

    def __call__(self, x_BTHWC: Tensor, memory: Tensor | None) -> tuple[Tensor, Tensor]:
        x, width = x_BTHWC.contiguous(), x_BTHWC.shape[-1]
        both = x.new_empty(*x.shape[:-1], 2 * width)
        both[..., :width] = x
        both[:, 1:, ..., width:] = x[:, :-1]
        both[:, :1, ..., width:] = 0 if memory is None else memory.movedim(2, -1)
        out = self.out.onto(x.flatten(0, 1), self.mix(both.flatten(0, 1)))
        return silu_(out).unflatten(0, x.shape[:2]), x[:, -1:].movedim(-1, 2)


class FusedFrameBlock:
    """`FrameBlock`, on (N, H, W, C)."""

    def __init__(self, block: FrameBlock) -> None:
        self.mix, self.out = Convolution(block.mix, "swish"), Convolution(block.out)

    def __call__(self, x_NHWC: Tensor) -> Tensor:
        return silu_(self.out.onto(x_NHWC, self.mix(x_NHWC)))


def walk(blocks: list[FusedMemoryBlock], x_BTHWC: Tensor, memory: Memory | None) -> tuple[Tensor, Memory]:
    """Blocks with memory one after another."""
    left: list[Tensor] = []
    for index, block in enumerate(blocks):
        x_BTHWC, state = block(x_BTHWC, None if memory is None else memory[index])
        left.append(state)
    return x_BTHWC, tuple(left)


def silu_(x: Tensor) -> Tensor:
    return torch.nn.functional.silu(x, inplace=True)


def point(conv: nn.Conv2d) -> Product:
    """A 1×1 convolution and its SiLU as a product."""
    return Product(conv.weight.flatten(1), cast(Tensor, conv.bias), "swish")


def shuffled(x_NHWC: Tensor, by: int) -> Tensor:
    """Pixel shuffle of channels that `channels_last` has put in order."""
    return rearrange(x_NHWC, "n h w (q r c) -> n (h q) (w r) c", q=by, r=by)


@torch.no_grad()
def channels_last(conv: nn.Conv2d, by: int) -> nn.Conv2d:
    """A convolution before a pixel shuffle, its outputs (c q r) reordered to (q r c)."""
    order = rearrange(torch.arange(conv.out_channels), "(c q r) -> (q r c)", q=by, r=by)
    size, padding = cast(tuple[int, int], conv.kernel_size), cast(tuple[int, int], conv.padding)
    out = nn.Conv2d(conv.in_channels, conv.out_channels, size, padding=padding).to(conv.weight)
    out.weight.copy_(conv.weight[order])
    cast(Tensor, out.bias).copy_(cast(Tensor, conv.bias)[order])
    return out


def linear_by_half_cells(linear: nn.Linear) -> tuple[Tensor, Tensor]:
    """Weight and bias with outputs (p c q r) of a cell reordered as the network path gives them at half size."""
    order = rearrange(
        torch.arange(linear.out_features),
        "(p c q y r x) -> (p q r y x c)",
        p=TEMPORAL, q=2, r=2, y=HALF, x=HALF,
    )  # fmt: skip
    return linear.weight.detach()[order], cast(Tensor, linear.bias).detach()[order]
