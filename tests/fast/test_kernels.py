"""The fused operations equal the model's own layers; the kernels equal the fused operations.

The kernels' own tests run on a GPU; without one, and with Triton installed, in its interpreter, for which Triton
must be imported under TRITON_INTERPRET=1: a process of its own.
"""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from motionstream.dit.layers import RMSNorm, add_gated, layer_norm, modulate
from motionstream.dit.rope import rotary_table, rotate
from motionstream.fast.kernels import REFERENCE, FusedOps, ops_for, reference
from motionstream.fast.kernels.table import modulation_rows

EPS = 1e-6
B, T, GRID, HEADS, D = 2, 3, (1, 3), 3, 16
S, W = GRID[0] * GRID[1], HEADS * D
HAS_TRITON = importlib.util.find_spec("triton") is not None
DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")
INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"
TOLERANCES = {torch.float32: 1e-5, torch.bfloat16: 2e-2}
NORMS = ("norm_modulate", "add_gated_norm", "add_norm_modulate", "add_gated_norm_modulate")
pytestmark = pytest.mark.filterwarnings("ignore:TRITON_DEFAULT_FP_FUSION")  # Triton's, of what its default will be
runs_kernels = pytest.mark.skipif(
    not HAS_TRITON or not (DEVICE.type == "cuda" or INTERPRETED),
    reason="kernels need Triton and a GPU, or TRITON_INTERPRET=1",
)


@pytest.fixture
def fast() -> ModuleType:
    """The kernels: compiled on a GPU, interpreted without one."""
    from motionstream.fast.kernels import triton_ops

    return triton_ops


@pytest.mark.skipif(DEVICE.type == "cuda" or INTERPRETED, reason="the kernels run in this process")
@pytest.mark.skipif(not HAS_TRITON, reason="Triton is not installed here")
def test_kernels_pass_in_the_interpreter() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-k", "slots or plain_form", __file__],
        env={**os.environ, "TRITON_INTERPRET": "1"},
        capture_output=True,
        text=True,
        timeout=200,
    )
    assert done.returncode == 0, done.stdout[-3000:]
    assert " passed" in done.stdout, done.stdout[-500:]
    assert "skipped" not in done.stdout, done.stdout[-500:]


def draw(seed: int, *shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed)).to(DEVICE, dtype)


def tokens(seed: int, dtype: torch.dtype) -> Tensor:
    return draw(seed, B, T, S, W, dtype=dtype) * 2 + 0.5


def results(ops: FusedOps | ModuleType, name: str, dtype: torch.dtype, shape: tuple[int, ...]) -> list[Tensor]:
    """All that an operation returns and writes, on the same inputs whoever does it."""
    x, branch = tokens(0, dtype), tokens(1, dtype)
    shift, scale, gate = (draw(seed, *shape) for seed in (2, 3, 4))
    if name == "norm_modulate":
        return [ops.norm_modulate(x, shift, scale, EPS)]
    if name == "add_gated_norm":
        return list(ops.add_gated_norm(x, branch, gate, draw(5, W, dtype=dtype), draw(6, W, dtype=dtype), EPS))
    if name == "add_norm_modulate":
        return list(ops.add_norm_modulate(x, branch, shift, scale, EPS))
    if name == "add_gated_norm_modulate":
        return list(ops.add_gated_norm_modulate(x, branch, gate, shift, scale, EPS))
    norm_q, norm_k = draw(7, W), draw(8, W)
    cos, sin = rotary_table(range(4, 4 + T), GRID, D, DEVICE)
    cache = torch.zeros(2, B, T + 4, S, HEADS, D, device=DEVICE, dtype=dtype)
    keys, values = cache[:, :, 2 : 2 + T]
    q = ops.norm_rope_store(draw(9, B, T, S, 3 * W, dtype=dtype), norm_q, norm_k, cos, sin, keys, values, EPS)
    return [q, cache]


