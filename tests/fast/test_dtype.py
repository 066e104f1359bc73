"""The number format is chosen by what a CPU has, and is the same at every load."""

import platform

import pytest
import torch

from motionstream.fast import dtype
from motionstream.fast.dtype import dtype_for


@pytest.mark.parametrize(
    ("packs", "amx", "avx512", "machine", "vendor", "expected"),
    [
        (True, True, True, "x86_64", "GenuineIntel", torch.bfloat16),
        (True, False, True, "x86_64", "AuthenticAMD", torch.bfloat16),
        (True, False, True, "x86_64", "GenuineIntel", torch.float32),
        (True, False, False, "x86_64", "AuthenticAMD", torch.float32),
        (False, True, True, "x86_64", "AuthenticAMD", torch.float32),
        (True, False, False, "aarch64", "", torch.bfloat16),
        (False, False, False, "arm64", "", torch.float32),
    ],
)
def test_a_cpu_gets_what_it_multiplies_faster(
    packs: bool,
    amx: bool,
    avx512: bool,
    machine: str,
    vendor: str,
    expected: torch.dtype,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", lambda: packs)
    monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: True)
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: amx, raising=False)
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: avx512, raising=False)
    monkeypatch.setattr(platform, "machine", lambda: machine)
    monkeypatch.setattr(dtype, "_cpu_information", lambda: f"vendor_id : {vendor}")
    assert dtype_for("cpu") is expected


def test_a_pytorch_that_does_not_say_what_a_cpu_has_gets_float32(monkeypatch: pytest.MonkeyPatch) -> None:
    for probe in ("_is_amx_tile_supported", "_is_avx512_bf16_supported"):
        monkeypatch.delattr(torch.cpu, probe, raising=False)
    monkeypatch.setattr(platform, "machine", lambda: "x86_64")
    assert dtype_for("cpu") is torch.float32


def test_accelerators_get_bfloat16() -> None:
    assert dtype_for("cuda") is dtype_for(torch.device("cuda", 1)) is torch.bfloat16


def test_it_does_not_change_from_load_to_load() -> None:
    assert len({dtype_for("cpu") for _ in range(5)}) == 1
