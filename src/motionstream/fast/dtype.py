"""The number format that a device multiplies fastest, by what it is and not by a timing: the same at every load."""

from __future__ import annotations

import platform
from pathlib import Path

import torch


def dtype_for(device: torch.device | str) -> torch.dtype:
    """bfloat16 on accelerators and on CPUs with instructions for its products that are faster than float32's.

    Those are AMX and Arm's BF16, and AVX512-BF16 on AMD's processors. Intel's without AMX take 1.6 times as long in
    bfloat16 as in float32 (docs/log.md).
    """
    if torch.device(device).type != "cpu":
        return torch.bfloat16
    return torch.bfloat16 if _has_fast_bfloat16() else torch.float32


def _has_fast_bfloat16() -> bool:
    if not torch.backends.mkldnn.is_available() or not torch.ops.mkldnn._is_mkldnn_bf16_supported():
        return False
    if platform.machine() in ("aarch64", "arm64"):
        return True
    return _has("_is_amx_tile_supported") or (
        _has("_is_avx512_bf16_supported") and "AuthenticAMD" in _cpu_information()
    )


def _has(probe: str) -> bool:
    """What PyTorch says of this CPU; False in versions that do not say it."""
    ask = getattr(torch.cpu, probe, None)
    return bool(ask and ask())


def _cpu_information() -> str:
    try:
        return Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
