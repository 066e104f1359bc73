"""Networks of the published sizes with random weights: speed does not depend on what a network has learned.

No weight is zero: Wan's initialisation zeroes the head, which hides errors, and products of zeros are faster.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial

import torch
from torch import Tensor, nn

from motionstream.conditioning import Conditioning, ConditioningConfig
from motionstream.conditioning.track_volume import CODE_WIDTH
from motionstream.diffusion import few_step_times
from motionstream.dit import CONFIGS, DiTConfig, RollingCache, TextContext, VideoDiT
from motionstream.fast.fuse import FusedDiT, fuse
from motionstream.geometry import Geometry
from motionstream.sampling import ModelConfig, MotionModel, RolloutConfig
from motionstream.wan.taehv import PUBLISHED, TaehvDecoder

ROLLING = RolloutConfig(3, 3, 3, tuple(few_step_times(3, 6.0).tolist()))
"""The paper's c3s1w1 in chunks of three latents, three calls a chunk."""
STRIDES = {"wan2.2-5b": 16}
"""Pixels a latent cell spans; 8 elsewhere."""
FULL_SIZES = {"tiny": (256, 144), "wan2.2-5b": (1280, 704)}
FULL_SIZE, REDUCED_SIZE = (832, 480), (256, 160)
REDUCED_HEADS, REDUCED_TEXT = 2, 64
TRACK_CHANNELS, CLIP_TOKENS = 16, 257
DECODERS = {"wan2.1-1.3b": "wan2.1", "wan2.1-1.3b-i2v": "wan2.1", "wan2.2-5b": "wan2.2"}
"""Configuration → its published tiny decoder (`vae.taehv`)."""


@dataclass(frozen=True)
class Shape:
    """A network and the frames it works on. name: of the configuration; reduced: two heads, small frames, few words."""

    name: str
    dit: DiTConfig
    geometry: Geometry
    reduced: bool

    @property
    def label(self) -> str:
        """What a file of figures calls it."""
        reduced = f", reduced to width {self.dit.width}" if self.reduced else ""
        return f"{self.name}, {self.dit.layers} layers{reduced}, random weights"


def shape_of(name: str, layers: int | None = None, reduced: bool = False, size: tuple[int, int] | None = None) -> Shape:
    """The shape of a named configuration. layers: only so many. size: (W, H) of frames in pixels, else the published.

    Raises ValueError on a name, a number of layers or a size that is not possible.
    """
    if name not in CONFIGS:
        raise ValueError(f"configuration {name!r}: use one of {', '.join(CONFIGS)}")
    config = _reduced(CONFIGS[name]) if reduced else CONFIGS[name]
    if layers is not None and not 1 <= layers <= config.layers:
        raise ValueError(f"{layers} layers: {name} has 1 to {config.layers}")
    pixels = size or (REDUCED_SIZE if reduced else FULL_SIZES.get(name, FULL_SIZE))
    return Shape(
        name, replace(config, layers=layers or config.layers), Geometry(*pixels, STRIDES.get(name, 8)), reduced
    )


def _reduced(config: DiTConfig) -> DiTConfig:
    """Two heads of the same size; everything else in proportion. A picture branch counts on all of its words."""
    heads = min(REDUCED_HEADS, config.heads)
    width = heads * config.head_dim
    words = config.text_tokens if config.image_dim else min(REDUCED_TEXT, config.text_tokens)
    return replace(
        config,
        width=width,
        heads=heads,
        ffn=-(-config.ffn * width // config.width // 64) * 64,
        text_dim=min(width, config.text_dim),
        text_tokens=words,
    )


def device_of(name: str) -> torch.device:
    """ "auto" takes a GPU if there is one. Raises ValueError on a device that this machine lacks."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError):
        raise ValueError(f"device {name!r} is not to be had here: use auto, cpu, cuda or cuda:N") from None
    return device


@torch.no_grad()
def randomised(module: nn.Module, seed: int = 0) -> nn.Module:
    """Every weight drawn anew, none zero: N(0, 1 / inputs), norms around 1. Ready for inference."""
    generator = torch.Generator(next(module.parameters()).device).manual_seed(seed)
    for name, weight in module.named_parameters():
        inputs = weight[0].numel() if weight.ndim > 1 and "modulation" not in name else weight.shape[-1]
        mean = 1.0 if "norm" in name and name.endswith("weight") else 0.0
        weight.normal_(mean, inputs**-0.5, generator=generator)
    return module.eval().requires_grad_(False)


def untrained_decoder(shape: Shape, dtype: torch.dtype, device: torch.device) -> TaehvDecoder | None:
    """The tiny decoder of a shape with random weights; None where none is published."""
    if shape.name not in DECODERS:
        return None
    with device:
        decoder = TaehvDecoder(PUBLISHED[DECODERS[shape.name]])
    randomised(decoder)
    return decoder.to(dtype)


def prompt_of(
    config: DiTConfig, dtype: torch.dtype, device: torch.device, seed: int = 0
) -> tuple[Tensor, Tensor | None]:
    """Random text (1, L, text_dim) and, where the configuration takes a picture, CLIP tokens (1, 257, image_dim)."""
    draw = partial(_normal, torch.Generator(device).manual_seed(seed), dtype)
    text = draw(1, config.text_tokens, config.text_dim)
    return text, None if config.image_dim is None else draw(1, CLIP_TOKENS, config.image_dim)


def _normal(generator: torch.Generator, dtype: torch.dtype, *shape: int) -> Tensor:
    return torch.randn(shape, generator=generator, device=generator.device).to(dtype)


class Untrained:
    """A MotionModel of a shape, with everything its chunk loop needs. Runs in `dtype` on `device`."""

    def __init__(self, shape: Shape, dtype: torch.dtype, device: torch.device, seed: int = 0) -> None:
        self.shape, self.dtype, self.device, self.rollout_config = shape, dtype, device, ROLLING
        latents = shape.dit.out_channels
        conditioning = ConditioningConfig(latents, TRACK_CHANNELS)
        dit = replace(shape.dit, in_channels=latents + conditioning.channels)
        with device:
            network = MotionModel(ModelConfig(dit, conditioning), text=False)
        randomised(network, seed)
        self.network = network.to(dtype)
        self.draw = partial(_normal, torch.Generator(device).manual_seed(seed), dtype)

    def fused(self) -> FusedDiT:
        """Its DiT for streaming, put in its place."""
        assert isinstance(self.network.dit, VideoDiT)
        fused = self.network.dit = fuse(self.network.dit)
        return fused

    def context(self) -> TextContext:
        """Of a random prompt."""
        return self.network.dit.text_context(*prompt_of(self.network.dit.config, self.dtype, self.device))

    def cache(self) -> RollingCache:
        """An empty one."""
        tokens, rollout_config = self.shape.geometry.tokens_per_latent, self.rollout_config
        sizes = {"batch": 1, "tokens": tokens, "sink": rollout_config.sink, "window": rollout_config.window}
        return RollingCache(self.network.dit.config, **sizes, dtype=self.dtype, device=self.device)

    def conditioning(self) -> Conditioning:
        """Of a random chunk."""
        geometry, chunk = self.shape.geometry, self.rollout_config.chunk
        stride, latents = geometry.temporal_stride, self.network.config.conditioning.latent_channels
        cells = geometry.latent_height, geometry.latent_width
        return Conditioning(
            first=self.draw(1, chunk, stride + latents, *cells),
            volume=self.draw(1, chunk, stride * CODE_WIDTH, *cells),
        )
