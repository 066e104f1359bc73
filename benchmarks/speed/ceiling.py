"""How fast this machine multiplies, convolves and attends at a model's own sizes: what a step can be measured against.

Figures of another machine, or of another hour on a busy one, say nothing; so a round of these is run between the steps
that are judged, and the median of the rounds is taken. Within a round the best of a few tries counts.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks.speed.stopwatch import Stopwatch, Took
from motionstream.dit.attention import attend
from motionstream.fast.products import Product

MATRIX, CONVOLUTION, ATTENTION = "matrix", "convolution", "attention"
TRIES = 3
LEAST_SECONDS = 0.005  # that a try takes: shorter ones are repeated


@dataclass(frozen=True)
class Sizes:
    """Of one step. tokens: that go through a product, width and ffn: of them; keys: tokens that are attended to.

    convolutions: (images, channels, rows, columns) of 3×3 convolutions that keep the number of channels.
    """

    tokens: int
    width: int
    ffn: int
    heads: int
    keys: int
    convolutions: tuple[tuple[int, int, int, int], ...] = ()


@dataclass(frozen=True)
class Trial:
    """A piece of work and its arithmetic, in operations."""

    work: Callable[[], object]
    flop: float


@dataclass
class Ceiling:
    """Rates in 10⁹ operations a second by kind of work, one entry a round: by the wall and by all threads' time."""

    sizes: Sizes
    dtype: torch.dtype
    device: torch.device
    wall: dict[str, list[float]] = field(default_factory=dict)
    process: dict[str, list[float]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._watch = Stopwatch(self.device)
        with torch.inference_mode():
            self._trials = {
                MATRIX: self._products(),
                ATTENTION: self._attentions(),
                CONVOLUTION: [self._convolution(*size) for size in self.sizes.convolutions],
            }

    @torch.inference_mode()
    def round(self) -> None:
        """Measure each kind once more."""
        for kind, trials in self._trials.items():
            if trials:
                rates = [self._rate(trial) for trial in trials]
                self.wall.setdefault(kind, []).append(max(wall for wall, _ in rates))
                self.process.setdefault(kind, []).append(max(process for _, process in rates))

    def rates(self, clock: str = "wall") -> dict[str, float]:
        """The median of the rounds by kind, 10⁹ operations a second. clock: "wall" or "process"."""
        rounds: Mapping[str, list[float]] = self.wall if clock == "wall" else self.process
        return {kind: float(np.median(found)) for kind, found in rounds.items()}

    def share(self, gflop: Mapping[str, float], seconds: float, clock: str = "wall") -> float | None:
        """Time that work of so many 10⁹ operations a kind would take at the ceiling, over the time it took."""
        rates = self.rates(clock)
        ideal = sum(amount / rates[kind] for kind, amount in gflop.items() if kind in rates)
        return ideal / seconds if ideal and seconds else None

    def _rate(self, trial: Trial) -> tuple[float, float]:
        """Best rates of a few tries, by the wall (an accelerator: by its own clock) and of processor time."""
        begin = time.perf_counter()
        self._watch.timed(trial.work)
        repeats = max(1, math.ceil(LEAST_SECONDS / max(time.perf_counter() - begin, 1e-7)))
        tries = [self._watch.timed(lambda: [trial.work() for _ in range(repeats)])[1] for _ in range(TRIES)]
        gflop = trial.flop * repeats / 1e9
        return gflop / min(map(_clock, tries)), gflop / max(min(took.process for took in tries), 1e-9)

    def _products(self) -> list[Trial]:
        """The feed-forward's two products, plain and packed."""
        tokens, width, ffn = self.sizes.tokens, self.sizes.width, self.sizes.ffn
        trials = []
        for rows, columns in ((ffn, width), (width, ffn)):
            x, weight = self._random(tokens, columns), self._random(rows, columns)
            bias, flop = self._random(rows), 2.0 * tokens * width * ffn
            packed = Product(weight, bias)
            trials.append(Trial(lambda x=x, w=weight, b=bias: F.linear(x, w, b), flop))  # type: ignore[misc]
            trials.append(Trial(lambda x=x, packed=packed: packed(x), flop))  # type: ignore[misc]
        return trials

    def _attentions(self) -> list[Trial]:
        """A chunk's look at past and itself, in both forms on a CPU."""
        sizes = self.sizes
        channels = sizes.width // sizes.heads
        q = self._random(1, sizes.tokens, sizes.heads, channels)
        k, v = (self._random(1, sizes.keys, sizes.heads, channels) for _ in range(2))
        flop = 4.0 * sizes.tokens * sizes.keys * sizes.width
        trials = [Trial(lambda: attend(q, k, v, kernel="sdpa"), flop)]
        if self.device.type == "cpu":
            trials.append(Trial(lambda: attend(q, k, v, kernel="matmul"), flop))
        return trials

    def _convolution(self, images: int, channels: int, rows: int, columns: int) -> Trial:
        x = self._random(images, channels, rows, columns).contiguous(memory_format=torch.channels_last)
        weight = self._random(channels, channels, 3, 3).contiguous(memory_format=torch.channels_last)
        flop = 2.0 * images * rows * columns * 9 * channels**2
        return Trial(lambda: F.conv2d(x, weight, padding=1), flop)

    def _random(self, *shape: int) -> Tensor:
        return torch.randn(shape, device=self.device).to(self.dtype)


def _clock(took: Took) -> float:
    """The seconds that count for a rate."""
    return took.wall if took.device is None else took.device
