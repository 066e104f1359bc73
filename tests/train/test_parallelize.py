"""Two processes are one with twice the batch; checkpoints move between numbers of processes.

First on a small regression, then on Wan's stages with the network split over the ranks.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from tests.train.ranks import train_ranks_stage
from tests.train.tiny_stage import TinyNet
from tests.train.wan import recipe, write_clips, write_start
from torch import Tensor

from motionstream.train import train as train_stage
from motionstream.train.checkpoint import Checkpoint, Checkpoints
from motionstream.train.parallelize import (
    any_rank,
    average_gradients,
    from_all_ranks,
    rank,
    setup_distributed,
    shard,
    world_size,
)

ROOT = Path(__file__).parents[2]


def launch(ranks: int, module: str, *arguments: str) -> None:
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(ranks)] if ranks > 1 else []
    command = [sys.executable, *launcher, "-m", module, *arguments]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=250)
    assert done.returncode == 0, done.stderr


def train(ranks: int, form: str, folder: Path, steps: int) -> Checkpoint:
    """One rank in this process, more in their own."""
    if ranks == 1:
        train_ranks_stage(form, folder, steps)
    else:
        launch(ranks, "tests.train.ranks", form, str(folder), str(steps))
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
    assert setup_distributed("cpu") == torch.device("cpu")
    assert (rank(), world_size()) == (0, 1)
    net = TinyNet()
    assert shard(net) is net
    net.head.weight.grad = torch.ones_like(net.head.weight)
    average_gradients(net.parameters())
    assert torch.equal(net.head.weight.grad, torch.ones_like(net.head.weight))
    assert net.hidden.weight.grad is None
    assert any_rank(True)
    assert not any_rank(False)
    assert from_all_ranks("x") == ["x"]


ALONE, TOGETHER = "accumulate=2", "accumulate=1"
"""Two passes a step, by one rank or by two."""


@pytest.fixture(scope="module")
def wan(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Chains `one` and `two`, trained by one process and by two; `one` goes on in `further` on two.

    Both begin the later stages from the same weights, so that each stage is compared by itself.
    """
    folder = tmp_path_factory.mktemp("wan")
    clips = write_clips(folder / "clips")
    write_start(folder / "one")
    alone(folder, "teacher", "one", "steps=1")
    for stage in ("teacher-mask", "causal"):
        alone(folder, stage, "one", "steps=2")
    for chain in ("two", "further", "whole", "half"):
        shutil.copytree(folder / "one", folder / chain)
    shutil.rmtree(folder / "two" / "causal")
    jobs = [
        ["causal", str(folder / "two"), ["steps=2"]],
        ["causal", str(folder / "further"), ["steps=4"]],
        ["self-forcing", str(folder / "two"), ["steps=2"]],
        ["self-forcing", str(folder / "half"), ["steps=1", "dtype=bfloat16"]],
    ]
    launch(2, "tests.train.wan_ranks", str(clips), json.dumps([[s, o, [TOGETHER, *given]] for s, o, given in jobs]))
    return folder


def alone(folder: Path, stage: str, chain: str, *settings: str) -> None:
    """Train in this process."""
    train_stage(stage, recipe(stage), folder / chain, folder / "clips", overrides=[ALONE, *settings])


def saved(folder: Path, chain: str, stage: str) -> Checkpoint:
    found = Checkpoints(folder / chain / stage / "checkpoints").newest()
    assert found is not None
    return found


def assert_same(a: Checkpoint, b: Checkpoint) -> None:
    """Every weight, average and moment. Adam's first steps go by a gradient's sign, which rounding decides where the
    gradient is nothing; so weights may differ by a step in a few places, and moments, which are gradients, may not."""
    assert a.step == b.step
    for name, optimizer in a.state["optimizers"].items():
        theirs = b.state["optimizers"][name]["adamw"]
        for key, moments in optimizer["adamw"].items():
            scale = moments["exp_avg"].abs().max().item()
            torch.testing.assert_close(
                moments["exp_avg"], theirs[key]["exp_avg"], atol=1e-4 * scale + 1e-9, rtol=1e-4, msg=f"{name}: {key}"
            )
    for module, tensors in a.weights.items():
        assert tensors.keys() == b.weights[module].keys()
        for key, weight in tensors.items():
            away = (weight - b.weights[module][key]).abs().float()
            assert away.mean() < 1e-5, f"{module}.{key} is {away.mean()} away"


def test_a_sharded_wan_on_two_ranks_trains_as_on_one(wan: Path) -> None:
    """Causal: teacher forcing under random masks, checkpointed blocks, four networks split."""
    assert_same(saved(wan, "two", "causal"), saved(wan, "one", "causal"))


def test_a_sharded_rollout_on_two_ranks_trains_as_on_one(wan: Path) -> None:
    alone(wan, "self-forcing", "whole", "steps=2")
    assert_same(saved(wan, "two", "self-forcing"), saved(wan, "whole", "self-forcing"))


def test_in_half_precision_the_ranks_gather_halves_and_learn_the_same(wan: Path) -> None:
    half, full = (
        json.loads((wan / chain / "self-forcing" / "metrics.jsonl").read_text().splitlines()[0])
        for chain in ("half", "two")
    )
    for figure in ("loss", "critic_loss", "grad_norm", "critic_grad_norm"):
        assert half[figure] == pytest.approx(full[figure], rel=0.05)
        assert half[figure] != full[figure]


def test_wan_goes_on_exactly_on_another_number_of_ranks(wan: Path) -> None:
    """One rank's checkpoint on two, and two ranks' on one; at step 2 consistency distillation begins."""
    alone(wan, "causal", "whole", "steps=4")
    assert_same(saved(wan, "further", "causal"), saved(wan, "whole", "causal"))
    alone(wan, "causal", "two", "steps=4")
    assert_same(saved(wan, "two", "causal"), saved(wan, "whole", "causal"))
