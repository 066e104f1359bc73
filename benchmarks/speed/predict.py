"""Predicted live speed of models on machines, beside what was measured.

What a chunk costs is counted from shapes, and its time follows from a machine's peak rate, or from its kernels' own
rates where those are known. Predictions are written down before anything is measured; figures of a GPU's benchmark are
put beside them.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import torch
import typer
from torch.utils.flop_counter import FlopCounterMode

from motionstream import console
from motionstream.cli import options
from motionstream.plan.memory import HALF, tiny_vae
from motionstream.plan.models import ModelSizes, model_sizes
from motionstream.plan.operations import dit_operations, prompt_operations

CONFIGS = ("wan2.1-1.3b", "wan2.2-5b")
SHOWN = {"fps": "FPS", "latency_s": "latency, s", "call_ms": "a call, ms"}
KINDS = ("predicted", "measured")
NARROW = 5  # columns that a terminal shows: FPS and latency
MEASURED_RATES = "measured ceiling"
GB, TERA, MS = 1e9, 1e12, 1e3


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


@dataclass(frozen=True)
class ChunkCost:
    """Of one chunk of a live stream whose sink and window are full, at the trained frame size.

    call: operations of one pass of the DiT, by kind. passes: of the DiT, denoising calls and the clean pass.
    calls: of them, those that its frames wait for. prompt: operations once a prompt. decode: of the tiny decoder.
    elementwise_bytes: moved in a call by norms, rotations, gates and activations, where each is one pass over memory.
    """

    call: Mapping[str, int]
    calls: int
    passes: int
    prompt: int
    decode: int
    elementwise_bytes: int
    frames: int


def chunk_cost(model: ModelSizes) -> ChunkCost:
    """Counted and calculated from shapes."""
    live, dit, geometry = model.live, model.network.dit, model.geometry()
    with torch.device("meta"), torch.no_grad(), FlopCounterMode(display=False) as decoding:
        cells = geometry.latent_height, geometry.latent_width
        tiny_vae(model).decode_step(torch.empty(1, live.chunk, dit.out_channels, *cells), None)
    # A token adds, gates and norms three times (reads two, writes two), norms and rotates q, k and v (reads and writes
    # three), and activates (reads and writes the inner width): 18 widths and twice the inner one.
    moved = live.chunk * geometry.tokens_per_latent * dit.layers * (18 * dit.width + 2 * dit.ffn)
    return ChunkCost(
        call=dit_operations(dit, geometry, live.chunk, past=live.sink + live.window),
        calls=live.steps,
        passes=live.steps + live.clean_pass,
        prompt=prompt_operations(dit),
        decode=decoding.get_total_flops(),
        elementwise_bytes=HALF * moved,
        frames=live.chunk * geometry.temporal_stride,
    )


def chunk_speed(cost: ChunkCost, rates: Rates) -> dict[str, float]:
    """call_ms, decode_ms, chunk_ms, latency_s and fps.

    FPS counts all passes and decoding; latency all but the clean pass, which frames need not wait for.
    """
    seconds = (cost.call["linear"] / rates.linear + cost.call["attention"] / rates.attention) / TERA
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


def predict(
    configs: Sequence[str] = CONFIGS, machines: Sequence[str] = tuple(MACHINES), tflops: float | None = None
) -> dict[str, Any]:
    """Costs and predictions of models by machine, JSON-ready. tflops: one more machine, everything at this rate.

    Raises ValueError on a model or machine that is not known.
    """
    unknown = [name for name in machines if name not in MACHINES]
    if unknown:
        raise ValueError(f"machine {unknown[0]!r}: use {', '.join(MACHINES)}, or --tflops with a rate of your own")
    rates = {name: MACHINES[name] for name in machines}
    if tflops is not None:
        rates[f"{tflops:g} TFLOP/s"] = peak(tflops, "given")
    return {
        "predictions": {name: _predictions(name, rates) for name in configs},
        "sources": {name: one.source for name, one in rates.items()},
    }


def _predictions(name: str, rates: Mapping[str, Rates]) -> dict[str, Any]:
    model = model_sizes(name)
    cost = chunk_cost(model)
    call = sum(cost.call.values())
    return {
        "size": "x".join(map(str, model.frame_sizes[0])),
        "tflop": {
            **{part: operations / TERA for part, operations in cost.call.items()},
            "forward": call / TERA,
            "passes_of_a_chunk": cost.passes * call / TERA,
            "decode": cost.decode / TERA,
            "prompt": cost.prompt / TERA,
        },
        "elementwise_gb": cost.elementwise_bytes / GB,
        "machines": {machine: chunk_speed(cost, rate) for machine, rate in rates.items()},
    }


def measured(folder: Path) -> dict[str, dict[str, Any]]:
    """Model → figures that a GPU's benchmark wrote to a folder (gpu_step_*.json), with its machine; none is fine."""
    found = {}
    for file in sorted(folder.glob("gpu_step_*.json")):
        figures = json.loads(file.read_text(encoding="utf-8"))
        if not figures.get("rehearsal"):
            about = figures.get("machine", {})
            where = about.get("gpu"), f"torch {about['torch']}" if "torch" in about else None
            found[str(figures.get("config"))] = {
                "call_ms": figures.get("call_ms"),
                "decode_ms": _median(figures.get("decode")),
                "chunk_ms": _median(figures.get("step")),
                "latency_s": figures.get("latency_s"),
                "fps": figures.get("fps"),
                "machine": ", ".join(part for part in where if part) or None,
                "ceiling": figures.get("ceiling"),
            }
    return found


