"""What a chunk costs once a stream is under way, part by part, and how much of it the machine could not do faster.

`python -m benchmarks speed step`. Nothing waits for a viewer here: steps follow one another, each part is timed on its
own (on an accelerator this takes away what overlaps), and rounds of the machine's ceiling are run in between.
Arithmetic is counted by PyTorch on the plain modules, so a faster form of them is not credited with less work.

`bench_step` takes a model that can be shown; `bench_network` the DiT and the tiny decoder of any published size, with
random weights, nothing before them.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.speed.ceiling import ATTENTION, CONVOLUTION, MATRIX, Ceiling, Sizes
from benchmarks.speed.paired import SETTLING, RecordedGestures
from benchmarks.speed.stopwatch import Stopwatch, Took, accelerator, figures
from benchmarks.speed.untrained import Shape, Untrained, untrained_decoder
from motionstream.dit import RollingCache, VideoDiT
from motionstream.dit.attention import attention_backend
from motionstream.evaluate import machine
from motionstream.evaluate.live.session import textured_picture
from motionstream.fast.dtype import dtype_for
from motionstream.fast.fp8 import quantise_products
from motionstream.fast.fuse import FusedDiT
from motionstream.fast.graphed import GraphedStep, chunk_step
from motionstream.geometry import Geometry
from motionstream.sampling import ChunkStep, MotionModel, PlainStep, RolloutConfig, keyed_noise
from motionstream.stream.model import StreamingModel
from motionstream.stream.stream import Stream
from motionstream.tiny.vae import TinyVAE
from motionstream.vae import Memory
from motionstream.wan.taehv import TaehvDecoder
from motionstream.wan.with_decoder import WithDecoder

CONDITION, DENOISE, DECODE, COMMIT = "condition", "denoise", "decode", "commit"
CALL = "call"  # of `Stream.step`: what of it is neither condition nor denoise is decode
LEAST_STEPS = 30  # steps measured at least
STEPS_A_ROUND = 5  # between two rounds of the ceiling

Over = Callable[[Iterable[int]], Iterable[int]]
T = TypeVar("T")


def bench_step(model: StreamingModel, steps: int = LEAST_STEPS, seed: int = 0, over: Over = iter) -> dict[str, Any]:
    """Figures of a model's live step, driven by the committed gesture session, JSON-ready.

    step: all of these together. condition: tracks → channels, with the warped anchor and its encoding. denoise: all
    calls. decode: latents → uint8 frames. commit: the clean chunk into the cache, which a stream does while its frames
    are looked at.
    over: goes through the steps (a progress bar). Raises ValueError on fewer than 30 steps.
    """
    check_steps(steps)
    parts = _Parts(model.device)
    stream = _timed_stream(model.open(textured_picture(model.size, seed), seed=seed), parts)
    gestures, cache = RecordedGestures(stream), stream.state.cache
    driven = _Driven(parts, model.rollout_config, cache, lambda: _step(stream, gestures, parts), model.network)
    found = driven.run(steps, over, Ceiling(_sizes(model), model.dtype, model.device))
    frames = stream.chunk_frames
    step = found["step"]["ms"]["p50"]
    return {
        **found,
        "chunk_frames": frames,
        "fps": frames / step * 1e3,
        "attention": attention_backend(model.device, dtype=model.dtype, head_dim=model.network.dit.config.head_dim),
        "size": "x".join(map(str, model.size)),
        "dtype": str(model.dtype).removeprefix("torch."),
        "machine": machine.describe(),
        "date": machine.today(),
    }


def bench_network(
    shape: Shape,
    device: torch.device,
    steps: int = LEAST_STEPS,
    over: Over = iter,
    *,
    decode: bool = True,
    fp8: bool = False,
) -> dict[str, Any]:
    """Figures of a published size's live step with random weights: denoise, decode and commit.

    decode: by the published tiny decoder of that size; where there is none that part is missing. fp8: products of the
    blocks in 8-bit floats (`motionstream.fast.fp8`), which means something where the device has them.
    Raises ValueError on fewer than 30 steps.
    """
    check_steps(steps)
    dtype, parts = dtype_for(device), _Parts(device)
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    made = Untrained(shape, dtype, device)
    fused = made.fused()
    if fp8:
        quantise_products(fused.fused_blocks)
    live = _Bare(made, parts, untrained_decoder(shape, dtype, device) if decode else None)
    driven = _Driven(parts, made.rollout_config, live.cache, live.step, made.network, live.counted)
    sizes = replace(
        _attention_sizes(made.network, made.rollout_config, shape.geometry.tokens_per_latent),
        convolutions=convolutions_of(live.decoder, shape.geometry, made.rollout_config.chunk),
    )
    found = driven.run(steps, over, Ceiling(sizes, dtype, device))
    frames = made.rollout_config.chunk * shape.geometry.temporal_stride
    waited = sum(found[part]["ms"]["p50"] for part in (DENOISE, DECODE) if part in found)
    return {
        **found,
        "chunk_frames": frames,
        "fps": frames / found["step"]["ms"]["p50"] * 1e3,
        "latency_s": waited / 1e3,
        "missing": [] if DECODE in found else ["decode"],
        "products": "fp8" if fp8 else str(dtype).removeprefix("torch."),
        "attention": attention_backend(device, dtype=dtype, head_dim=shape.dit.head_dim),
        "graphs": live.graphs,
        "accelerator": accelerator(device),
        "waits_for_host": _waiting(found["step"]),
        "memory_gib": torch.cuda.max_memory_allocated(device) / machine.GIB if device.type == "cuda" else None,
        "size": "x".join(map(str, shape.geometry.size)),
        "dtype": str(dtype).removeprefix("torch."),
        "machine": machine.describe(),
        "date": machine.today(),
    }


class _Bare:
    """A live chunk of a network with random weights, and of a decoder if there is one, part by part."""

    def __init__(self, made: Untrained, parts: _Parts, decoder: TaehvDecoder | None) -> None:
        self.made, self.parts, self.decoder = made, parts, decoder
        self.chunk = chunk_step(made.network, made.rollout_config, made.shape.geometry.token_grid)
        self.cache = self.chunk.cache()
        self.context, self.conditioning = made.context(), made.conditioning()
        self.memory: Memory | None = None

    @property
    def graphs(self) -> int:
        """CUDA graphs that are replayed."""
        return self.chunk.replays if isinstance(self.chunk, GraphedStep) else 0

    def step(self) -> None:
        """The next chunk."""
        self._step(self.chunk, self.cache)

    def counted(self) -> None:
        """A chunk without recordings, whose replays PyTorch cannot count, on a cache of its own that is full."""
        plainly = PlainStep(self.made.network, self.made.rollout_config, self.made.shape.geometry.token_grid)
        cache = self.made.cache()
        cache.sink_filled, cache.window_seen = cache.sink, cache.window
        self._step(plainly, cache)

    @torch.inference_mode()
    def _step(self, chunk: ChunkStep, cache: RollingCache) -> None:
        timed, given = self.parts.timed, (self.conditioning, self.context)
        clean = timed(DENOISE, lambda: chunk.denoise(cache, *given, self._noise))
        if self.decoder is not None:
            decoder, memory = self.decoder, self.memory
            self.memory = timed(DECODE, lambda: decoder.decode_step(clean, memory))[1]
        timed(COMMIT, lambda: chunk.commit(cache, clean, *given))

    def _noise(self, step: int, shape: tuple[int, ...]) -> Tensor:
        return keyed_noise(shape, 0, self.parts.count, step)


def _waiting(step: Mapping[str, Any]) -> float | None:
    """Share of a step's wall time in which an accelerator had nothing to do; over 0.05 the host is what limits."""
    if "device_ms" not in step:
        return None
    return float(1 - step["device_ms"]["p50"] / step["ms"]["p50"])


