"""`python -m benchmarks speed compare`: our transformer beside Diffusers' and torch.compile, on the same weights.

First it is shown that all give the same output for the same tokens; then rounds are run in which every form takes its
turn, and ratios are taken within a round, so that what else the machine does meets all of them. A ratio over 1 says
that ours is faster.
Fair and unfair comparisons both stand there, by name:

- `whole_same_work`: a whole clip; both read the prompt anew at every call.
- `whole_as_used`: the same clip; ours reads the prompt once, as it does.
- `cached_over_whole`: what a live chunk costs with our cache, against computing all that it sees again without one.
- `cached_over_chunk`: against Diffusers on the chunk alone, which sees no past: less work than ours.
- `compiled_over_fused`, `compiled_over_graphed`: against our plain transformer compiled as one graph, on a GPU.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from benchmarks.speed.compiled import CompiledDiT
from benchmarks.speed.stopwatch import Stopwatch, Took, accelerator, figures
from benchmarks.speed.untrained import ROLLING, Shape, prompt_of, randomised
from motionstream.dit import DiTConfig, RollingCache, TextContext, VideoDiT
from motionstream.dit.attention import attention_backend
from motionstream.evaluate import machine
from motionstream.fast.dtype import dtype_for
from motionstream.fast.fp8 import quantise_products, runs_on
from motionstream.fast.fuse import FusedDiT, fuse
from motionstream.fast.graph import GraphPool, Recorded
from motionstream.fast.slots import SlotCache
from motionstream.wan.weights import diffusers_name

CALLS = 3  # of each form in a round
TIMESTEP = 700.0  # of 1000
EXACT, ROUNDED = 1e-4, 3e-2
"""Relative differences of outputs that are still the same: in float32, and in half precision."""
THEIRS, OURS = "diffusers_whole", "ours_whole"
OURS_READING, THEIR_CHUNK, CACHED, FUSED = "ours_whole_reading", "diffusers_chunk", "ours_cached", "ours_fused"
PLAIN, GRAPHED, FP8 = "ours_graphed_plain", "ours_graphed", "ours_fp8"
"""Fused and recorded as a CUDA graph: with plain operations between products, with kernels, and with products in
8-bit floats too; where there are such things."""
COMPILED, COMPILED_GRAPHED = "ours_compiled", "ours_compiled_graphed"
"""The plain transformer under torch.compile over fixed slots; and recorded as a CUDA graph too."""
RATIOS = {
    "whole_same_work": (THEIRS, OURS_READING),
    "whole_as_used": (THEIRS, OURS),
    "cached_over_whole": (THEIRS, FUSED),
    "cached_over_chunk": (THEIR_CHUNK, FUSED),
    "fused_over_cached": (CACHED, FUSED),
}
"""Name → (over, under) of the forms' times."""
RATIOS_OF_SOME = {
    "graphed_over_fused": (FUSED, GRAPHED),
    "kernels_over_plain": (PLAIN, GRAPHED),
    "fp8_over_graphed": (GRAPHED, FP8),
    "compiled_over_fused": (COMPILED, FUSED),
    "compiled_over_graphed": (COMPILED, GRAPHED),
    "compiled_graphed_over_graphed": (COMPILED_GRAPHED, GRAPHED),
}
"""Those of forms that are not everywhere."""

Over = Callable[[Iterable[int]], Iterable[int]]
Form = Callable[[], Tensor]
Forms = dict[str, Form]


@dataclass(frozen=True)
class Inputs:
    """Of one call. x (1, T, C, h, w): sink, window and chunk of latents. text (1, L, D) and CLIP tokens, if any."""

    x: Tensor
    t: Tensor
    text: Tensor
    image: Tensor | None

    def to(self, dtype: torch.dtype) -> Inputs:
        image = None if self.image is None else self.image.to(dtype)
        return Inputs(self.x.to(dtype), self.t, self.text.to(dtype), image)


