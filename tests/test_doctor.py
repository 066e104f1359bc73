"""The doctor reads the machine right, and its advice follows from what it found."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
from tests.stream.small_bundle import save_small

from motionstream import cli, doctor, errors
from motionstream import model_folder as described

MACHINE = {
    "processor": "Some CPU",
    "cores": 2,
    "memory_gib": 16.0,
    "gpu": "none",
    "torch": "2.13.0",
    "threads": 2,
    "python": "3.11.1",
    "system": "Linux x86_64",
}


def gpu(memory_gib: float, fp8: bool = True) -> dict[str, Any]:
    return {"name": "GPU", "memory_gib": memory_gib, "capability": "9.0", "fp8": fp8, "attention": "cudnn"}


def findings(**changes: Any) -> dict[str, Any]:
    """A healthy two-core machine without a GPU, with changes."""
    return {
        "machine": MACHINE,
        "fast_bfloat16": ["AMX"],
        "free_memory_gib": 12.0,
        "torch": {"cuda": None, "capability": "AVX512"},
        "accelerators": [],
        "packages": dict.fromkeys(doctor.OPTIONAL, "1.0"),
        "weights": {"status": "ok", "files": {"network.safetensors": "ok"}},
        **changes,
    }


NAMES = (described.FILES["network"], described.FILES["vae"])


def model_folder(folder: Path) -> Path:
    """A header and files that have the hashes it names."""
    for name in NAMES:
        (folder / name).write_bytes(name.encode())
    hashes = {name: hashlib.sha256(name.encode()).hexdigest() for name in NAMES}
    header = {"format": described.FORMAT, "name": "tiny", "sha256": hashes}
    (folder / described.HEADER).write_text(json.dumps(header), encoding="utf-8")
    return folder


def test_whole_weights_are_ok(tmp_path: Path) -> None:
    assert doctor.weights(model_folder(tmp_path)) == {"status": "ok", "files": dict.fromkeys(NAMES, "ok")}


def test_damaged_weights_are_named(tmp_path: Path) -> None:
    file = model_folder(tmp_path) / described.FILES["vae"]
    file.write_bytes(b"other weights")
    assert doctor.weights(tmp_path) == {
        "status": "damaged",
        "files": {described.FILES["network"]: "ok", described.FILES["vae"]: "another hash"},
    }
    file.unlink()
    assert doctor.weights(tmp_path) == {
        "status": "damaged",
        "files": {described.FILES["network"]: "ok", described.FILES["vae"]: "missing"},
    }


@pytest.mark.parametrize("text", ["{", "[]", '{"format": 1}', '{"format": 1, "name": "tiny", "sha256": {"a": "b"}}'])
def test_a_broken_header_is_damage(tmp_path: Path, text: str) -> None:
    (model_folder(tmp_path) / described.HEADER).write_text(text, encoding="utf-8")
    assert doctor.weights(tmp_path) == {"status": "damaged", "files": {described.HEADER: "not readable"}}


def test_a_model_as_it_is_saved_is_ok(tmp_path: Path) -> None:
    assert doctor.weights(save_small(tmp_path))["status"] == "ok"


def test_no_header_is_missing(tmp_path: Path) -> None:
    assert doctor.weights(tmp_path) == {"status": "missing", "files": {}}


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({}, "should stream live here"),
        ({"weights": {"status": "damaged", "files": {"a": "missing"}}}, "embedded weights are damaged"),
        ({"machine": {**MACHINE, "cores": 1}}, "wants two cores"),
        ({"fast_bfloat16": []}, "no fast bfloat16"),
        ({"accelerators": [gpu(80.0)]}, "GPU found"),
        ({"accelerators": [gpu(80.0)]}, "wan2.1-1.3b in 80 GiB: fits with the full decoder"),
        ({"accelerators": [gpu(10.0), gpu(16.0)]}, "wan2.2-5b in 16 GiB: fits with the tiny decoder, encoders on"),
        ({"accelerators": [gpu(2.0)]}, "wan2.1-1.3b in 2 GiB: does not fit"),
        ({"packages": {**findings()["packages"], "cv2": None, "fastapi": None}}, "motionstream[data,serve]"),
    ],
)
def test_advice_follows_from_what_was_found(change: dict[str, Any], says: str) -> None:
    assert says in " ".join(doctor.advice(findings(**change)))


def test_a_healthy_machine_is_not_told_to_install(capsys: pytest.CaptureFixture[str]) -> None:
    doctor.show(findings())
    said = capsys.readouterr().out
    assert "pip install" not in said
    assert "Some CPU, 2 cores, AMX" in said
    assert "tiny ok" in said


def test_a_gpu_is_shown_with_what_it_can(capsys: pytest.CaptureFixture[str]) -> None:
    doctor.show(findings(accelerators=[gpu(24.0, fp8=False)]))
    said = " ".join(capsys.readouterr().out.split())
    assert "GPU, 24 GiB, capability 9.0, no fp8, cudnn attention" in said


def test_a_gpu_without_fp8_is_not_told_to_use_it() -> None:
    with_fp8, without = (" ".join(doctor.advice(findings(accelerators=[gpu(8.0, fp8)]))) for fp8 in (True, False))
    assert "fp8" in with_fp8
    assert "fp8" not in without


def planned(folder: Path, *arguments: str) -> list[dict[str, Any]]:
    """Of `motionstream doctor --plan wan2.1-1.3b`."""
    file = folder / "plans.json"
    assert cli.run(["doctor", "--plan", "wan2.1-1.3b", *arguments, "--json", str(file)]) == errors.DONE
    found: list[dict[str, Any]] = json.loads(file.read_text())["plans"]
    return found


def test_where_there_is_no_gpu_usual_memories_are_planned(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(doctor, "accelerators", list)
    assert [plan["memory_gib"] for plan in planned(tmp_path)] == [24, 16, 12, 8]
    assert [plan["memory_gib"] for plan in planned(tmp_path, "--memory", "6")] == [6]


def test_the_machines_own_gpu_is_planned_where_there_is_one(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(doctor, "accelerators", lambda: [gpu(6.0), gpu(8.0, fp8=False)])
    (plan,) = planned(tmp_path)
    assert plan["memory_gib"] == 8
    assert plan["fp8"]


def test_fp8_is_not_planned_for_a_gpu_that_is_here_and_cannot(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(doctor, "accelerators", lambda: [gpu(8.0, fp8=False)])
    (plan,) = planned(tmp_path)
    assert not plan["fp8"]
    (elsewhere,) = planned(tmp_path, "--memory", "8")
    assert elsewhere["fp8"]
    (asked,) = planned(tmp_path, "--fp8")
    assert asked["fp8"]


def test_plans_are_shown_part_by_part(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    planned(tmp_path, "--memory", "24")
    said = capsys.readouterr().out
    for part in ("wan2.1-1.3b on a GPU", "24 GiB", "DiT weights", "text encoder", "10.58 GiB", "sessions that fit"):
        assert part in said
    assert "→ wan2.1-1.3b in 24 GiB: fits" in said


def test_packages_are_found_or_not() -> None:
    assert doctor.installed("cv2")
    assert doctor.installed("no_such_package_at_all") is None


def test_what_it_finds_is_plain_json() -> None:
    found = doctor.examine()
    assert json.loads(json.dumps(found, allow_nan=False)) == found