def check_steps(steps: int) -> None:
    """Raises ValueError on fewer than 30 steps."""
    if steps < LEAST_STEPS:
        raise ValueError(f"{steps} steps: measure at least {LEAST_STEPS}")


@dataclass
class _Parts:
    """Times of the parts of a step, one entry a step, and, while `counter` is set, their operations by kind."""

    device: torch.device
    times: dict[str, list[Took]] = field(default_factory=lambda: defaultdict(list))
    gflop: dict[str, dict[str, float]] = field(default_factory=dict)
    counter: FlopCounterMode | None = None
    count: int = 0

    def timed(self, part: str, work: Callable[[], T]) -> T:
        """Do the work and write down what it took."""
        if self.counter is not None:
            before = _by_kind(self.counter)
            done = work()
            after = _by_kind(self.counter)
            self.gflop[part] = {kind: after[kind] - before.get(kind, 0.0) for kind in after}
            return done
        done, took = Stopwatch(self.device).timed(work)
        self.times[part].append(took)
        return done

    def rest(self, part: str, of: str, without: tuple[str, ...]) -> None:
        """Replace the part `of`, just timed, by what remains of it without others within it."""
        if self.counter is not None:
            whole = self.gflop.pop(of)
            self.gflop[part] = {
                kind: amount - sum(self.gflop[inner][kind] for inner in without) for kind, amount in whole.items()
            }
            return
        took = self.times[of].pop()
        for inner in without:
            took = took - self.times[inner][-1]
        del self.times[of]
        self.times[part].append(took)


