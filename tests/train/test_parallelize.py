"""Two processes are one with twice the batch; checkpoints move between numbers of processes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from tests.train.tiny_stage import TinyNet
from torch import Tensor

from motionstream.train.checkpoint import Checkpoint, Checkpoints
from motionstream.train.parallelize import any_rank, average_gradients, from_all_ranks, setup_distributed, shard

ROOT = Path(__file__).parents[2]


def train(ranks: int, form: str, folder: Path, steps: int) -> Checkpoint:
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(ranks)] if ranks > 1 else []
    command = [sys.executable, *launcher, "-m", "tests.train.ranks", form, str(folder), str(steps)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=250)
    assert done.returncode == 0, done.stderr
    saved = Checkpoints(folder / "checkpoints").newest()
    assert saved is not None
    assert saved.step == steps
    return saved


def all_tensors(saved: Checkpoint) -> dict[str, Tensor]:
    moments = saved.state["optimizers"]["net"]["adamw"]
    flat = {f"{name}.{key}": value for name, state in moments.items() for key, value in state.items()}
    return {**flat, **{f"{m}.{k}": v for m, tensors in saved.weights.items() for k, v in tensors.items()}}


def assert_equal(a: Checkpoint, b: Checkpoint, tolerance: float) -> None:
    left, right = all_tensors(a), all_tensors(b)
    assert left.keys() == right.keys()
    for name in left:
        torch.testing.assert_close(left[name], right[name], atol=tolerance, rtol=0, msg=name)


@pytest.mark.parametrize("form", ["copies", "shards"])
def test_two_ranks_equal_one_and_resume_as_one(tmp_path: Path, form: str) -> None:
    one = train(1, form, tmp_path / "one", 8)
    two = train(2, form, tmp_path / "two", 8)
    assert_equal(one, two, 1e-6)
    skipped = [json.loads(line)["skipped"] for line in (tmp_path / "two" / "metrics.jsonl").read_text().splitlines()]
    assert skipped == [0, 0, 0, 1, 0, 0, 0, 0], "one rank's bad step is everyone's"
    further = train(1, form, tmp_path / "two", 10)
    assert_equal(further, train(1, form, tmp_path / "one", 10), 1e-6)
    back = train(2, form, tmp_path / "two", 12)
    assert_equal(back, train(1, form, tmp_path / "one", 12), 1e-6)


def test_alone_everything_is_as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    ranks = setup_distributed("cpu")
    assert (ranks.rank, ranks.world, ranks.first, ranks.device) == (0, 1, True, torch.device("cpu"))
    net = TinyNet()
    assert shard(net) is net
    net.head.weight.grad = torch.ones_like(net.head.weight)
    average_gradients(net.parameters())
    assert torch.equal(net.head.weight.grad, torch.ones_like(net.head.weight))
    assert net.hidden.weight.grad is None
    assert any_rank(True)
    assert not any_rank(False)
    assert from_all_ranks("x") == ["x"]