def bench_compare(
    shape: Shape,
    device: torch.device,
    rounds: int = 5,
    seed: int = 0,
    over: Over = iter,
    compiled: bool | None = None,
) -> dict[str, Any]:
    """Times and ratios of all forms, JSON-ready. over: goes through the rounds (a progress bar).

    compiled: whether torch.compile is measured too, which takes minutes; None: on a GPU.
    Raises ValueError on fewer than one round, ModuleNotFoundError without Diffusers, RuntimeError if outputs differ.
    """
    if rounds < 1:
        raise ValueError(f"{rounds} rounds: measure at least 1")
    dtype, on_gpu = dtype_for(device), device.type == "cuda"
    with device:
        theirs, version = diffusers_model(shape.dit)
        ours = VideoDiT(shape.dit)
    randomised(ours, seed)
    take_weights(theirs, ours)
    inputs = chunk_inputs(shape, device, seed)
    with torch.inference_mode():
        pair = Pair(ours, theirs, inputs)
        exact = pair.differences(EXACT)
        as_shipped(theirs, dtype)
        tolerance = EXACT if dtype == torch.float32 else ROUNDED
        pair = Pair(ours.to(dtype), theirs, inputs.to(dtype))
        rounded = pair.differences(tolerance)
        forms: Forms = {**pair.forms(), **(pair.recorded() if on_gpu else {})}
        if on_gpu if compiled is None else compiled:
            made = pair.compiled()
            rounded |= {name: same(name, form(), pair.cached(), tolerance) for name, form in made.items()}
            forms |= made
        times = [_round(forms, index, Stopwatch(device)) for index in over(range(rounds))]
    ratios = {name: two for name, two in (RATIOS | RATIOS_OF_SOME).items() if set(two) <= forms.keys()}
    return {
        "rounds": rounds,
        "calls_a_round": CALLS,
        "ratio": {name: _spread(times, *two, _clock) for name, two in ratios.items()},
        "ratio_process": {name: _spread(times, *two, _process) for name, two in ratios.items()},
        **{form: figures([took for one in times for took in one[form]]) for form in forms},
        "difference_float32": exact,
        "difference": rounded,
        "dtype": str(dtype).removeprefix("torch."),
        "device": str(device),
        "accelerator": accelerator(device),
        "attention": attention_backend(device, dtype=dtype, head_dim=shape.dit.head_dim),
        "latents": inputs.x.shape[1],
        "chunk_latents": ROLLING.chunk,
        "tokens_per_latent": shape.geometry.tokens_per_latent,
        "size": "x".join(map(str, shape.geometry.size)),
        "diffusers": version,
        "machine": machine.describe(),
        "date": machine.today(),
    }


def diffusers_model(config: DiTConfig) -> tuple[nn.Module, str]:
    """Diffusers' transformer of these sizes, and their version. Raises ModuleNotFoundError where that is missing."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # theirs
        import diffusers
        from diffusers.models.transformers.transformer_wan import WanTransformer3DModel

        model: nn.Module = WanTransformer3DModel(
            patch_size=config.patch,
            num_attention_heads=config.heads,
            attention_head_dim=config.head_dim,
            in_channels=config.in_channels,
            out_channels=config.out_channels,
            text_dim=config.text_dim,
            freq_dim=config.freq_dim,
            ffn_dim=config.ffn,
            num_layers=config.layers,
            image_dim=config.image_dim,
            added_kv_proj_dim=config.width if config.image_dim else None,
        )
    return model.eval().requires_grad_(False), str(diffusers.__version__)


def take_weights(theirs: nn.Module, ours: VideoDiT) -> None:
    """Make Diffusers' model one with our weights, which both then share. Raises RuntimeError if one has no place."""
    theirs.load_state_dict({diffusers_name(name): weight for name, weight in ours.state_dict().items()}, assign=True)


def as_shipped(theirs: nn.Module, dtype: torch.dtype) -> None:
    """Diffusers' model in `dtype`, but for the parts that it keeps in float32 when it is loaded."""
    kept = set(getattr(theirs, "_keep_in_fp32_modules", None) or ())
    for name, weight in theirs.named_parameters():
        if not kept & set(name.split(".")):
            weight.data = weight.data.to(dtype)


def chunk_inputs(shape: Shape, device: torch.device, seed: int) -> Inputs:
    """Random latents of all that a chunk sees, in float32."""
    generator = torch.Generator(device).manual_seed(seed)
    geometry, latents = shape.geometry, ROLLING.sink + ROLLING.window + ROLLING.chunk
    sizes = 1, latents, shape.dit.in_channels, geometry.latent_height, geometry.latent_width
    text, image = prompt_of(shape.dit, torch.float32, device, seed)
    t = torch.full((1,), TIMESTEP, device=device)
    return Inputs(torch.randn(sizes, generator=generator, device=device), t, text, image)