@dataclass
class _Driven:
    """A step that is run again and again, and the network whose arithmetic is counted."""

    parts: _Parts
    rollout_config: RolloutConfig
    cache: RollingCache
    step: Callable[[], object]
    network: MotionModel
    counted: Callable[[], object] | None = None
    """Does the work of a step where `step` does it in a way that cannot be counted."""

    def run(self, steps: int, over: Over, ceiling: Ceiling) -> dict[str, Any]:
        self._settle()
        self._count()
        self.step()
        self.parts.times.clear()
        for index in over(range(steps)):
            if index % STEPS_A_ROUND == 0:
                ceiling.round()
            self._once()
        return self._figures(ceiling)

    def _once(self) -> None:
        self.step()
        self.parts.count += 1

    def _settle(self) -> None:
        """Go on until the cache is full, so that all later steps are alike."""
        while self.cache.filled < self.rollout_config.sink + self.rollout_config.window:
            self._once()
        for _ in range(SETTLING):
            self._once()

    def _count(self) -> None:
        """One step on the plain modules, under PyTorch's counter."""
        with plain(self.network), FlopCounterMode(display=False) as counter:
            self.parts.counter = counter
            try:
                (self.counted or self._once)()
            finally:
                self.parts.counter = None

    def _figures(self, ceiling: Ceiling) -> dict[str, Any]:
        times, gflop = self.parts.times, self.parts.gflop
        whole = [sum(rest, first) for first, *rest in zip(*times.values(), strict=True)]
        total = {kind: sum(part.get(kind, 0.0) for part in gflop.values()) for kind in (MATRIX, CONVOLUTION, ATTENTION)}
        calls = len(self.rollout_config.times)
        return {
            "steps": len(whole),
            "step": _figures(whole, total, ceiling),
            **{part: _figures(found, gflop[part], ceiling) for part, found in times.items()},
            "call_ms": _median([took.wall for took in times[DENOISE]]) * 1e3 / calls,
            "calls": calls,
            "chunk_latents": self.rollout_config.chunk,
            "ceiling": {
                f"{kind}_gflop_per_s{suffix}": rate
                for clock, suffix in (("wall", ""), ("process", "_process"))
                for kind, rate in ceiling.rates(clock).items()
            },
        }


def _figures(times: list[Took], gflop: Mapping[str, float], ceiling: Ceiling) -> dict[str, Any]:
    """Times, arithmetic, shares of the ceiling: by the wall (an accelerator: its clock) and by processor time."""
    wall = _median([took.wall if took.device is None else took.device for took in times])
    return {
        **figures(times),
        "gflop": sum(gflop.values()),
        "share_of_ceiling": ceiling.share(gflop, wall),
        "share_of_ceiling_process": ceiling.share(gflop, _median([took.process for took in times]), "process"),
    }


def _median(values: list[float]) -> float:
    return float(np.median(values))


