"""Sizes of the published networks that a Wan model needs beside its DiT: text encoder, picture encoder, full VAE.

Written down, so that a plan needs none of their packages; tests/plan/test_external.py compares each with Transformers
and Diffusers.
"""

from __future__ import annotations

from dataclasses import dataclass

UMT5_XXL_PARAMETERS = 5_680_910_336
"""Of the text encoder."""
CLIP_PARAMETERS = 630_766_080
"""Of the picture encoder, CLIP ViT-H/14."""
CLIP_TOKENS = 257
"""Of a picture: one for the whole of it, 16 × 16 for its patches."""


@dataclass(frozen=True)
class VAEHalf:
    """The encoder or the decoder of a full VAE.

    parameters: weights. memory: values per latent cell that a stream keeps between chunks (the last inputs of every
    causal convolution). largest: values per latent cell of a layer's largest input.
    """

    parameters: int
    memory: int
    largest: int


@dataclass(frozen=True)
class FullVAE:
    """A full VAE. stride: pixels per latent cell. channels: of a latent."""

    stride: int
    channels: int
    encoder: VAEHalf
    decoder: VAEHalf


FULL_VAES = {
    "wan2.1": FullVAE(8, 16, VAEHalf(53_596_928, 89_856, 24_576), VAEHalf(73_295_603, 151_328, 49_152)),
    "wan2.2": FullVAE(16, 48, VAEHalf(149_637_088, 150_656, 40_960), VAEHalf(555_051_580, 456_800, 131_072)),
}
