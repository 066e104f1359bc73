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

from benchmarks.report.kinds import kind_of
from benchmarks.report.results import read
from motionstream import cli, errors
from motionstream.evaluate.speed import gpu
from motionstream.evaluate.speed.gpu import OPERATIONS, Stage, bench_gpu, fp8_check, kernel_checks, stages
from motionstream.evaluate.speed.untrained import shape_of
from motionstream.fast.kernels import REFERENCE

CPU = torch.device("cpu")
SMALL = shape_of("wan2.1-1.3b", 1, True, (64, 32))


def figures(folder: Path, file: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / file).read_text())
    return found


def test_a_rehearsal_writes_every_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("diffusers")
    arguments = ["bench", "gpu", "--rehearse", "--device", "cpu", "--json-folder", str(tmp_path)]
    assert cli.run([*arguments, "--config", "wan2.1-1.3b"]) == errors.DONE
    files = {f"gpu_{stage}_wan2.1-1.3b.json" for stage in ("step", "checks", "fp8", "compare")}
    assert {file.name for file in tmp_path.iterdir()} == files
    step = figures(tmp_path, "gpu_step_wan2.1-1.3b.json")
    assert {"denoise", "decode", "commit", "ceiling", "fps", "latency_s", "attention", "memory_gib"} <= step.keys()
    assert step["rehearsal"]
    assert step["step"]["share_of_ceiling"] > 0
    assert step["latency_s"] * 1e3 == pytest.approx(step["denoise"]["ms"]["p50"] + step["decode"]["ms"]["p50"])
    assert figures(tmp_path, "gpu_fp8_wan2.1-1.3b.json")["products"] == "fp8"
    checks = figures(tmp_path, "gpu_checks_wan2.1-1.3b.json")
    assert all(checks["kernels"][name]["same"] for name in OPERATIONS)
    assert checks["rollout"]["same"]
    assert checks["rollout"]["difference_float32"] < 1e-4
    assert checks["fp8"]["difference"] > 0
    kinds = {name: kind_of(read(tmp_path / f"gpu_{name}_wan2.1-1.3b.json").figures) for name in ("step", "compare")}
    assert [kind.title for kind in kinds.values() if kind] == ["Chunk step", "Beside Diffusers"]
    assert "gpu_step_wan2.1-1.3b.json" in capsys.readouterr().out


def test_the_larger_size_has_a_step_too() -> None:
    (step,) = (one for one in stages(["wan2.2-5b"], CPU, rehearse=True) if one.name == "step")
    found = step.work()
    assert found["chunk_frames"] == 12
    assert found["decode"]["gflop"] > 0
    assert found["missing"] == []


def test_a_kernel_that_is_wrong_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    from dataclasses import replace

    def does_not_compile(*_: object) -> tuple[torch.Tensor, torch.Tensor]:
        raise ArithmeticError("as Triton would")

    wrong = replace(REFERENCE, bias_gelu=lambda x, bias: torch.relu(x + bias), add_norm_modulate=does_not_compile)
    monkeypatch.setattr(gpu, "ops_for", lambda device: wrong)
    found = kernel_checks(SMALL, CPU)
    assert not found["bias_gelu"]["same"]
    assert found["bias_gelu"]["difference_float32"] > 0.01
    assert found["add_norm_modulate"] == {"same": False, "error": "ArithmeticError: as Triton would"}
    assert found["norm_rope_store"]["same"]
    assert found["norm_rope_store"]["kernel_bfloat16_ms"] > 0


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
        (["gpu", "--json-folder", "x", "--device", "cpu"], "use --rehearse"),
        (["gpu", "--json-folder", "x", "--device", "cpu", "--rehearse", "--config", "wan9"], "use one of"),
        (["gpu", "--json-folder", "x", "--device", "cpu", "--rehearse", "--stage", "lunch"], "use step, checks"),
    ],
)
def test_wrong_requests_are_one_line(arguments: list[str], says: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["bench", *arguments]) == errors.WRONG_INPUT
    assert says in capsys.readouterr().err


def test_the_page_of_commands_is_what_the_program_takes(tmp_path: Path) -> None:
    program = tmp_path / "motionstream"
    program.write_text(f'#!/bin/sh\necho "$@" >> {tmp_path}/said\n')
    program.chmod(0o755)
    given = {
        "MOTIONSTREAM": str(program),
        "PYTHON": str(program),
        "RESULTS": "figures",
        "CONFIGS": "wan2.1-1.3b",
        "REHEARSE": "1",
    }
    script = Path(__file__).parents[3] / "runs" / "bench_gpu.sh"
    subprocess.run(["bash", str(script)], env={**os.environ, **given, "SELF_FORCING": "theirs"}, check=True, timeout=60)
    first, second, third = (tmp_path / "said").read_text().splitlines()
    predicted = "-m benchmarks.speed.predict --results figures --json figures/gpu_predicted.json"
    assert first == predicted
    assert third == f"{predicted} --markdown figures/gpu_predicted.md"
    assert second == (
        "bench gpu --config wan2.1-1.3b --json-folder figures --self-forcing theirs --rehearse --device cpu"
    )
