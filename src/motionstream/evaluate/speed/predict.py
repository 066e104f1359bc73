"""`motionstream bench predict`: what a chunk costs, counted from shapes, and how fast a machine could make it.

A machine's roof, at which tensor cores never rest, or what its kernels' own rates would give, where those are known.
Predictions are written down before anything is measured; figures of `bench gpu` are put beside them.

A chunk of three latents sees sink, window and itself, is denoised in three calls, committed in a fourth and decoded by
the tiny decoder. FPS counts all of that, latency all but the commit, which frames need not wait for.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

from motionstream.dit import DiTConfig
from motionstream.evaluate.reporting.results import at, read, text
from motionstream.evaluate.reporting.tables import Line, Table
from motionstream.evaluate.speed.untrained import CLIP_TOKENS, DECODERS, ROLLING, Shape, shape_of
from motionstream.wan.taehv import PUBLISHED, TaehvDecoder

LINEAR, ATTENTION, CONVOLUTION = "linear", "attention", "convolution"
PARTS = {
    "self_qkv": LINEAR,
    "self_out": LINEAR,
    "cross": LINEAR,
    "ffn": LINEAR,
    "around": LINEAR,
    "self_attention": ATTENTION,
    "cross_attention": ATTENTION,
}
"""Part of a forward pass → its kind of work."""
CONFIGS = ("wan2.1-1.3b", "wan2.2-5b")
SHOWN = {"fps": "FPS", "latency_s": "latency, s", "call_ms": "a call, ms"}
KINDS = ("predicted", "measured")
MEASURED_ROOF = "measured ceiling"
HALF = 2  # bytes
TERA, MS = 1e12, 1e3


@dataclass(frozen=True)
class Rates:
    """10¹² operations a second by kind, and 10¹² bytes a second; bytes None: memory is taken to cost nothing."""

    linear: float
    attention: float
    convolution: float
    bandwidth: float | None
    source: str


def peak(rate: float, source: str) -> Rates:
    """A roof: everything at the tensor cores' rate."""
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
"""Before measuring here; nothing of it was measured by us."""


@dataclass(frozen=True)
class Work:
    """Of one chunk. forward: operations of a call by part; prompt: once a prompt; decode: None if not counted.

    elementwise: bytes that norms, rotations, gates and activations move in a call when each is one pass.
    """

    forward: Mapping[str, float]
    prompt: float
    decode: float | None
    elementwise: float
    calls: int
    frames: int

    def kind(self, kind: str) -> float:
        """Operations of a call of one kind."""
        return sum(flop for part, flop in self.forward.items() if PARTS[part] == kind)


def forward_flop(config: DiTConfig, queries: int, keys: int) -> dict[str, float]:
    """Operations of one forward pass by part. queries: tokens of the chunk; keys: of all that it sees."""
    width, layers = config.width, config.layers
    words = config.text_tokens + (CLIP_TOKENS if config.image_dim else 0)
    square = 2.0 * queries * width * width * layers
    _, p, q = config.patch
    return {
        "self_qkv": 3 * square,
        "self_out": square,
        "cross": 2 * square,
        "ffn": 4.0 * queries * width * config.ffn * layers,
        "self_attention": 4.0 * queries * keys * width * layers,
        "cross_attention": 4.0 * queries * words * width * layers,
        "around": 2.0 * queries * p * q * (config.in_channels + config.out_channels) * width,
    }


def prompt_flop(config: DiTConfig) -> float:
    """Operations once a prompt: keys and values of every layer, and the text's own layers."""
    own = 2.0 * config.text_tokens * config.width
    return own * (2 * config.layers * config.width + config.text_dim + config.width)


def elementwise_bytes(config: DiTConfig, queries: int) -> float:
    """Bytes of a call in half precision, in passes of `dit.kernels`: 18 widths and twice the inner width a token.

    Adding, gating and norming three times (read two, write two), norms and rotation of q, k and v (read and write
    three), activation (read and write the inner one).
    """
    return float(HALF * queries * config.layers * (18 * config.width + 2 * config.ffn))


def decode_flop(shape: Shape) -> float | None:
    """Operations of the tiny decoder over a chunk, counted by PyTorch without data; None where a shape has none."""
    if shape.name not in DECODERS:
        return None
    geometry = shape.geometry
    with torch.device("meta"), FlopCounterMode(display=False) as counter:
        decoder = TaehvDecoder(PUBLISHED[DECODERS[shape.name]])
        cells = geometry.latent_height, geometry.latent_width
        decoder.decode(torch.empty(1, ROLLING.chunk, decoder.latent_channels, *cells))
    return float(counter.get_total_flops())


def work_of(shape: Shape) -> Work:
    """Of a chunk of this shape, once the cache is full."""
    tokens = shape.geometry.tokens_per_latent
    queries, keys = ROLLING.chunk * tokens, (ROLLING.sink + ROLLING.window + ROLLING.chunk) * tokens
    return Work(
        forward_flop(shape.dit, queries, keys),
        prompt_flop(shape.dit),
        decode_flop(shape),
        elementwise_bytes(shape.dit, queries),
        len(ROLLING.times),
        ROLLING.chunk * shape.geometry.temporal_stride,
    )


