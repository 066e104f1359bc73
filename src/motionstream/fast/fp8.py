"""Products in 8-bit floats, as an option that must show what it costs: e4m3, with a scale for each row.

A linear layer's products are the larger part of a large model's work, and tensor cores since Hopper do them twice as
fast in e4m3. Every row of the weight, and every token as it comes, is scaled to the format's range; sums are taken in
float32. Where there are no such products the same rounding is simulated, so that its error can be measured anywhere.
`gate` measures it on a whole model and refuses what is over a limit; nothing is quantised without being asked for.

Legend: M tokens, N outputs, K inputs of a product.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from motionstream.fast.kernels import quantise_rows
from motionstream.fast.products import Product, activate

MULTIPLE = 16  # of the inputs and outputs that a tensor core takes
LIMIT = 5e-2
"""Relative difference of a forward pass that is still taken."""
Rows = tuple[Tensor, Tensor]
"""Values in e4m3 (rows, K) and the float32 scale of each row (rows, 1)."""


class Fp8Linear(nn.Module):
    """Stands where a `Product` stands: x wᵀ + b, then tanh-GELU or SiLU if asked.

    Made once of a trained weight; no gradient goes through it. Returns the dtype of x. It may be moved to another
    device, but a model's dtype is set before.
    Raises ValueError where inputs or outputs are no multiples of 16.
    """

    values: Tensor
    scale: Tensor
    bias: Tensor | None

    def __init__(self, weight: Tensor, bias: Tensor | None, activation: str = "none") -> None:
        super().__init__()
        self.out_features, self.in_features = weight.shape
        if self.in_features % MULTIPLE or self.out_features % MULTIPLE:
            raise ValueError(f"a product of {tuple(weight.shape)}: fp8 needs multiples of {MULTIPLE}, skip this layer")
        values, scale = quantise_rows(weight.detach())
        self.activation, self.dtype = activation, weight.dtype
        self.register_buffer("values", values)
        self.register_buffer("scale", scale)
        self.register_buffer("bias", None if bias is None else bias.detach())

    @property
    def weight(self) -> Tensor:
        """The rounded weight (N, K), in the dtype that it came in."""
        return (self.values.float() * self.scale).to(self.dtype)

    def forward(self, x: Tensor) -> Tensor:
        rows = x.flatten(0, -2)
        product = _tensor_core if runs_on(x.device) else _simulated
        out = product(quantise_rows(rows), (self.values, self.scale), self.bias)
        return activate(out.to(x.dtype), self.activation).view(*x.shape[:-1], -1)

    def onto(self, base: Tensor, x: Tensor) -> Tensor:
        """base + x wᵀ + b."""
        added: Tensor = base + self(x)
        return added


def runs_on(device: torch.device) -> bool:
    """Whether products with a scale for each row are done by this device itself: CUDA from Hopper (9.0) on."""
    return device.type == "cuda" and torch.cuda.get_device_capability(device) >= (9, 0)


def _tensor_core(x: Rows, weight: Rows, bias: Tensor | None) -> Tensor:
    """(M, N) bfloat16, which is all that PyTorch offers with scales for rows."""
    half = None if bias is None else bias.to(torch.bfloat16)
    out: Tensor = torch._scaled_mm(
        x[0],
        weight[0].t(),
        scale_a=x[1],
        scale_b=weight[1].t(),
        bias=half,
        out_dtype=torch.bfloat16,
        use_fast_accum=True,
    )
    return out


def _simulated(x: Rows, weight: Rows, bias: Tensor | None) -> Tensor:
    """The same product of the same rounded values, (M, N) float32."""
    out = F.linear(x[0].float(), weight[0].float()) * x[1] * weight[1].t()
    return out if bias is None else out + bias.float()


def quantise_products(blocks: Iterable[object]) -> int:
    """Put the products of fused blocks, wherever a block has one, into fp8 in place; returns how many."""
    count = 0
    for block in blocks:
        for name, part in list(vars(block).items()):
            if isinstance(part, Product):
                setattr(block, name, Fp8Linear(part.weight, part.bias, part.activation))
                count += 1
    return count


def relative_difference(got: Tensor, expected: Tensor) -> float:
    """Root of the mean squared difference over that of `expected`."""
    return float((got.double() - expected.double()).norm() / expected.double().norm())


@torch.inference_mode()
def gate(
    model: Callable[..., Tensor],
    quantised: Callable[..., Tensor],
    inputs: Iterable[Mapping[str, Any]],
    limit: float = LIMIT,
) -> float:
    """The largest relative difference of outputs over the inputs, each the keyword arguments of one call.

    Raises ValueError with the figure where it is over the limit or no number, and without any input.
    """
    found = [relative_difference(quantised(**given), model(**given)) for given in inputs]
    if not found:
        raise ValueError("no inputs: send at least one call's arguments to judge fp8 by")
    worst = max(found, key=lambda value: float("inf") if value != value else value)
    if not worst <= limit:
        raise ValueError(
            f"fp8 changes the output by {worst:.3g} of its size, over the limit of {limit:g}: "
            "skip more layers, raise the limit knowingly, or stay with bfloat16"
        )
    return worst
