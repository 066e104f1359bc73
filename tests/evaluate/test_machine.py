"""Figures name the machine they were measured on."""

from __future__ import annotations

import json
import mmap
import re

import pytest

from motionstream.evaluate import machine


def test_the_machine_is_named() -> None:
    found = machine.describe()
    assert {"processor", "cores", "memory_gib", "gpu", "torch", "threads", "python", "system"} == found.keys()
    assert found["cores"] >= 1
    assert found["processor"]
    json.dumps(found, allow_nan=False)
    assert re.fullmatch(r"\d{4}-\d\d-\d\d", machine.today())


def test_memory_in_use_is_seen_to_grow() -> None:
    before = machine.resident_mib()
    if before is None:
        pytest.skip("this system does not say how much memory a process uses")
    ballast = mmap.mmap(-1, 64 << 20)  # from the system itself: an allocator may have had it in hand already
    ballast[:] = b"\1" * len(ballast)
    after = machine.resident_mib()
    assert after is not None
    assert after - before > 48
    assert len(ballast)
