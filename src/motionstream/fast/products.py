"""Products and convolutions with weights that will not change: packed once, where that is faster.

On a CPU with oneDNN the weight is put in its order once, and bias, activation and residual happen inside the product,
through the operators that torch.compile uses there. They are not public, so the plain form stays beside them. GELU in
float32 is the exception: oneDNN's takes twice as long inside the product as PyTorch's after it.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Product:
    """x wᵀ + b, then tanh-GELU or SiLU if asked. activation: "none", "gelu" or "swish"."""

    def __init__(self, weight: Tensor, bias: Tensor, activation: str = "none") -> None:
        self.weight, self.bias = weight.detach(), bias.detach()
        after = activation == "gelu" and weight.dtype == torch.float32
        self.inside, self.after = ("none", activation) if after else (activation, "none")
        self.activation, self.form = activation, "tanh" if self.inside == "gelu" else ""
        self.packed = pack(self.weight)

    @classmethod
    def of(cls, linear: nn.Linear, activation: str = "none") -> Product:
        return cls(linear.weight, linear.bias, activation)

    def __call__(self, x: Tensor) -> Tensor:
        if self.packed is None:
            return activate(F.linear(x, self.weight, self.bias), self.activation)
        flat = x.flatten(0, -2)
        rows = torch.ops.mkldnn._linear_pointwise(flat, self.packed, self.bias, self.inside, [], self.form)
        return activate(rows.view(*x.shape[:-1], -1), self.after)

    def onto(self, base: Tensor, x: Tensor) -> Tensor:
        """base + x wᵀ + b, in one pass; without activation."""
        if self.packed is None:
            return base + F.linear(x, self.weight, self.bias)
        pair = x.flatten(0, -2), base.flatten(0, -2)
        rows: Tensor = torch.ops.mkldnn._linear_pointwise.binary(*pair, self.packed, self.bias, "add")
        return rows.view(base.shape)


def activate(x: Tensor, activation: str) -> Tensor:
    if activation == "gelu":
        return F.gelu(x, approximate="tanh")
    return F.silu(x, inplace=True) if activation == "swish" else x


def pack(weight: Tensor) -> Tensor | None:
    """A linear weight in oneDNN's order, or None where that is not to be had: not in bfloat16 on a CPU that oneDNN has
    no instructions for, which is most of them without AVX512."""
    known = hasattr(torch.ops.mkldnn, "_linear_pointwise") and hasattr(torch.ops.mkldnn, "_reorder_linear_weight")
    if weight.device.type != "cpu" or not torch.backends.mkldnn.is_available() or not known:
        return None
    if weight.dtype == torch.bfloat16 and not torch.ops.mkldnn._is_mkldnn_bf16_supported():
        return None
    packed: Tensor = torch.ops.mkldnn._reorder_linear_weight(weight.contiguous(), None)
    return packed
