"""Prompt → text tokens: what every text encoder offers.

Legend: B prompts, L tokens, D channels of a token.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt
import torch.nn.functional as F
from torch import Tensor, nn


@dataclass(frozen=True)
class EncodedPrompts:
    """Embeddings of B prompts. tokens (B, L, D): zero after the real ones; lengths: real tokens of each, 1 … L."""

    tokens: Tensor
    lengths: tuple[int, ...]

    @classmethod
    def of(cls, rows: Sequence[Tensor]) -> EncodedPrompts:
        """Of the real tokens (n, D) of each prompt. Raises ValueError if there is no prompt."""
        if not rows:
            raise ValueError("no prompt: send the tokens of at least one")
        return cls(nn.utils.rnn.pad_sequence(list(rows), batch_first=True), tuple(len(row) for row in rows))

    def row(self, index: int) -> Tensor:
        """The real tokens (n, D) of one prompt."""
        return self.tokens[index, : self.lengths[index]]

    def padded(self, length: int) -> Tensor:
        """(B, length, D): cut or zero-padded at the end, as Wan does without a mask."""
        tokens = self.tokens[:, :length]
        return F.pad(tokens, (0, 0, 0, length - tokens.shape[1]))


class PromptEncoder(Protocol):
    """A text encoder that is not part of the network: Wan's UMT5, or a cache of its outputs."""

    def encode(self, prompts: list[str]) -> EncodedPrompts:
        """Embeddings of prompts."""
        ...


class PictureEncoder(Protocol):
    """What a network's cross-attention reads of the first picture: Wan 2.1's CLIP."""

    def encode(self, picture: npt.NDArray[np.uint8]) -> Tensor:
        """(H, W, 3) → (1, L, image_dim)."""
        ...