@runs_kernels
@pytest.mark.parametrize("dtype", TOLERANCES)
@pytest.mark.parametrize(
    ("name", "shape"),
    [*((name, shape) for name in NORMS for shape in ((W,), (B, T, 1, W))), (NORMS[1], (B, 1, W)), ("rope", (W,))],
)
def test_kernels_equal_the_plain_forms(name: str, shape: tuple[int, ...], dtype: torch.dtype, fast: ModuleType) -> None:
    for got, expected in zip(results(fast, name, dtype, shape), results(REFERENCE, name, dtype, shape), strict=True):
        assert got.dtype == dtype
        torch.testing.assert_close(got, expected, atol=TOLERANCES[dtype], rtol=TOLERANCES[dtype])


@runs_kernels
@pytest.mark.skipif(
    DEVICE.type == "cuda" and torch.cuda.get_device_capability() < (8, 9), reason="this GPU has no e4m3"
)
@pytest.mark.parametrize("dtype", TOLERANCES)
def test_rows_are_quantised_by_the_kernel_as_by_the_plain_form(dtype: torch.dtype, fast: ModuleType) -> None:
    x = draw(0, 9, 80, dtype=dtype) * torch.logspace(-4, 4, 9, device=DEVICE)[:, None].to(dtype)
    x[4] = 0
    got, expected = fast.quantise_rows(x), REFERENCE.quantise_rows(x)
    torch.testing.assert_close(got[1], expected[1])
    assert got[0].dtype == torch.float8_e4m3fn
    got_values, values = got[0].float(), expected[0].float()
    if INTERPRETED:  # Triton's interpreter loses the carry where a value is rounded up to a power of two
        judged = torch.frexp(values).mantissa.abs() != 0.5
        assert judged.float().mean() > 0.8
        got_values, values = got_values[judged], values[judged]
    torch.testing.assert_close(got_values, values)


@runs_kernels
def test_kernels_refuse_slots_that_do_not_fit(fast: ModuleType) -> None:
    cos, sin = rotary_table(range(T), GRID, D, DEVICE)
    slot = torch.zeros(B, T, S, HEADS, D, device=DEVICE)
    apart = torch.zeros(B, T, S, D, HEADS, device=DEVICE).transpose(-1, -2)
    for keys in (slot[:, 1:], apart):
        with pytest.raises(ValueError, match="each clip's part of one piece"):
            fast.norm_rope_store(draw(0, B, T, S, 3 * W), draw(1, W), draw(2, W), cos, sin, keys, keys, EPS)
    with pytest.raises(ValueError, match="do not fit"):
        fast.norm_rope_store(draw(0, B, T, S, W), draw(1, W), draw(2, W), cos, sin, slot, slot, EPS)


@pytest.mark.skipif(not HAS_TRITON or INTERPRETED, reason="Triton's compiler is not here")
@pytest.mark.parametrize("capability", [80, 90])
def test_kernels_compile_for_gpus_that_are_not_here(capability: int, fast: ModuleType) -> None:
    """At the width of Wan 1.3B in bfloat16, down to machine code."""
    half, full, whole = "*bf16", "*fp32", "i32"
    norm = {"x": half, "branch": half, "gate": full, "weight": full, "bias": full, "added": half, "normed": half}
    norm |= {"per_gate": whole, "per_scale": whole, "eps": "fp32"}
    rope = dict.fromkeys(("qkv", "norm_q", "norm_k"), half) | {"cos": full, "sin": full}
    rope |= dict.fromkeys(("queries", "keys", "values"), half)
    rope |= dict.fromkeys(("tokens", "key_clip", "value_clip"), "i64") | {"eps": "fp32"}
    for adds, gated in ((False, False), (True, False), (True, True)):
        sizes = {"WIDTH": 1536, "BLOCK": 2048, "ADDS": adds, "GATED": gated, "OFFSET": 1.0}
        assert machine_code(fast._add_norm, norm, sizes, capability)
    assert machine_code(fast._norm_rope_store, rope, {"WIDTH": 1536, "HALF_HEAD": 64, "BLOCK": 1024}, capability)
    if capability >= 89:
        sizes = {"WIDTH": 8960, "BLOCK": 16384, "HIGHEST": 448.0, "LEAST": 1e-12}
        rows = {"x": half, "values": "*fp8e4nv", "scales": full}
        assert machine_code(fast._quantise_rows, rows, sizes, capability)


