"""Products with packed weights are the plain ones, on every CPU and in each dtype."""

import pytest
import torch
import torch.nn.functional as F

from motionstream.fast.products import Product, activate, pack

DTYPES = pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["float32", "bfloat16"])


def parts(dtype: torch.dtype) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """x (2, 5, 32), weight (48, 32), bias (48)."""
    torch.manual_seed(0)
    return torch.randn(2, 5, 32, dtype=dtype), torch.randn(48, 32, dtype=dtype) / 6, torch.randn(48, dtype=dtype)


@DTYPES
@pytest.mark.parametrize("activation", ["none", "gelu", "swish"])
def test_a_product_is_the_plain_one(dtype: torch.dtype, activation: str) -> None:
    x, weight, bias = parts(dtype)
    wanted = activate(F.linear(x.double(), weight.double(), bias.double()), activation)
    tolerance = 1e-5 if dtype == torch.float32 else 0.05
    made = Product(weight, bias, activation)(x)
    assert made.dtype == dtype
    torch.testing.assert_close(made.double(), wanted, atol=tolerance, rtol=tolerance)


@DTYPES
def test_it_is_added_to_what_is_there(dtype: torch.dtype) -> None:
    x, weight, bias = parts(dtype)
    base = torch.randn(2, 5, 48, dtype=dtype)
    wanted = base.double() + F.linear(x.double(), weight.double(), bias.double())
    tolerance = 1e-5 if dtype == torch.float32 else 0.05
    torch.testing.assert_close(Product(weight, bias).onto(base, x).double(), wanted, atol=tolerance, rtol=tolerance)


def test_where_onednn_has_no_bfloat16_nothing_is_packed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Such a CPU has AVX2 alone; oneDNN raises there when a weight is to be packed."""
    monkeypatch.setattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", lambda: False)
    x, weight, bias = parts(torch.bfloat16)
    assert pack(weight) is None
    torch.testing.assert_close(Product(weight, bias)(x), F.linear(x, weight, bias))
    assert pack(weight.float()) is not None or not torch.backends.mkldnn.is_available()