class Pair:
    """Both models and what they are given, and every form in which they are called; outputs are (1, T, C, h, w)."""

    def __init__(self, ours: VideoDiT, theirs: nn.Module, given: Inputs) -> None:
        self.ours, self.theirs, self.given = ours, theirs, given
        self.chunk = given.x[:, -ROLLING.chunk :]
        self.context, self.fused, self.past = self.read(), fuse(ours), self.empty()
        for begin in range(0, ROLLING.sink + ROLLING.window, ROLLING.chunk):
            part = given.x[:, begin : begin + ROLLING.chunk]
            ours.commit(part, torch.zeros_like(given.t), self.context, self.past)

    def read(self) -> TextContext:
        """What our cross-attention sees of the prompt."""
        return self.ours.text_context(self.given.text, self.given.image)

    def empty(self) -> RollingCache:
        """A cache that holds nothing yet."""
        rows, columns = self.ours.grid(*self.given.x.shape[-2:])
        sizes = {"batch": 1, "tokens": rows * columns, "sink": ROLLING.sink, "window": ROLLING.window}
        return RollingCache(self.ours.config, **sizes, dtype=self.given.x.dtype, device=self.given.x.device)

    def cached(self) -> Tensor:
        """Ours, plainly, with its cache."""
        out: Tensor = self.ours(self.chunk, self.given.t, self.context, over=self.past)
        return out

    def recorded(self) -> dict[str, Callable[[], Tensor]]:
        """Forms for GPUs: the fused one as a graph over fixed slots, and in 8-bit floats where the device has them."""
        forms = {GRAPHED: self._recorded(self.fused)}
        if self.fused.lean_blocks:
            forms[PLAIN] = self._recorded(FusedDiT(self.ours, None))
        if runs_on(self.given.x.device):
            rounded = fuse(self.ours)
            quantise_products(rounded.fused_blocks)
            forms[FP8] = self._recorded(rounded)
        return forms

    def compiled(self) -> dict[str, Callable[[], Tensor]]:
        """Our plain transformer as one compiled graph, on a GPU recorded as well."""
        model = CompiledDiT(self.ours)
        forms = {COMPILED: self._over_slots(model)}
        if self.given.x.device.type == "cuda":
            forms[COMPILED_GRAPHED] = self._over_slots(CompiledDiT(self.ours, mode="reduce-overhead"))
        return forms

    def _recorded(self, fused: FusedDiT) -> Callable[[], Tensor]:
        return Recorded(self._over_slots(fused), GraphPool(self.given.x.device)).run

    def _over_slots(self, model: FusedDiT | CompiledDiT) -> Callable[[], Tensor]:
        config, x = self.ours.config, self.given.x
        slots = SlotCache(
            config,
            batch=1,
            grid=self.ours.grid(*x.shape[-2:]),
            chunk=ROLLING.chunk,
            sink=ROLLING.sink,
            window=ROLLING.window,
            dtype=x.dtype,
            device=x.device,
        )
        slots.restore(self.past.snapshot())
        t, chunk = self.given.t.cpu(), self.chunk.contiguous()  # times on the host: nothing may wait for the device
        return partial(model, chunk, t, self.context, over=slots)

    def forms(self) -> dict[str, Callable[[], Tensor]]:
        given, past = self.given, self.past
        return {
            THEIRS: lambda: self.diffusers(given.x),
            OURS_READING: lambda: self.ours(given.x, given.t, self.read()),
            OURS: lambda: self.ours(given.x, given.t, self.context),
            THEIR_CHUNK: lambda: self.diffusers(self.chunk),
            CACHED: self.cached,
            FUSED: lambda: self.fused(self.chunk, given.t, self.context, over=past),
        }

    def diffusers(self, x: Tensor) -> Tensor:
        out: Tensor = self.theirs(
            hidden_states=x.transpose(1, 2),
            timestep=self.given.t,
            encoder_hidden_states=self.given.text,
            encoder_hidden_states_image=self.given.image,
            return_dict=False,
        )[0].transpose(1, 2)
        return out

    def differences(self, tolerance: float) -> dict[str, float]:
        """Relative differences of outputs that must be the same. Raises RuntimeError where one is not.

        whole: both on the clip. chunk: both on the chunk alone, ours by way of an empty cache. fused: ours, both ways.
        """
        forms, empty = self.forms(), self.empty()
        whole = forms[THEIRS]()
        found = {
            "whole": difference(forms[OURS](), whole),
            "whole_reading": difference(forms[OURS_READING](), whole),
            "chunk": difference(
                self.ours(self.chunk, self.given.t, self.context, over=empty), self.diffusers(self.chunk)
            ),
            "fused": difference(forms[FUSED](), forms[CACHED]()),
        }
        for name, value in found.items():
            check_same(name, value, tolerance)
        return found


def same(name: str, one: Tensor, other: Tensor, tolerance: float) -> float:
    """Their relative difference. Raises RuntimeError where it is over the tolerance."""
    return check_same(name, difference(one, other), tolerance)


def check_same(name: str, value: float, tolerance: float) -> float:
    """Raises RuntimeError on a relative difference over the tolerance."""
    if not value <= tolerance:
        raise RuntimeError(f"{name}: outputs differ by {value:.1e} of their size, over {tolerance:.0e}")
    return value


def difference(one: Tensor, other: Tensor) -> float:
    """Root of the mean squared difference over that of `other`; in float64, so that memory layout is no matter."""
    return float((one.double() - other.double()).norm() / other.double().norm())


def _round(forms: Mapping[str, Form], turn: int, watch: Stopwatch) -> dict[str, list[Took]]:
    """Every form in turn, another one first each round, each after a call that is not counted."""
    names = list(forms)
    begin = turn % len(names)
    found: dict[str, list[Took]] = {}
    for name in names[begin:] + names[:begin]:
        form = forms[name]
        form()
        found[name] = [watch.timed(form)[1] for _ in range(CALLS)]
    return found


def _spread(
    rounds: Sequence[Mapping[str, Sequence[Took]]], over: str, under: str, clock: Callable[[Took], float]
) -> dict[str, float]:
    """The ratio of two forms' median times in each round: median, smallest and largest of the rounds."""
    ratios = [
        float(np.median([clock(took) for took in one[over]]) / np.median([clock(took) for took in one[under]]))
        for one in rounds
    ]
    return {"median": float(np.median(ratios)), "min": min(ratios), "max": max(ratios)}


def _clock(took: Took) -> float:
    """What counts: an accelerator's own clock, else the wall's."""
    return took.wall if took.device is None else took.device


def _process(took: Took) -> float:
    return took.process
