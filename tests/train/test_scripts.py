"""The whole recipe on a page runs: every stage in small, from pictures to a model folder."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from motionstream.train import named
from motionstream.train.pack import CHAIN
from motionstream.train.recipe import load

ROOT = Path(__file__).parents[2]


def run(script: str, out: Path) -> str:
    environment = {
        **os.environ,
        "RECIPE": "smoke",
        "ASSETS": str(ROOT / "tests" / "data" / "assets"),
        "OUT": str(out),
        "MOTIONSTREAM": str(Path(sys.executable).with_name("motionstream")),
    }
    command = ["bash", str(ROOT / "runs" / script)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=280)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_chain_runs_and_then_nothing_is_left_to_do(tmp_path: Path) -> None:
    told = run("tiny_cpu.sh", tmp_path)
    for stage in CHAIN:
        assert f"{stage}: step 4 (done)" in told
        assert list((tmp_path / stage / "sheets").glob("*.png"))
        assert load(tmp_path / stage / "recipe.json") == named(stage, "smoke")
    assert list((tmp_path / "model").glob("*.safetensors"))
    weights = {path: path.stat().st_mtime_ns for path in tmp_path.glob("*/checkpoints/*/*")}
    assert weights
    again = run("tiny_gpu.sh", tmp_path)
    assert all(f"{stage}: step 4 (done)" in again for stage in CHAIN)
    assert {path: path.stat().st_mtime_ns for path in tmp_path.glob("*/checkpoints/*/*")} == weights
