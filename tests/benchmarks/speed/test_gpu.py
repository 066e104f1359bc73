"""The one command for a GPU, rehearsed on a CPU: every stage goes its way, and none takes another down with it."""

from __future__ import annotations

import json
import math
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest
import torch

from benchmarks.speed import gpu
from benchmarks.speed.cli import app
from benchmarks.speed.gpu import Stage, bench_gpu, fp8_check, stages
from benchmarks.speed.untrained import shape_of

CPU = torch.device("cpu")
SMALL = shape_of("wan2.1-1.3b", 1, True, (64, 32))


def figures(folder: Path, file: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / file).read_text())
    return found


def test_a_rehearsal_writes_every_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("diffusers")
    arguments = ["gpu", "--rehearse", "--device", "cpu", "--json-folder", str(tmp_path)]
    app([*arguments, "--config", "wan2.1-1.3b"], standalone_mode=False)
    files = {f"gpu_{stage}_wan2.1-1.3b.json" for stage in ("step", "checks", "fp8", "compare")}
    assert {file.name for file in tmp_path.iterdir()} == files
    step = figures(tmp_path, "gpu_step_wan2.1-1.3b.json")
    assert {"denoise", "decode", "commit", "ceiling", "fps", "latency_s", "attention", "memory_gib"} <= step.keys()
    assert step["rehearsal"]
    assert step["step"]["share_of_ceiling"] > 0
    assert step["latency_s"] * 1e3 == pytest.approx(step["denoise"]["ms"]["p50"] + step["decode"]["ms"]["p50"])
    assert figures(tmp_path, "gpu_fp8_wan2.1-1.3b.json")["products"] == "fp8"
    checks = figures(tmp_path, "gpu_checks_wan2.1-1.3b.json")
    assert checks["rollout"]["same"]
    assert checks["rollout"]["difference_float32"] < 1e-4
    assert checks["fp8"]["difference"] > 0
    assert "gpu_step_wan2.1-1.3b.json" in capsys.readouterr().out


def test_the_larger_size_has_a_step_too() -> None:
    (step,) = (one for one in stages(["wan2.2-5b"], CPU, rehearse=True) if one.name == "step")
    found = step.work()
    assert found["chunk_frames"] == 12
    assert found["decode"]["gflop"] > 0
    assert found["missing"] == []


def test_fp8_says_what_it_costs_and_whether_that_passes(monkeypatch: pytest.MonkeyPatch) -> None:
    found = fp8_check(SMALL, CPU)
    assert 0 < found["difference"] < 1
    assert found["products"] >= 6
    assert found["by"] == "simulation"
    assert found["passed"] == (found["difference"] <= found["limit"])
    monkeypatch.setattr(gpu, "LIMIT", found["difference"] / 2)
    assert not fp8_check(SMALL, CPU)["passed"]


def test_a_stage_that_fails_or_comes_too_late_is_named_and_the_others_run() -> None:
    def fails() -> dict[str, Any]:
        raise torch.OutOfMemoryError("no room\nfor details")

    planned = [
        Stage("step", "a", lambda: {"fps": 1.0}),
        Stage("checks", "a", fails),
        Stage("fp8", "a", fails, missing="no fp8 here"),
        Stage("compare", "a", lambda: {"ratio": 2.0}),
    ]
    written: dict[str, dict[str, Any]] = {}
    outcome = bench_gpu(planned, written.__setitem__)
    assert outcome.failed == {"gpu_checks_a.json": "OutOfMemoryError: no room"}
    assert outcome.missing == {"gpu_fp8_a.json": "no fp8 here"}
    assert written == outcome.written
    assert list(written) == ["gpu_step_a.json", "gpu_compare_a.json"]
    assert written["gpu_compare_a.json"]["ratio"] == 2.0
    late = bench_gpu(planned[:1], written.__setitem__, limit_s=-math.inf)
    assert "--stage step" in late.missing["gpu_step_a.json"]
    assert not late.written


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--device", "cpu"], "use --rehearse"),
        (["--device", "cpu", "--rehearse", "--config", "wan9"], "use one of"),
        (["--device", "cpu", "--rehearse", "--stage", "lunch"], "use step, checks"),
    ],
)
def test_wrong_requests_say_what_is_right(arguments: list[str], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        app(["gpu", "--json-folder", "x", *arguments], standalone_mode=False)


def test_the_page_of_commands_is_what_the_programs_take(tmp_path: Path) -> None:
    program = tmp_path / "python"
    program.write_text(f'#!/bin/sh\necho "$@" >> {tmp_path}/said\n')
    program.chmod(0o755)
    given = {"PYTHON": str(program), "RESULTS": "figures", "CONFIGS": "wan2.1-1.3b", "REHEARSE": "1"}
    script = Path(__file__).parents[3] / "runs" / "bench_gpu.sh"
    subprocess.run(["bash", str(script)], env={**os.environ, **given}, check=True, timeout=60)
    predicted = "-m benchmarks predict --results figures --json figures/gpu_predicted.json"
    assert (tmp_path / "said").read_text().splitlines() == [
        predicted,
        "-m pytest -q tests/fast/test_kernels.py",
        "-m benchmarks speed gpu --config wan2.1-1.3b --json-folder figures --rehearse --device cpu",
        f"{predicted} --markdown figures/gpu_predicted.md",
    ]
