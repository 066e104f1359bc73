"""Killed at any moment and started again, a run ends with the weights it would have had."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import torch
from tests.train.tiny_stage import TinyStage, seed_everything, tiny_recipe

from motionstream.train.checkpoint import Checkpoints, load
from motionstream.train.loop import run

ROOT = Path(__file__).parents[2]
STEPS = 40


def start(folder: Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "tests.train.tiny_stage", str(folder), str(STEPS)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True)


def train_here(folder: Path, steps: int, of: int = STEPS) -> None:
    """A session of the same run in this process, ended after `steps` as by a signal."""
    stage = TinyStage()
    inner = stage.step

    def step(number: int, progress: float) -> dict[str, float]:
        if number + 1 == steps < of:
            os.kill(os.getpid(), signal.SIGTERM)
        return inner(number, progress)

    stage.step = step  # type: ignore[method-assign]
    seed_everything()
    run(stage, folder, tiny_recipe(of, log_every=10))


def final_bytes(folder: Path) -> dict[str, object]:
    """Everything of the last checkpoint but how long it took."""
    last = Checkpoints(folder / "checkpoints").path(STEPS)
    load(last)
    state = json.loads((last / "state.json").read_text())
    del state["loop"]
    tensors = {path.name: path.read_bytes() for path in last.glob("*.safetensors")}
    assert set(tensors) == {"net.safetensors", "ema.safetensors", "state.safetensors"}
    return {**tensors, "state.json": state}


def test_kill_9_changes_nothing(tmp_path: Path) -> None:
    train_here(tmp_path / "whole", STEPS)
    lot, resumed = random.Random(5), 0
    for kill_after in (1, 9, 20, 33):
        process = start(tmp_path / "killed")
        assert process.stdout is not None
        for line in process.stdout:
            if int(line) >= kill_after:
                break
        else:
            raise AssertionError(f"ended by itself with {process.wait()}")
        resumed = int(line)
        time.sleep(lot.uniform(0, 0.03))  # within the step, or within the save that follows each step
        process.kill()
        process.communicate()
        assert process.returncode == -signal.SIGKILL
    process = start(tmp_path / "killed")
    output, _ = process.communicate(timeout=120)
    assert process.returncode == 0
    first = int(output.split()[0])
    assert resumed - 1 <= first, "no more than the step in work is lost"
    assert final_bytes(tmp_path / "killed") == final_bytes(tmp_path / "whole")


def test_stopped_by_a_signal_and_resumed(tmp_path: Path) -> None:
    train_here(tmp_path / "whole", STEPS)
    for steps in (3, 21, STEPS):
        train_here(tmp_path / "parts", steps)
    assert final_bytes(tmp_path / "parts") == final_bytes(tmp_path / "whole")


def test_the_comparison_would_notice_a_lost_generator(tmp_path: Path) -> None:
    train_here(tmp_path / "whole", STEPS)
    train_here(tmp_path / "parts", 20)
    checkpoints = Checkpoints(tmp_path / "parts" / "checkpoints")
    saved = checkpoints.newest()
    assert saved is not None
    saved.state["random"][0]["torch"] = torch.manual_seed(99).get_state()
    spoilt = Checkpoints(tmp_path / "spoilt" / "checkpoints")
    assert spoilt.save(saved.step, saved.weights, saved.state, saved.recipe_hash)
    train_here(tmp_path / "spoilt", STEPS)
    assert final_bytes(tmp_path / "spoilt") != final_bytes(tmp_path / "whole")
