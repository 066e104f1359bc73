"""A small text encoder that is learned together with the teacher, for models trained from nothing.

The Wan models use UMT5 instead (`wan/umt5.py`); both give (B, L, text_dim) to the DiT.

A word's number is a hash of it, so there is no vocabulary file and no unknown word.

Legend: B prompts, L tokens, D channels of a token.
"""

from __future__ import annotations

import re
import zlib

import torch
import torch.nn.functional as F
from torch import Tensor, nn

PAD = 0
_WORD = re.compile(r"[^\W_]+")


def word_numbers(prompt: str, length: int, buckets: int) -> list[int]:
    """The first `length` words of a prompt as numbers 1…buckets−1, padded with 0."""
    words = words_of(prompt)[:length]
    numbers = [1 + zlib.crc32(word.encode()) % (buckets - 1) for word in words]
    return numbers + [PAD] * (length - len(numbers))


def words_of(text: str) -> list[str]:
    """Its words in order, in lower case, without punctuation."""
    return _WORD.findall(text.lower())


class TextEncoder(nn.Module):
    """Prompts → (B, L, width): word and place embeddings, then one transformer layer.

    The empty prompt is the null prompt of guidance.
    """

    def __init__(self, width: int, length: int, buckets: int = 4096, heads: int = 2) -> None:
        super().__init__()
        self.length, self.buckets, self.heads = length, buckets, heads
        self.words = nn.Embedding(buckets, width)
        self.places = nn.Parameter(torch.randn(length, width) * 0.02)
        self.norm_attention = nn.LayerNorm(width)
        self.qkv = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)
        self.norm_mlp = nn.LayerNorm(width)
        self.mlp = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))
        nn.init.normal_(self.words.weight, std=0.5)

    def forward(self, prompts: list[str]) -> Tensor:
        numbers = [word_numbers(prompt, self.length, self.buckets) for prompt in prompts]
        x_BLD = self.words(torch.tensor(numbers, device=self.places.device)) + self.places
        x_BLD = x_BLD + self._attend(self.norm_attention(x_BLD))
        mixed: Tensor = x_BLD + self.mlp(self.norm_mlp(x_BLD))
        return mixed

    def _attend(self, x_BLD: Tensor) -> Tensor:
        q, k, v = self.qkv(x_BLD).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        mixed: Tensor = self.out(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))
        return mixed
