"""A model with some of its parts switched off."""

from __future__ import annotations

import copy

from torch import Tensor

from motionstream.conditioning import Conditioning
from motionstream.sampling import ChunkStep
from motionstream.stream.model import StreamingModel


def without(model: StreamingModel, *parts: str) -> StreamingModel:
    """The same model without its "detail", its "prompt_filter" or both."""
    bare = copy.copy(model)
    for part in parts:
        setattr(bare, part, None)
    return bare


def anchor_only(model: StreamingModel) -> StreamingModel:
    """The same anchored model with its transformer's output set to 0: the warped anchor through all that follows."""
    made = copy.copy(model)
    made.chunk_step = _AnchorOnly(model.chunk_step)
    return made


class _AnchorOnly:
    """Chunks whose clean latents are those of the warped anchor."""

    def __init__(self, own: ChunkStep) -> None:
        self.rollout_config, self.cache = own.rollout_config, own.cache

    def denoise(
        self, cache: object, conditioning: Conditioning, context: object, noise: object, known: Tensor | None = None
    ) -> Tensor:
        """The anchor's latents (B, T, C, h, w); the first of them is `known`, the picture's: nothing has moved yet."""
        return conditioning.anchor

    def commit(self, cache: object, clean: Tensor, conditioning: Conditioning, context: object) -> None:
        """Nothing is read again."""

    recommit = commit
