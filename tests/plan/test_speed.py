"""Predicted speed follows from a chunk's cost and a machine's rates."""

from __future__ import annotations

from dataclasses import replace

import pytest

from motionstream.plan import model_sizes
from motionstream.plan.operations import chunk_cost
from motionstream.plan.speed import MACHINES, chunk_speed, peak


def test_speeds_follow_from_rates() -> None:
    cost = chunk_cost(model_sizes("wan2.1-1.3b"))
    full, half = chunk_speed(cost, peak(989, "")), chunk_speed(cost, peak(989 / 2, ""))
    assert full["fps"] == pytest.approx(120, rel=0.01)
    assert full["fps"] == pytest.approx(2 * half["fps"])
    assert chunk_speed(cost, peak(790, ""))["fps"] == pytest.approx(96, rel=0.01)
    assert full["latency_s"] * 1e3 == pytest.approx(full["chunk_ms"] - full["call_ms"])
    slower = chunk_speed(cost, replace(peak(989, ""), bandwidth=1.0))
    assert slower["call_ms"] - full["call_ms"] == pytest.approx(cost.elementwise_bytes / 1e9)
    kernels = chunk_speed(cost, MACHINES["h200-kernels"])
    assert 66 <= kernels["fps"] <= 73
    assert 40 <= kernels["call_ms"] <= 44
