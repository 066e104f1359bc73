"""`python -m benchmarks speed gpu`: everything that is worth knowing of a GPU, in one command of under ten minutes.

Random weights of the published sizes; a file of figures for each configuration and stage, in the order of their worth:

- `gpu_step_*`: a live chunk under way, its parts, latency, memory, and its share of the ceiling of the same run.
- `gpu_checks_*`: the fast step against the plain one, and what products in fp8 do to the output (kernels have
  tests: `pytest tests/fast/test_kernels.py`).
- `gpu_fp8_*`: the same chunk with products in fp8, where the device has them.
- `gpu_compare_*`: beside Diffusers and torch.compile, in paired rounds.

A stage that fails is written down, and the others still run; a stage that would begin after the limit is left out and
named. `rehearse` goes the same way with small frames and one layer on any machine: its times mean nothing.
"""

from __future__ import annotations

import importlib.util
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from torch import Tensor

from benchmarks.speed.compare import bench_compare, chunk_inputs, difference
from benchmarks.speed.step import LEAST_STEPS, bench_network
from benchmarks.speed.untrained import ROLLING, Shape, Untrained, randomised, shape_of
from motionstream.dit import RollingCache, VideoDiT
from motionstream.evaluate import machine
from motionstream.fast.dtype import dtype_for
from motionstream.fast.fp8 import LIMIT, gate, quantise_products, runs_on
from motionstream.fast.fuse import fuse
from motionstream.fast.graphed import chunk_step
from motionstream.sampling import ChunkInputs, ChunkStep, PlainStep, keyed_noise

CONFIGS = ("wan2.1-1.3b", "wan2.2-5b")
REHEARSAL_SIZE = (64, 32)
LIMIT_S = 540.0
"""When the last stage may begin, in seconds after the first."""
CHUNKS, ROLLED = 5, 1e-3
"""Chunks of a rollout that is compared, and the relative difference in float32 that is still the same."""
Figures = dict[str, Any]
Write = Callable[[str, Figures], None]
"""Puts the figures of a stage into the file of this name."""
Over = Callable[[Iterable["Stage"]], Iterable["Stage"]]


@dataclass(frozen=True)
class Stage:
    """One file of figures. missing: why it cannot be had here, if so."""

    name: str
    config: str
    work: Callable[[], Figures]
    missing: str | None = None


@dataclass
class Outcome:
    """written: files. failed and missing: stage → why."""

    written: dict[str, Figures] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)
    missing: dict[str, str] = field(default_factory=dict)


def stages(configs: Sequence[str], device: torch.device, rehearse: bool = False) -> list[Stage]:
    """What there is to run, the most telling first. Raises ValueError on a configuration that is not known."""
    shapes = [shape_of(name, 1, True, REHEARSAL_SIZE) if rehearse else shape_of(name) for name in configs]
    diffusers = None if importlib.util.find_spec("diffusers") else "Diffusers is not installed"
    fp8 = None if rehearse or runs_on(device) else "no products in fp8 on this device"
    kinds: list[tuple[str, Callable[[Shape], Figures], str | None]] = [
        ("step", lambda shape: bench_network(shape, device, LEAST_STEPS), None),
        ("checks", lambda shape: checks(shape, device), None),
        ("fp8", lambda shape: bench_network(shape, device, LEAST_STEPS, fp8=True), fp8),
        ("compare", lambda shape: bench_compare(shape, device), diffusers),
    ]
    return [
        Stage(name, shape.name, partial(_labelled, work, shape, rehearse), missing)
        for name, work, missing in kinds
        for shape in shapes
    ]


def bench_gpu(planned: Sequence[Stage], write: Write, over: Over = iter, limit_s: float = LIMIT_S) -> Outcome:
    """Run stages and write gpu_STAGE_CONFIG.json of each at once. over: goes through them (a progress bar)."""
    outcome, begin = Outcome(), time.monotonic()
    for stage in over(planned):
        file = f"gpu_{stage.name}_{stage.config}.json"
        if stage.missing is not None:
            outcome.missing[file] = stage.missing
        elif time.monotonic() - begin > limit_s:
            outcome.missing[file] = f"{limit_s:.0f} s were over: run it alone with --stage {stage.name}"
        else:
            _run(stage, file, outcome, write)
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
    return outcome


