"""A `MotionModel` for streaming, faster: the same weights and the same velocities.

Beside the reference: `fuse_motion` wraps a model whose weights will not change, and refuses what `dit/fuse.py` refuses.
A chunk's conditioning is the same at each of its passes: here it becomes tokens at the first of them.
"""

from __future__ import annotations

import weakref

import torch
from torch import Tensor, nn

from motionstream.conditioning import Conditioning
from motionstream.diffusion import TIMESTEPS
from motionstream.dit import ChunkMask, RollingCache, TextContext, VideoDiT
from motionstream.dit.fuse import FusedDiT, fuse
from motionstream.sampling.model import MotionModel


def fuse_motion(model: MotionModel) -> FusedMotionModel:
    """The streaming form of a model. Raises ValueError where it was not built for it."""
    if not isinstance(model.dit, VideoDiT):
        raise ValueError("this model is fused already: use it as it is")
    return FusedMotionModel(model, fuse(model.dit))


class FusedMotionModel(MotionModel):
    """Stands where a MotionModel stands, for rolling caches without gradients."""

    dit: FusedDiT

    def __init__(self, model: MotionModel, dit: FusedDiT) -> None:
        nn.Module.__init__(self)
        self.config, self.dit, self.track_head, self.text = model.config, dit, model.track_head, model.text
        self._embedded: tuple[weakref.ref[Conditioning], Tensor] | None = None
        self.eval()

    def _output(
        self,
        noisy: Tensor,
        t: Tensor,
        conditioning: Conditioning,
        context: TextContext,
        mask: ChunkMask | None,
        cache: RollingCache | None,
        commit: bool,
    ) -> Tensor:
        output: Tensor = self.dit(
            noisy,
            t * TIMESTEPS,
            context,
            mask=mask,
            cache=cache,
            commit=commit,
            embedded=self._embed(conditioning),
        )
        return output

    def commit(self, clean: Tensor, conditioning: Conditioning, context: TextContext, cache: RollingCache) -> None:
        t = torch.zeros(clean.shape[:2], device=clean.device)
        self.dit.commit(clean, t, context, cache, self._embed(conditioning))

    def _embed(self, conditioning: Conditioning) -> Tensor:
        """Tokens of the conditioning; those of one chunk at a time are kept."""
        kept = self._embedded
        if kept is None or kept[0]() is not conditioning:
            kept = weakref.ref(conditioning), self.dit.embed(self.channels(conditioning))
            self._embedded = kept
        return kept[1]
