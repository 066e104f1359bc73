"""Padding tokens that are all the same, as one key.

Wan pads text with zeros to a fixed length without a mask, so pads are attended to: as many equal keys with equal
values. A softmax gives n equal logits s the weight of one logit s + log n. So real tokens and one pad with that bias
are the same attention over a fraction of the keys.

Legend: B batch, L tokens, D channels of a text embedding.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor


def collapse(text_BLD: Tensor, lengths: Sequence[int], tokens: int) -> tuple[Tensor, Tensor]:
    """Embeddings with pads collapsed (B, L', D), and the bias of their logits (B, L') float32.

    lengths: real tokens of each clip. tokens: what Wan pads to; longer texts are cut there. A clip shorter than the
    longest is filled up with keys without weight (bias −∞). Raises ValueError on lengths that do not fit.
    """
    if len(lengths) != len(text_BLD) or not all(0 <= length <= text_BLD.shape[1] for length in lengths):
        raise ValueError(
            f"lengths {tuple(lengths)} of texts {tuple(text_BLD.shape)}: send one a clip, 0 to {text_BLD.shape[1]}"
        )
    real = [min(length, tokens) for length in lengths]
    pads = [pad_biases(tokens - length, text_BLD.dtype) for length in real]
    kept = max(length + len(pad) for length, pad in zip(real, pads, strict=True))
    text = F.pad(text_BLD, (0, 0, 0, max(0, kept - text_BLD.shape[1])))[:, :kept]
    rows = [[0.0] * length + pad for length, pad in zip(real, pads, strict=True)]
    bias = torch.tensor([row + [-math.inf] * (kept - len(row)) for row in rows])
    is_real = torch.arange(kept) < torch.tensor(real)[:, None]
    return text * is_real[..., None].to(text), bias.to(text.device)


def pad_biases(pads: int, dtype: torch.dtype) -> list[float]:
    """Biases of the keys that stand for so many pads, such that their weights add up to that number.

    One key in float32. Half precision rounds its bias (log 500 to 1.6 %), which a second key makes up for.
    """
    if pads == 0:
        return []
    first = math.log(pads)
    rounded = float(torch.tensor(first).to(dtype))
    if dtype in (torch.float32, torch.float64) or rounded == first:
        return [first]
    if rounded > first:
        rounded = float(torch.nextafter(torch.tensor(rounded).to(dtype), torch.tensor(-math.inf).to(dtype)))
    return [rounded, math.log(pads - math.exp(rounded))]
