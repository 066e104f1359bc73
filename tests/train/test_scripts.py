"""The whole recipe on a page runs: every stage in small, from pictures to a model folder."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from motionstream.train import named
from motionstream.train.pack import CHAIN
from motionstream.train.recipe import load

ROOT = Path(__file__).parents[2]


BY_ROLLOUTS = ("vae", "rollout", "vae-decoder", "detail")


def run(script: str, out: Path, teacher: str) -> str:
    environment = {
        **os.environ,
        "RECIPE": "smoke",
        "ASSETS": str(ROOT / "tests" / "data" / "assets"),
        "OUT": str(out),
        "TEACHER": teacher,
        "MOTIONSTREAM": str(Path(sys.executable).with_name("motionstream")),
    }
    command = ["bash", str(ROOT / "runs" / script)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=280)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize(("teacher", "stages", "start"), [("", BY_ROLLOUTS, ""), ("1", CHAIN, "self-forcing")])
def test_the_chain_runs_and_then_nothing_is_left_to_do(
    tmp_path: Path, teacher: str, stages: tuple[str, ...], start: str
) -> None:
    told = run("tiny_cpu.sh", tmp_path, teacher)
    for stage in (*stages, "prompt-filter"):
        assert f"{stage}: step 4 (done)" in told
        assert list((tmp_path / stage / "sheets").glob("*.png"))
        expected = replace(named(stage, "smoke"), causal=start) if stage == "rollout" else named(stage, "smoke")  # type: ignore[call-arg]
        assert load(tmp_path / stage / "recipe.json") == expected
    assert not {path.name for path in tmp_path.iterdir()} - {*stages, "prompt-filter", "model"}
    assert list((tmp_path / "model").glob("*.safetensors"))
    weights = {path: path.stat().st_mtime_ns for path in tmp_path.glob("*/checkpoints/*/*")}
    assert weights
    again = run("tiny_gpu.sh", tmp_path, teacher)
    assert all(f"{stage}: step 4 (done)" in again for stage in stages)
    assert {path: path.stat().st_mtime_ns for path in tmp_path.glob("*/checkpoints/*/*")} == weights


@pytest.mark.parametrize("teacher", ["with", "without"])
def test_the_minutes_on_a_gpu_are_under_an_hour(teacher: str) -> None:
    lines = (ROOT / "runs" / "tiny_gpu.sh").read_text().splitlines()
    begin, otherwise, end = (lines.index(line) for line in ('if [ -n "${TEACHER:-}" ]; then', "else", "fi"))
    left_out = range(otherwise, end) if teacher == "with" else range(begin, otherwise)
    told = [re.match(r"\s*train [\w-]+ (\d+)", line) for at, line in enumerate(lines) if at not in left_out]
    minutes = [int(one[1]) for one in told if one]
    assert len(minutes) == (len(CHAIN) if teacher == "with" else len(BY_ROLLOUTS)) + 1
    assert sum(minutes) < 60
