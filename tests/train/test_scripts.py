"""The whole recipe on a page runs: every stage in small, from pictures to a model folder.

The pages are run with a recorder in place of `motionstream`; what they call is then run in this process, by the same
code as the command, which saves the start of two dozen processes.
"""

from __future__ import annotations

import os
import re
import subprocess
from dataclasses import asdict, replace
from pathlib import Path

import pytest
from tests.train.smoke import ASSETS, in_this_process

from motionstream import cli
from motionstream.model_folder import read_header
from motionstream.train import named
from motionstream.train.pack import CHAIN, student_recipe
from motionstream.train.recipe import load

ROOT = Path(__file__).parents[2]
RECORDER = """#!/usr/bin/env bash
printf '%s\\x1f' "$@" >> "$RECORD"; echo >> "$RECORD"
[ "$1 $2" != "train ${FAILS:-}" ]
"""
BY_ROLLOUTS = ("vae", "rollout", "vae-decoder", "detail")


def commands(script: str, folder: Path, teacher: str, fails: str = "") -> tuple[int, list[list[str]]]:
    """The page's exit status, and the arguments of each `motionstream` that it calls. fails: a stage that does."""
    recorder, record = folder / "recorder", folder / "record"
    recorder.write_text(RECORDER)
    recorder.chmod(0o755)
    record.unlink(missing_ok=True)
    environment = {
        **os.environ,
        "RECIPE": "smoke",
        "ASSETS": str(ASSETS),
        "OUT": str(folder / "out"),
        "TEACHER": teacher,
        "MOTIONSTREAM": str(recorder),
        "RECORD": str(record),
        "FAILS": fails,
    }
    command = ["bash", str(ROOT / "runs" / script)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60)
    return done.returncode, [line.split("\x1f")[:-1] for line in record.read_text().splitlines()]


def run(script: str, folder: Path, teacher: str, capsys: pytest.CaptureFixture[str]) -> str:
    status, called = commands(script, folder, teacher)
    assert status == 0
    with in_this_process():
        for arguments in called:
            assert cli.run(arguments) == 0
    return capsys.readouterr().out


@pytest.mark.parametrize(("teacher", "stages", "start"), [("", BY_ROLLOUTS, ""), ("1", CHAIN, "self-forcing")])
def test_the_chain_runs_and_then_nothing_is_left_to_do(
    tmp_path: Path, teacher: str, stages: tuple[str, ...], start: str, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    printed = run("tiny_cpu.sh", tmp_path, teacher, capsys)
    for stage in (*stages, "prompt-filter"):
        assert f"{stage}: step 4 (done)" in printed
        assert list((out / stage / "sheets").glob("*.png"))
        expected = replace(named(stage, "smoke"), causal=start) if stage == "rollout" else named(stage, "smoke")  # type: ignore[call-arg]
        assert load(out / stage / "recipe.json") == expected
    assert not {path.name for path in out.iterdir()} - {*stages, "prompt-filter", "model"}
    assert list((out / "model").glob("*.safetensors"))
    live, trained = read_header(out / "model")["live"], asdict(student_recipe(out, "detail").live)
    assert live == {**trained, "size": list(trained["size"]), "reads_prompt": False}, "run as it was trained"
    weights = {path: path.stat().st_mtime_ns for path in out.glob("*/checkpoints/*/*")}
    assert weights
    again = run("tiny_gpu.sh", tmp_path, teacher, capsys)
    assert all(f"{stage}: step 4 (done)" in again for stage in stages)
    assert {path: path.stat().st_mtime_ns for path in out.glob("*/checkpoints/*/*")} == weights


@pytest.mark.parametrize("script", ["tiny_cpu.sh", "tiny_gpu.sh"])
def test_a_stage_that_fails_ends_the_page(tmp_path: Path, script: str) -> None:
    status, called = commands(script, tmp_path, "", fails="vae-decoder")
    assert status != 0
    assert [arguments[1] for arguments in called] == ["vae", "rollout", "vae-decoder"]


@pytest.mark.parametrize("teacher", ["with", "without"])
def test_the_minutes_on_a_gpu_are_under_an_hour(teacher: str) -> None:
    lines = (ROOT / "runs" / "tiny_gpu.sh").read_text().splitlines()
    begin, otherwise, end = (lines.index(line) for line in ('if [ -n "${TEACHER:-}" ]; then', "else", "fi"))
    left_out = range(otherwise, end) if teacher == "with" else range(begin, otherwise)
    told = [re.match(r"\s*train [\w-]+ (\d+)", line) for at, line in enumerate(lines) if at not in left_out]
    minutes = [int(one[1]) for one in told if one]
    assert len(minutes) == (len(CHAIN) if teacher == "with" else len(BY_ROLLOUTS)) + 1
    assert sum(minutes) < 60