def _run(stage: Stage, file: str, outcome: Outcome, write: Write) -> None:
    begin = time.monotonic()
    try:
        found = stage.work()
    except Exception as error:  # of memory, of a kernel, of another's model: the other stages can still be had
        outcome.failed[file] = _first_line(error)
        return
    outcome.written[file] = found = {**found, "took_s": time.monotonic() - begin}
    write(file, found)


def _first_line(error: Exception) -> str:
    first, *_ = [*str(error).splitlines(), ""]
    return f"{type(error).__name__}: {first}"


def _labelled(work: Callable[[Shape], Figures], shape: Shape, rehearse: bool) -> Figures:
    return {
        "model": shape.label,
        "model_hash": None,
        "config": shape.name,
        "rehearsal": rehearse,
        **work(shape),
        "machine": machine.describe(),
        "date": machine.today(),
    }


def checks(shape: Shape, device: torch.device) -> Figures:
    """Whether the fast step equals its plain form, and what fp8 costs."""
    return {
        "rollout": rollout_check(shape, device),
        "fp8": fp8_check(shape, device),
    }


@torch.inference_mode()
def rollout_check(shape: Shape, device: torch.device) -> Figures:
    """Clean latents of a few chunks, made the fast way, against the plain network on a rolling cache in float32.

    difference_float32: the fast way in float32, which must be the same; difference: in the dtype that is timed, where
    random weights let rounding grow from chunk to chunk. Each the largest of the chunks.
    """
    dtype = dtype_for(device)
    plain = Untrained(shape, torch.float32, device)
    step = PlainStep(plain.network, plain.rollout_config, shape.geometry.token_grid)
    expected = _rolled(step, plain, plain.cache())
    del plain, step
    found: Figures = {"chunks": CHUNKS}
    for name, kind in (("difference_float32", torch.float32), ("difference", dtype)):
        made = Untrained(shape, kind, device)
        made.fused()
        fast = chunk_step(made.network, made.rollout_config, shape.geometry.token_grid)
        got = _rolled(fast, made, fast.cache())
        found[name] = max(difference(one, other) for one, other in zip(got, expected, strict=True))
    return {**found, "same": found["difference_float32"] <= ROLLED}


def _rolled(step: ChunkStep, made: Untrained, cache: RollingCache) -> list[Tensor]:
    """Chunks one after another, under the same conditioning."""
    conditioning, context, clean = made.conditioning(), made.context(), []
    for chunk in range(CHUNKS):
        inputs = ChunkInputs(conditioning, context, partial(_noise, chunk))
        clean.append(step.denoise(cache, inputs))
        step.commit(cache, clean[-1], inputs)
    return clean


def _noise(chunk: int, call: int, sizes: tuple[int, ...]) -> Tensor:
    return keyed_noise(sizes, 0, chunk, call)


@torch.inference_mode()
def fp8_check(shape: Shape, device: torch.device) -> Figures:
    """What fp8 does to a call's output at each timestep of a chunk, on a full cache; of random weights, all layers."""
    dtype = dtype_for(device)
    with device:
        model = VideoDiT(shape.dit)
    randomised(model)
    fused, inputs = fuse(model.to(dtype)), chunk_inputs(shape, device, 0).to(dtype)
    tokens = shape.geometry.tokens_per_latent
    sizes = {"batch": 1, "tokens": tokens, "sink": ROLLING.sink, "window": ROLLING.window}
    cache = RollingCache(shape.dit, **sizes, dtype=dtype, device=device)
    context = model.text_context(inputs.text, inputs.image)
    for begin in range(0, ROLLING.sink + ROLLING.window, ROLLING.chunk):
        part = inputs.x[:, begin : begin + ROLLING.chunk]
        fused.commit(part, torch.zeros_like(inputs.t), context, cache)
    rounded = fuse(model)
    products = quantise_products(rounded.fused_blocks)
    chunk = inputs.x[:, -ROLLING.chunk :]
    calls = [
        {"x_BTCHW": chunk, "t": torch.full_like(inputs.t, 1000 * moment), "context": context, "over": cache}
        for moment in ROLLING.times
    ]
    found = gate(fused, rounded, calls, limit=float("inf"))
    return {
        "difference": found,
        "limit": LIMIT,
        "passed": found <= LIMIT,
        "products": products,
        "by": "tensor cores" if runs_on(device) else "simulation",
    }
