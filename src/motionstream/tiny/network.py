"""`AnchoredModel`: a network that corrects the warped anchor instead of predicting a velocity. Beyond the paper.

The DiT's output u is read as ẑ_0 = a + u, with a the latents of the warped anchor, and v = (z_t − ẑ_0) / t. A network
whose weights are all zero returns the warp, and it learns only what the warp lacks; it never has to carry noise
through its few channels.
"""

from __future__ import annotations

import torch
from torch import Tensor

from motionstream.conditioning import Conditioning
from motionstream.diffusion import velocity_of
from motionstream.sampling import ModelConfig, MotionModel
from motionstream.sampling.times import beside
from motionstream.tiny.conditioner import AnchoredConditioning


class AnchoredModel(MotionModel):
    """Takes `AnchoredConditioning`."""

    def clean_from(self, output: Tensor, noisy: Tensor, t: Tensor, conditioning: Conditioning) -> Tensor:
        return anchored(conditioning).anchor + output

    def velocity_from(self, output: Tensor, noisy: Tensor, t: Tensor, conditioning: Conditioning) -> Tensor:
        """Undefined where t is 0."""
        return velocity_of(anchored(conditioning).anchor + output, noisy, beside(t, noisy))

    def channels(self, conditioning: Conditioning) -> Tensor:
        """All conditioning channels (B, T, C', h, w), in the order `conditioner.py` states."""
        extra = anchored(conditioning)
        return torch.cat([super().channels(conditioning), extra.anchor, extra.support], 2)


def anchored(conditioning: Conditioning) -> AnchoredConditioning:
    """The same, known to have a warped anchor. Raises TypeError if it has none."""
    if not isinstance(conditioning, AnchoredConditioning):
        raise TypeError("this network takes conditioning with a warped anchor: make it with an AnchoredConditioner")
    return conditioning


def motion_model(config: ModelConfig, text: bool = True) -> MotionModel:
    """The network of a configuration: anchored, or the paper's. text: with a text encoder of its own."""
    return AnchoredModel(config, text) if config.conditioning.anchored else MotionModel(config, text)
