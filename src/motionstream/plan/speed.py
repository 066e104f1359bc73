"""How long a chunk would take on a machine of known rates, from what it costs."""

from __future__ import annotations

from dataclasses import dataclass

from motionstream.plan.operations import ChunkCost

TERA, MS = 1e12, 1e3


@dataclass(frozen=True)
class Rates:
    """10¹² operations a second by kind, and 10¹² bytes a second; bandwidth None: memory is taken to cost nothing."""

    linear: float
    attention: float
    convolution: float
    bandwidth: float | None
    source: str


def peak(rate: float, source: str) -> Rates:
    """An upper bound: everything at the tensor cores' rate."""
    return Rates(rate, rate, rate, None, source)


MACHINES = {
    "a100": peak(312, "datasheet, dense bfloat16"),
    "h100": peak(989, "datasheet, dense bfloat16"),
    "h200": peak(989, "datasheet, dense bfloat16"),
    "h200-products": peak(790, "products of 8192³ in bfloat16, as measured by others"),
    # Products lose a tenth to incomplete waves of blocks; cuDNN attends at 500 to 600; a tiny decoder of 1.6 TFLOP is
    # expected to take 4 to 6 ms; bandwidth as copies reach it.
    "h200-kernels": Rates(711, 550, 330, 4.3, "rates of its kernels, estimated"),
}
"""Written down before anything was measured here."""


def chunk_speed(cost: ChunkCost, rates: Rates) -> dict[str, float]:
    """call_ms, decode_ms, chunk_ms, latency_s and fps.

    FPS counts all passes and decoding; latency all but the clean pass, which frames need not wait for.
    """
    seconds = (cost.linear / rates.linear + cost.attention / rates.attention) / TERA
    if rates.bandwidth is not None:
        seconds += cost.elementwise_bytes / (rates.bandwidth * TERA)
    decode = cost.decode / (rates.convolution * TERA)
    chunk = cost.passes * seconds + decode
    return {
        "call_ms": seconds * MS,
        "decode_ms": decode * MS,
        "chunk_ms": chunk * MS,
        "latency_s": cost.calls * seconds + decode,
        "fps": cost.frames / chunk,
    }