def predicted(work: Work, rates: Rates) -> dict[str, float]:
    """call_ms, decode_ms, chunk_ms, latency_s and fps; without a decoder these are the network's alone."""
    seconds = work.kind(LINEAR) / (rates.linear * TERA) + work.kind(ATTENTION) / (rates.attention * TERA)
    if rates.bandwidth is not None:
        seconds += work.elementwise / (rates.bandwidth * TERA)
    decode = (work.decode or 0.0) / (rates.convolution * TERA)
    chunk = (work.calls + 1) * seconds + decode
    return {
        "call_ms": seconds * MS,
        "decode_ms": decode * MS,
        "chunk_ms": chunk * MS,
        "latency_s": work.calls * seconds + decode,
        "fps": work.frames / chunk,
    }


def predict(
    configs: Sequence[str] = CONFIGS, machines: Sequence[str] = tuple(MACHINES), tflops: float | None = None
) -> dict[str, Any]:
    """Work and predictions of configurations by machine, JSON-ready. tflops: one more roof, at this rate.

    Raises ValueError on a configuration or machine that is not known.
    """
    unknown = [name for name in machines if name not in MACHINES]
    if unknown:
        raise ValueError(f"machine {unknown[0]!r}: use {', '.join(MACHINES)}, or --tflops with a rate of your own")
    rates = {name: MACHINES[name] for name in machines}
    if tflops is not None:
        rates[f"{tflops:g} TFLOP/s"] = peak(tflops, "given")
    return {
        "predictions": {name: _predictions(shape_of(name), rates) for name in configs},
        "sources": {name: one.source for name, one in rates.items()},
    }


def _predictions(shape: Shape, rates: Mapping[str, Rates]) -> dict[str, Any]:
    work = work_of(shape)
    total = sum(work.forward.values())
    return {
        "size": "x".join(map(str, shape.geometry.size)),
        "tflop": {
            **{part: flop / TERA for part, flop in work.forward.items()},
            "forward": total / TERA,
            "passes_of_a_chunk": (work.calls + 1) * total / TERA,
            "decode": None if work.decode is None else work.decode / TERA,
            "prompt": work.prompt / TERA,
        },
        "elementwise_gb": work.elementwise / 1e9,
        "machines": {name: predicted(work, rate) for name, rate in rates.items()},
    }


def measured(folder: Path) -> dict[str, dict[str, Any]]:
    """Configuration → figures that `bench gpu` wrote to a folder, with the machine they are of; none is fine."""
    found = {}
    for file in sorted(folder.glob("gpu_step_*.json")):
        result = read(file)
        if not at(result.figures, "rehearsal"):
            name = str(result.figures.get("config"))
            found[name] = {
                "call_ms": at(result.figures, "call_ms"),
                "decode_ms": at(result.figures, "decode.ms.p50"),
                "chunk_ms": at(result.figures, "step.ms.p50"),
                "latency_s": at(result.figures, "latency_s"),
                "fps": at(result.figures, "fps"),
                "machine": result.machine,
                "ceiling": at(result.figures, "ceiling"),
            }
    return found


def add_measured_roofs(found: Mapping[str, Any], figures: Mapping[str, Mapping[str, Any]]) -> None:
    """Beside the machines' predictions, the roof of each measured one: at the ceiling of the same run."""
    for name, one in found["predictions"].items():
        ceiling = figures.get(name, {}).get("ceiling")
        if ceiling:
            kinds = ("matrix", "attention", "convolution")
            linear, attention, convolution = (ceiling.get(f"{kind}_gflop_per_s", 0.0) / 1e3 for kind in kinds)
            if min(linear, attention, convolution) > 0:
                roof = Rates(linear, attention, convolution, None, "the ceiling measured in that run")
                one["machines"][MEASURED_ROOF] = predicted(work_of(shape_of(name)), roof)


def predictions_table(found: Mapping[str, Any], figures: Mapping[str, Mapping[str, Any]]) -> Table:
    """Predicted beside measured, a row for each configuration and machine; what was not measured yet stands empty."""
    lines = [line for name, one in found["predictions"].items() for line in _lines(name, one, figures.get(name, {}))]
    head = (
        "configuration, machine",
        *(f"{column}, {kind}" for column in SHOWN.values() for kind in KINDS),
        "measured on",
    )
    note = "Counted and calculated, but for the columns that say measured."
    return Table("Predicted speed", head, tuple(lines), len(SHOWN) * len(KINDS), note)


def _lines(name: str, one: Mapping[str, Any], measured: Mapping[str, Any]) -> Iterator[Line]:
    on = text(measured.get("machine"))
    for machine, values in one["machines"].items():
        cells = (text(of.get(column)) for column in SHOWN for of in (values, measured))
        yield Line((f"{name}, {machine}", *cells, on))
