"""A model with some of its parts switched off."""

from __future__ import annotations

import copy

from torch import Tensor

from motionstream.conditioning import Conditioning
from motionstream.dit import RollingCache, TextContext
from motionstream.sampling import PlainStep
from motionstream.sampling.step import StepNoise
from motionstream.stream.model import StreamingModel
from motionstream.tiny.finisher import finisher_of


def without(model: StreamingModel, *parts: str) -> StreamingModel:
    """The same model without its "detail", its "prompt_filter" or both."""
    bare = copy.copy(model)
    bare.finisher = finisher_of(model).without(*parts)
    return bare


def anchor_only(model: StreamingModel) -> StreamingModel:
    """The same anchored model with its transformer's output set to 0: the warped anchor through all that follows."""
    made = copy.copy(model)
    made.chunk_step = _AnchorOnly(model.network, model.rollout_config, model.geometry.token_grid)
    return made


class _AnchorOnly(PlainStep):
    """Chunks whose clean latents are those of the warped anchor."""

    def denoise(
        self,
        cache: RollingCache,
        conditioning: Conditioning,
        context: TextContext,
        noise: StepNoise,
        known: Tensor | None = None,
    ) -> Tensor:
        """The anchor's latents (B, T, C, h, w); the first of them is `known`, the picture's: nothing has moved yet."""
        return conditioning.prior()

    def commit(self, cache: RollingCache, clean: Tensor, conditioning: Conditioning, context: TextContext) -> None:
        """Nothing is read again."""
