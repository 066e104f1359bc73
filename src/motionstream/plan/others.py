"""Networks that Wan's models need and others publish, counted from their sizes: no package of theirs is needed.

UMT5-XXL's encoder, CLIP ViT-H/14's image tower, and Wan's full VAEs layer by layer, as Transformers and Diffusers build
them (tests/test_plan.py compares).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import pairwise


@dataclass(frozen=True)
class T5Sizes:
    """Of a T5 encoder with gated feed-forward and, as UMT5 has it, position biases in every layer."""

    vocabulary: int
    width: int
    head_dim: int
    heads: int
    ffn: int
    layers: int
    buckets: int = 32

    @property
    def parameters(self) -> int:
        attention = 4 * self.width * self.heads * self.head_dim + self.buckets * self.heads
        layer = attention + 3 * self.width * self.ffn + 2 * self.width
        return self.vocabulary * self.width + self.layers * layer + self.width


@dataclass(frozen=True)
class VisionSizes:
    """Of a CLIP image tower. tokens: of a picture, its own and its patches'."""

    width: int
    ffn: int
    layers: int
    patch: int
    tokens: int

    @property
    def parameters(self) -> int:
        norm = 2 * self.width
        layer = 4 * (self.width + 1) * self.width + (2 * self.width + 1) * self.ffn + self.width + 2 * norm
        embedding = self.width * (3 * self.patch**2 + 1 + self.tokens)
        return embedding + self.layers * layer + 2 * norm


UMT5_XXL = T5Sizes(vocabulary=256384, width=4096, head_dim=64, heads=64, ffn=10240, layers=24)
CLIP_VIT_H = VisionSizes(width=1280, ffn=5120, layers=32, patch=14, tokens=257)


@dataclass(frozen=True)
class WanVAESizes:
    """Of a full VAE. encoder, decoder: channels at full size; four times as many at the latents'.

    pixels: channels of what the first layer reads. residual: Wan 2.2's blocks, which keep their width when they grow.
    """

    encoder: int
    decoder: int
    latent_channels: int
    pixels: int
    residual: bool


WAN_VAES = {
    "wan2.1": WanVAESizes(96, 96, 16, 3, residual=False),
    "wan2.2": WanVAESizes(160, 256, 48, 12, residual=True),
}
STEPS = (1, 2, 4, 4)
"""Steps of time a latent has at each level, from the latents' size (0) to eight times that (3)."""
REMEMBERED = 2
"""Steps of its input that a causal convolution keeps for the next call."""


@dataclass(frozen=True)
class Layer:
    """weights: parameters. values: of its input, a latent cell. remembered: of those, what a stream keeps."""

    weights: int
    values: int = 0
    remembered: int = 0


def decoder(vae: WanVAESizes) -> Iterator[Layer]:
    """Every layer with weights of the full decoder."""
    latent, widths = vae.latent_channels, [vae.decoder * times for times in (4, 4, 4, 2, 1)]
    yield _conv(latent, latent, 0, taps=1, keeps=0)
    yield _conv(latent, widths[0], 0)
    yield from _middle(widths[0])
    for level, (wide, outer) in enumerate(pairwise(widths)):
        inner = wide // 2 if level and not vae.residual else wide
        for _ in range(3):
            yield from _block(inner, outer, level)
            inner = outer
        if level < 2:
            yield _conv(outer, 2 * outer, level, taps=3)
        if level < 3:
            yield _conv(outer, outer if vae.residual else outer // 2, level + 1, taps=9, keeps=0)
    yield Layer(widths[-1])
    yield _conv(widths[-1], vae.pixels, 3)


def encoder(vae: WanVAESizes) -> Iterator[Layer]:
    """Every layer with weights of the full encoder."""
    latent, widths = vae.latent_channels, [vae.encoder * times for times in (1, 1, 2, 4, 4)]
    yield _conv(vae.pixels, widths[0], 3)
    for below, (inner, outer) in enumerate(pairwise(widths)):
        level = 3 - below
        yield from _block(inner, outer, level)
        yield from _block(outer, outer, level)
        if level:
            yield _conv(outer, outer, level, taps=9, keeps=0)
        if level in (1, 2):
            yield _conv(outer, outer, level - 1, taps=3, keeps=1)
    yield from _middle(widths[-1])
    yield Layer(widths[-1])
    yield _conv(widths[-1], 2 * latent, 0)
    yield _conv(2 * latent, 2 * latent, 0, taps=1, keeps=0)


def weights(layers: Iterable[Layer]) -> int:
    """Parameters of all."""
    return sum(layer.weights for layer in layers)


def remembered(layers: Iterable[Layer]) -> int:
    """Values a latent cell that a stream keeps between calls."""
    return sum(layer.remembered for layer in layers)


def largest(layers: Iterable[Layer]) -> int:
    """Values a latent cell of the largest input of a layer."""
    return max(layer.values for layer in layers)


def _conv(inner: int, outer: int, level: int, taps: int = 27, keeps: int = REMEMBERED) -> Layer:
    values = inner * 4**level
    return Layer(inner * outer * taps + outer, values * STEPS[level], values * keeps)


def _block(inner: int, outer: int, level: int) -> Iterator[Layer]:
    """Two norms and two convolutions, and one across where the width changes."""
    yield Layer(inner + outer)
    yield _conv(inner, outer, level)
    yield _conv(outer, outer, level)
    if inner != outer:
        yield _conv(inner, outer, level, taps=1, keeps=0)


def _middle(width: int) -> Iterator[Layer]:
    """Block, attention within a frame, block."""
    yield from _block(width, width, 0)
    yield Layer(width + 3 * width * (width + 1) + width * (width + 1))
    yield from _block(width, width, 0)
