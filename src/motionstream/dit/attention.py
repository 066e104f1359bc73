"""Attention kernels behind one switch, and the teacher's full attention.

Legend: B batch, T latents, S tokens of a latent, L tokens, H heads, D channels of a head.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from typing import Literal, Protocol, cast, get_args

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from motionstream.dit.rope import Table, rotate

Kernel = Literal["auto", "sdpa", "matmul", "cudnn", "flash", "fa3"]
"""sdpa: PyTorch's fused kernel, of its own choice. matmul: product, softmax, product. cudnn, flash: that one of
PyTorch's. fa3: the FlashAttention package, if it is installed. auto: whichever is fastest on this device, unless the
environment's MOTIONSTREAM_ATTENTION names one."""

SETTING = "MOTIONSTREAM_ATTENTION"
HOPPER = (9, 0)
FLASH_PACKAGES = ("flash_attn_interface", "flash_attn")
"""FlashAttention 3, then 2: modules that offer `flash_attn_func`."""
FASTEST_FIRST = (
    SDPBackend.CUDNN_ATTENTION,
    SDPBackend.FLASH_ATTENTION,
    SDPBackend.EFFICIENT_ATTENTION,
    SDPBackend.MATH,
)
"""On Hopper and later; PyTorch itself would take its FlashAttention 2 first, at 0.4 to 0.6 of cuDNN's rate."""
BIASED = (SDPBackend.EFFICIENT_ATTENTION, SDPBackend.MATH)
"""With a bias. FlashAttention has none; not every version of cuDNN takes one that is the same for all queries."""
NAMES = {
    SDPBackend.CUDNN_ATTENTION: "cudnn",
    SDPBackend.FLASH_ATTENTION: "flash",
    SDPBackend.EFFICIENT_ATTENTION: "efficient",
    SDPBackend.MATH: "math",
}