def _median(times: Any) -> float | None:
    """Of a part of a step, in ms; None where it was not timed."""
    return times["ms"]["p50"] if isinstance(times, Mapping) else None


def add_measured_rates(found: Mapping[str, Any], figures: Mapping[str, Mapping[str, Any]]) -> None:
    """Beside each model's predictions, what it could reach at the rates measured in the same run."""
    for name, one in found["predictions"].items():
        ceiling = figures.get(name, {}).get("ceiling") or {}
        kinds = "matrix", "attention", "convolution"
        linear, attention, convolution = (ceiling.get(f"{kind}_gflop_per_s", 0.0) / 1e3 for kind in kinds)
        if min(linear, attention, convolution) > 0:
            upper = Rates(linear, attention, convolution, None, "the ceiling measured in that run")
            one["machines"][MEASURED_RATES] = chunk_speed(chunk_cost(model_sizes(name)), upper)


def rows(found: Mapping[str, Any], figures: Mapping[str, Mapping[str, Any]]) -> list[tuple[str, ...]]:
    """Predicted beside measured, first the head, then a row for each model and machine; a dash for what is missing."""
    columns = (f"{column}, {kind}" for column in SHOWN.values() for kind in KINDS)
    head = ("configuration, machine", *columns, "measured on")
    return [head, *(row for name, one in found["predictions"].items() for row in _rows(name, one, figures))]


def _rows(name: str, one: Mapping[str, Any], figures: Mapping[str, Mapping[str, Any]]) -> Iterator[tuple[str, ...]]:
    of_model = figures.get(name, {})
    for machine, values in one["machines"].items():
        cells = (_text(of.get(column)) for column in SHOWN for of in (values, of_model))
        yield (f"{name}, {machine}", *cells, _text(of_model.get("machine")))


def _text(value: Any) -> str:
    if value is None:
        return "–"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def markdown(table: Sequence[Sequence[str]]) -> str:
    """A table of text, its head first."""
    lines = [table[0], ["---"] * len(table[0]), *table[1:]]
    note = "Counted and calculated, but for the columns that say measured."
    return "\n".join([note, "", *(f"| {' | '.join(line)} |" for line in lines), ""])


def predict_command(
    config: Annotated[
        str, typer.Option("--config", metavar="NAME,…", help="Models: published sizes, or a model's folder.")
    ] = ",".join(CONFIGS),
    machines: Annotated[
        str, typer.Option("--machine", metavar="NAME,…", help="GPUs whose peak or kernel rates are listed.")
    ] = ",".join(MACHINES),
    tflops: Annotated[
        float | None, typer.Option(help="Also a GPU of your own: its rate in 10¹² operations a second.", min=1)
    ] = None,
    results: Annotated[
        Path, typer.Option("--results", metavar="DIR", help="Folder of the measured gpu_step_*.json, if there are any.")
    ] = Path("docs/results"),
    table: Annotated[Path | None, typer.Option("--markdown", metavar="FILE", help="Write the table here.")] = None,
    json_out: options.JsonOut = None,
) -> None:
    """Predict FPS and latency of a live stream from the operations of a chunk and a machine's rates.

    [bold]python -m benchmarks predict --tflops 700 --json predictions.json[/]
    """
    found, figures = predict(options.parts_of(config), options.parts_of(machines), tflops), measured(results)
    add_measured_rates(found, figures)
    lines = rows(found, figures)
    console.grid("Predicted speed", [line[:NARROW] for line in lines])
    if table is not None:
        table.parent.mkdir(parents=True, exist_ok=True)
        table.write_text(markdown(lines), encoding="utf-8")
    console.write_json({**found, "measured": figures}, json_out)