def machine_code(kernel: Any, types: dict[str, str], constants: dict[str, Any], capability: int) -> bytes:
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource, compile

    source = ASTSource(
        kernel,
        {**types, **dict.fromkeys(constants, "constexpr")},
        {(kernel.arg_names.index(name),): value for name, value in constants.items()},
    )
    code: bytes = compile(source, target=GPUTarget("cuda", capability, 32)).asm["cubin"]
    return code


@pytest.mark.skipif(DEVICE.type != "cuda" or not HAS_TRITON, reason="no GPU with Triton here")
def test_a_gpu_takes_the_kernels() -> None:
    assert ops_for(DEVICE) is not REFERENCE


@pytest.mark.parametrize("dtype", TOLERANCES)
def test_without_kernels_they_are_the_layers_of_the_model(dtype: torch.dtype) -> None:
    """As `Block.forward` composes them."""
    x, branch = tokens(0, dtype), tokens(1, dtype)
    shift, scale, gate = (draw(seed, B, T, 1, W) for seed in (2, 3, 4))
    norm, norm3 = nn.LayerNorm(W, EPS, elementwise_affine=False), nn.LayerNorm(W, EPS).to(DEVICE, dtype)
    nn.init.normal_(norm3.weight)
    nn.init.normal_(norm3.bias)
    same = torch.testing.assert_close
    same(REFERENCE.norm_modulate(x, shift, scale, EPS), modulate(x, norm, shift, scale))
    added, normed = REFERENCE.add_gated_norm(x, branch, gate, norm3.weight.detach(), norm3.bias.detach(), EPS)
    same(added, add_gated(x, branch, gate))
    same(normed, layer_norm(added, norm3).type_as(x).detach())
    added, normed = REFERENCE.add_norm_modulate(x, branch, shift, scale, EPS)
    same(added, x + branch)
    same(normed, modulate(x + branch, norm, shift, scale))
    added, normed = REFERENCE.add_gated_norm_modulate(x, branch, gate, shift, scale, EPS)
    same(added, add_gated(x, branch, gate))
    same(normed, modulate(added, norm, shift, scale))


@torch.no_grad()
def test_queries_keys_and_values_are_those_of_the_attention() -> None:
    norm_q, norm_k = RMSNorm(W, EPS).to(DEVICE), RMSNorm(W, EPS).to(DEVICE)
    nn.init.normal_(norm_q.weight)
    nn.init.normal_(norm_k.weight)
    qkv, table = draw(0, B, T, S, 3 * W), rotary_table(range(6, 6 + T), GRID, D, DEVICE)
    cache = torch.zeros(2, B, T + 4, S, HEADS, D, device=DEVICE)
    keys, values = cache[:, :, 1 : 1 + T]
    q = REFERENCE.norm_rope_store(qkv, norm_q.weight, norm_k.weight, *table, keys, values, EPS)
    parts = [part.unflatten(-1, (HEADS, D)) for part in qkv.chunk(3, -1)]
    expected = [norm(parts[index].flatten(-2)).unflatten(-1, (HEADS, D)) for index, norm in enumerate((norm_q, norm_k))]
    torch.testing.assert_close(q, rotate(expected[0], table))
    torch.testing.assert_close(keys, rotate(expected[1], table))
    torch.testing.assert_close(values, parts[2])
    assert (cache[:, :, 0] == 0).all()
    assert (cache[:, :, 1 + T :] == 0).all()


def test_a_modulation_that_does_not_fit_is_named() -> None:
    x = tokens(0, torch.float32)
    assert modulation_rows(draw(0, W), x).shape == (1, W)
    assert modulation_rows(draw(0, B, T, 1, W), x).shape == (B * T, W)
    for shape in ((W + 1,), (1, T, W), (B, T + 1, W), (B, T, S, W)):
        with pytest.raises(ValueError, match="a modulation of shape"):
            reference.norm_modulate(x, draw(0, *shape), draw(1, *shape), EPS)
