"""A stage small enough to be trained in milliseconds that still uses everything a checkpoint must hold.

Run as a program (`python -m tests.train.tiny_stage FOLDER STEPS`) it trains, printing every step, until killed or done.
"""

from __future__ import annotations

import random
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from motionstream.train.ema import EMA
from motionstream.train.loop import run
from motionstream.train.optim import Optimizer, Schedule, Updater, make_optimizer
from motionstream.train.recipe import Recipe
from motionstream.train.recipes import named
from motionstream.train.stage import Image, Stage


class TinyNet(nn.Module):
    """An embedding, a hidden matrix for Muon, a head, and a buffer that training moves."""

    seen: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(8, 6)
        self.hidden = nn.Linear(6, 6)
        self.head = nn.Linear(6, 3)
        self.register_buffer("seen", torch.zeros((), dtype=torch.int64))

    def forward(self, numbers: Tensor) -> Tensor:
        hidden = torch.tanh(self.hidden(self.embedding(numbers)))
        result: Tensor = self.head(hidden)
        return result


class TinyStage(Stage):
    """Learns a fixed table; draws from its own generator and all three global ones. bad: steps whose loss is NaN."""

    def __init__(self, bad: frozenset[int] = frozenset(), kind: str = "muon") -> None:
        torch.manual_seed(0)
        self.net = TinyNet()
        self.ema = EMA(self.net, 0.9)
        self.optimizer: Optimizer = make_optimizer(self.net, 1e-2, kind=kind)
        self.updater = Updater(self.net, self.optimizer, Schedule(5, 0.3), accumulate=2, ema=self.ema)
        self.random = np.random.default_rng(3)
        self.position, self.bad, self.rates = 0, bad, list[float]()

    def modules(self) -> dict[str, nn.Module]:
        return {"net": self.net, "ema": self.ema}

    def optimizers(self) -> dict[str, Optimizer]:
        return {"net": self.optimizer}

    def step(self, step: int, progress: float) -> dict[str, float]:
        for _ in range(2):
            self.updater.backward({"loss": self._loss() * (float("nan") if step in self.bad else 1.0)})
        self.net.seen += 1
        done = self.updater.apply(step, progress)
        self.rates.append(done["lr"])
        return done

    def sheet(self) -> Image | None:
        torch.rand(3)  # a sheet that draws carelessly must not change the training
        return np.full((4, 6, 3), 100, np.uint8)

    def state_dict(self) -> dict[str, Any]:
        return {"position": self.position, "random": self.random.bit_generator.state}

    def load_state_dict(self, state: dict[str, Any], /) -> None:
        self.position = state["position"]
        self.random.bit_generator.state = state["random"]

    def _loss(self) -> Tensor:
        numbers = torch.from_numpy(self.random.integers(0, 8, 16))
        self.position += 16
        target = torch.stack([numbers.sin(), numbers.cos(), numbers / 8], 1)
        noise = torch.rand(()) + float(np.random.rand()) + random.random()
        return (self.net(numbers) - target).square().mean() * (1 + 0.1 * noise)


def tiny_recipe(steps: int, **changes: object) -> Recipe:
    """How long the stage is trained and how often it is saved: all that the loop reads of a recipe."""
    return replace(named("vae", "smoke"), steps=steps, **{"save_minutes": 60, "sheet_every": 7, **changes})  # type: ignore[arg-type]


def seed_everything() -> None:
    random.seed(1)
    np.random.seed(1)
    torch.manual_seed(1)


def main(folder: str, steps: str) -> None:
    stage = TinyStage()
    inner = stage.step

    def step(number: int, progress: float) -> dict[str, float]:
        result = inner(number, progress)
        print(number, flush=True)
        return result

    stage.step = step  # type: ignore[method-assign]
    seed_everything()
    run(stage, Path(folder), tiny_recipe(int(steps), save_minutes=0, log_every=10))


if __name__ == "__main__":
    main(*sys.argv[1:])
