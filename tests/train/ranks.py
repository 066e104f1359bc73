"""What one rank does in the tests of several processes: `torchrun … -m tests.train.ranks FORM FOLDER STEPS`.

FORM "copies": whole copies, gradients averaged. "shards": FSDP2. Each rank takes its share of one global batch, so
any number of ranks must reach the same weights.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import torch
from tests.train.tiny_stage import tiny_recipe
from torch import Tensor, nn

from motionstream.train.ema import EMA
from motionstream.train.loop import run
from motionstream.train.optim import Schedule, Updater, make_optimizer
from motionstream.train.parallelize import (
    close_distributed,
    rank,
    setup_distributed,
    shard,
    world_size,
)
from motionstream.train.stage import Stage

BATCH = 8


class RanksStage(Stage):
    """A regression on a fixed sequence of global batches, of which each rank sees its part."""

    def __init__(self, form: str) -> None:
        torch.manual_seed(0)
        self.net: nn.Module = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 2))
        self.ema = EMA(self.net, 0.9)
        if form == "shards":
            shard(self.net, [self.net[0], self.net[2]])  # type: ignore[index]
            shard(self.ema.average)
        self.optimizer = make_optimizer(self.net, 1e-2)
        self.updater = Updater(self.net, self.optimizer, Schedule(), clip=0.1, ema=self.ema)
        self.position = 0

    def modules(self) -> dict[str, nn.Module]:
        return {"net": self.net, "ema": self.ema}

    def optimizers(self) -> dict[str, Any]:
        return {"net": self.optimizer}

    def step(self, step: int, progress: float) -> dict[str, float]:
        data = torch.randn(BATCH, 6, generator=torch.Generator().manual_seed(self.position))
        mine = data.chunk(world_size())[rank()]
        self.position += 1
        loss: Tensor = (self.net(mine[:, :4]) - mine[:, 4:]).square().mean()
        self.updater.backward({"loss": loss * (float("nan") if step == 3 and rank() == world_size() - 1 else 1)})
        return self.updater.apply(step, progress)

    def sheet(self) -> None:
        return None

    def state_dict(self) -> dict[str, Any]:
        return {"position": self.position, "rank": rank()}

    def load_state_dict(self, state: dict[str, Any], /) -> None:
        self.position = state["position"]


def train_ranks_stage(form: str, folder: Path, steps: int) -> None:
    run(RanksStage(form), folder, tiny_recipe(steps, sheet_every=500))


def main(form: str, folder: str, steps: str) -> None:
    setup_distributed("cpu")
    train_ranks_stage(form, Path(folder), int(steps))
    close_distributed()
    assert_threads_ended()


def assert_threads_ended() -> None:
    """A thread of gloo's that outlives the interpreter aborts the process once in a while: none may be left."""
    names = [(task / "comm").read_text().strip() for task in Path("/proc/self/task").glob("*")]
    assert not [name for name in names if "gloo" in name], f"threads of the group still run: {names}"


if __name__ == "__main__":
    main(*sys.argv[1:])
