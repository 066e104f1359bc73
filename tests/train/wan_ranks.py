"""What one rank does in the tests of Wan on several processes: `torchrun … -m tests.train.wan_ranks CLIPS JOBS`.

JOBS: JSON, [[stage, folder of the chain, [settings]], …], trained one after another in one group of ranks.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import torch
from tests.train.ranks import assert_threads_ended
from tests.train.wan import recipe
from torch.distributed.tensor import DTensor

from motionstream.sampling import MotionModel
from motionstream.train import network
from motionstream.train.parallelize import close_distributed, setup_distributed
from motionstream.train.recipe import changed
from motionstream.train.run import session


def watch_sharding() -> list[int]:
    """How many weights each network had that was placed, once all of them are known to be split."""
    counts: list[int] = []
    inner = network._shard

    def watched(model: MotionModel, dtype: torch.dtype | None) -> None:
        inner(model, dtype)
        assert all(isinstance(weight, DTensor) for weight in model.parameters())
        counts.append(len(list(model.parameters())))

    network._shard = watched
    return counts


def main(clips: str, jobs: str) -> None:
    device = setup_distributed("cpu")
    counts = watch_sharding()
    for stage, out, settings in json.loads(jobs):
        chosen = changed(recipe(stage), settings)
        session(stage, chosen, device, Path(out), Path(clips))
    assert len(counts) == 4 * len(json.loads(jobs)), "four networks a stage: all of them split"
    close_distributed()
    assert_threads_ended()


if __name__ == "__main__":
    main(*sys.argv[1:])