class Attend(Protocol):
    """How one forward pass attends: over the whole clip, under a chunk mask, or over a rolling cache.

    Called once a layer with queries, keys and values (B, T, S, H, D) before rotary positions; returns the same shape.
    """

    def __call__(self, layer: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor: ...


class WholeAttention:
    """Every latent attends to every latent: the teacher."""

    def __init__(self, table: Table, kernel: Kernel) -> None:
        self.table = table
        self.kernel = kernel

    def __call__(self, layer: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        rotated_q, rotated_k = rotate(q, self.table), rotate(k, self.table)
        out = attend(rotated_q.flatten(1, 2), rotated_k.flatten(1, 2), v.flatten(1, 2), kernel=self.kernel)
        return out.reshape(q.shape)


def attend(
    q_BLHD: Tensor,
    k_BLHD: Tensor,
    v_BLHD: Tensor,
    *,
    bias: Tensor | None = None,
    kernel: Kernel = "auto",
) -> Tensor:
    """softmax(q kᵀ / √D + bias) v → (B, L, H, D).

    bias: (B, L of k) float, added to a key's logit for every query; instead of cudnn, flash and fa3 another kernel of
    PyTorch's then runs. Raises ValueError on a kernel that this machine does not have.
    """
    q, k, v = (x.transpose(1, 2) for x in (q_BLHD, k_BLHD, v_BLHD))
    chosen = _chosen(kernel, q)
    if chosen == "fa3" and bias is None:
        return _flash_attention(q_BLHD, k_BLHD, v_BLHD)
    added = None if bias is None else bias[:, None, None, :].to(q.dtype)
    out = _matmul_attention(q, k, v, added) if chosen == "matmul" else _fused_attention(q, k, v, added, chosen)
    heads_last: Tensor = out.transpose(1, 2)
    return heads_last


def available_kernels(device: torch.device | str) -> tuple[Kernel, ...]:
    """Kernels that this machine has for tensors on `device`."""
    device = torch.device(device)
    found: list[Kernel] = ["auto", "sdpa", "matmul"]
    if device.type == "cuda" and _capability(device) >= (8, 0):
        found += ["cudnn"] if torch.backends.cudnn.is_available() else []
        found += ["flash"]
        found += ["fa3"] if _flash_package() else []
    return tuple(found)


@cache
def check_kernel(kernel: str, device: torch.device | str) -> Kernel:
    """The kernel, if this machine has it for that device. Raises ValueError that lists those it has."""
    available = available_kernels(device)
    if kernel not in available:
        known = "" if kernel in get_args(Kernel) else f" is not one of {', '.join(get_args(Kernel))};"
        raise ValueError(f"attention kernel {kernel!r}:{known} {device} here has {', '.join(available)}")
    return kernel


def attention_backend(
    device: torch.device | str, kernel: Kernel = "auto", dtype: torch.dtype | None = None, head_dim: int = 128
) -> str:
    """Name of what `attend` runs there without gradients: matmul, sdpa, cudnn, flash, efficient, math or fa3.

    dtype: of queries, keys and values; bfloat16 on accelerators and float32 on a CPU if not given. Raises ValueError
    on a kernel that this machine does not have.
    """
    device = torch.device(device)
    dtype = dtype or (torch.float32 if device.type == "cpu" else torch.bfloat16)
    probe = torch.zeros(1, 1, 16, head_dim, dtype=dtype, device=device)
    with torch.no_grad():
        chosen = _chosen(kernel, probe)
        if device.type != "cuda" or chosen in ("matmul", "fa3"):
            return chosen
        backends = _backends(chosen, False)
        if backends is None:
            return _torch_choice(probe)
        with sdpa_kernel(list(backends), set_priority=True):
            return _torch_choice(probe)


def _torch_choice(q: Tensor) -> str:
    """The kernel that PyTorch would choose, by a function that is not public."""
    ask = getattr(torch, "_fused_sdp_choice", None)
    return "sdpa" if ask is None else NAMES.get(SDPBackend(ask(q, q, q)), "sdpa")


def _chosen(kernel: Kernel, q_BHLD: Tensor) -> Kernel:
    """A kernel by name: `auto` decided, and any other checked."""
    if kernel == "auto":
        kernel = cast(Kernel, os.environ.get(SETTING, "auto"))
    if kernel != "auto":
        return check_kernel(kernel, q_BHLD.device)
    if q_BHLD.device.type == "cpu":
        return "matmul" if _matmul_is_faster(q_BHLD) else "sdpa"
    # With gradients PyTorch chooses, also whether cuDNN's backward is used.
    forward = not (torch.is_grad_enabled() and q_BHLD.requires_grad)
    return "cudnn" if forward and _prefers_cudnn(q_BHLD.device) else "sdpa"


@cache
def _prefers_cudnn(device: torch.device) -> bool:
    return _capability(device) >= HOPPER and "cudnn" in available_kernels(device)


def _capability(device: torch.device) -> tuple[int, int]:
    if device.type != "cuda" or torch.version.cuda is None:
        return (0, 0)
    return torch.cuda.get_device_capability(device)


def _backends(kernel: Kernel, biased: bool) -> Sequence[SDPBackend] | None:
    """PyTorch's kernels to be tried, the first one first; None: its own order."""
    if kernel == "sdpa":
        return None
    if biased:
        return BIASED
    return FASTEST_FIRST if kernel == "cudnn" else FASTEST_FIRST[1:2]


def _fused_attention(q_BHLD: Tensor, k_BHLD: Tensor, v_BHLD: Tensor, added: Tensor | None, kernel: Kernel) -> Tensor:
    """added: a bias that can be broadcast to (B, H, L, L)."""
    backends = _backends(kernel, added is not None)
    if backends is None:
        return F.scaled_dot_product_attention(q_BHLD, k_BHLD, v_BHLD, attn_mask=added)
    with sdpa_kernel(list(backends), set_priority=True):
        return F.scaled_dot_product_attention(q_BHLD, k_BHLD, v_BHLD, attn_mask=added)


def _matmul_attention(q_BHLD: Tensor, k_BHLD: Tensor, v_BHLD: Tensor, bias: Tensor | None = None) -> Tensor:
    scores = torch.matmul(q_BHLD * q_BHLD.shape[-1] ** -0.5, k_BHLD.transpose(-1, -2))
    if bias is not None:
        scores = scores + bias
    return torch.matmul(scores.softmax(-1, dtype=scores.dtype), v_BHLD)


def _flash_attention(q_BLHD: Tensor, k_BLHD: Tensor, v_BLHD: Tensor) -> Tensor:
    package = _flash_package()
    assert package is not None
    function: Callable[..., Tensor | tuple[Tensor, ...]] = import_module(package).flash_attn_func
    out = function(q_BLHD, k_BLHD, v_BLHD)
    return out[0] if isinstance(out, tuple) else out  # some versions add the logarithms of the sums


@cache
def _flash_package() -> str | None:
    return next((name for name in FLASH_PACKAGES if find_spec(name) is not None), None)


def _matmul_is_faster(q: Tensor) -> bool:
    """On a CPU."""
    # The fused CPU kernel's backward is slow in every dtype: a training step of `tiny` takes 1.7 times as long.
    if torch.is_grad_enabled() and q.requires_grad:
        return True
    # Forward it packs bf16 only where the CPU has AMX (pytorch#138783); plain products use AVX512_BF16 everywhere.
    return (q.dtype != torch.float32 or torch.is_autocast_enabled("cpu")) and not _has_amx()


@cache
def _has_amx() -> bool:
    probe = getattr(torch.cpu, "_is_amx_tile_supported", None)
    return bool(probe and probe())