@contextmanager
def plain(network: MotionModel) -> Iterator[None]:
    """The network with its DiT unfused and, on a CPU, attention as products: PyTorch can count all of that."""
    fused = network.dit
    reference = fused.reference if isinstance(fused, FusedDiT) else fused
    assert isinstance(reference, VideoDiT)
    kernel = reference.kernel
    on_cpu = next(reference.parameters()).device.type == "cpu"
    network.dit, reference.kernel = reference, "matmul" if on_cpu else "sdpa"
    try:
        yield
    finally:
        network.dit, reference.kernel = fused, kernel


def _by_kind(counter: FlopCounterMode) -> dict[str, float]:
    """10⁹ operations counted so far. Products of batches are attention's."""
    found = {MATRIX: 0.0, CONVOLUTION: 0.0, ATTENTION: 0.0}
    for operator, flop in counter.get_flop_counts().get("Global", {}).items():
        name = str(operator)
        kind = CONVOLUTION if "conv" in name else MATRIX if name.endswith(("mm", "addmm")) else ATTENTION
        found[ATTENTION if "bmm" in name else kind] += flop / 1e9
    return found


class _Timed:
    """An object whose methods are timed as parts of a step, by name; all else is the object's own."""

    def __init__(self, inner: object, parts: _Parts, methods: Mapping[str, str]) -> None:
        self._inner, self._parts, self._methods = inner, parts, methods

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._inner, name)
        if name not in self._methods:
            return found
        return lambda *given, **named: self._parts.timed(self._methods[name], lambda: found(*given, **named))


def _timed_stream(stream: Stream, parts: _Parts) -> Stream:
    """The stream with its conditioner and both halves of its chunks timed."""
    inner: Any = stream.parts
    conditioner = _Timed(inner.conditioner, parts, {"step": CONDITION})
    chunk_step = _Timed(inner.chunk_step, parts, {"denoise": DENOISE, "commit": COMMIT})
    return Stream(replace(inner, conditioner=conditioner, chunk_step=chunk_step), stream.state)


def _step(stream: Stream, gestures: RecordedGestures, parts: _Parts) -> None:
    """One step and the commit that a server does after it."""
    tracks = gestures.tracks(stream.chunk_frames)
    parts.timed(CALL, lambda: stream.step(tracks))
    parts.rest(DECODE, of=CALL, without=(CONDITION, DENOISE))
    stream.settle()


def _sizes(model: StreamingModel) -> Sizes:
    """Of a model's chunk, with the convolutions of its decoder."""
    decoder = model.vae.decoder if isinstance(model.vae, WithDecoder) else model.vae
    convolutions = convolutions_of(decoder, model.geometry, model.rollout_config.chunk)
    sizes = _attention_sizes(model.network, model.rollout_config, model.geometry.tokens_per_latent)
    return replace(sizes, convolutions=convolutions)


def convolutions_of(decoder: object, geometry: Geometry, chunk: int) -> tuple[tuple[int, int, int, int], ...]:
    """(images, channels, rows, columns) at each level of a tiny decoder; none of another, which is then not judged."""
    rows, columns = geometry.latent_height, geometry.latent_width
    if isinstance(decoder, TinyVAE):
        latent, frame, half = decoder.config.decoder
        frames = chunk * geometry.temporal_stride
        return (chunk, latent, rows, columns), (frames, frame, rows, columns), (frames, half, 2 * rows, 2 * columns)
    if isinstance(decoder, TaehvDecoder):
        levels = enumerate(zip((1, 1, 2, 4), decoder.config.widths, strict=True))
        return tuple((chunk * times, width, rows << level, columns << level) for level, (times, width) in levels)
    return ()


def _attention_sizes(network: MotionModel, rollout_config: RolloutConfig, tokens: int) -> Sizes:
    """Of a network's chunk once the cache is full. tokens: of a latent."""
    config = network.dit.config
    seen = rollout_config.sink + rollout_config.window + rollout_config.chunk
    return Sizes(rollout_config.chunk * tokens, config.width, config.ffn, config.heads, seen * tokens)
