"""The doctor reads the machine right, and its advice follows from what it found."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from motionstream import doctor

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


def findings(**changes: Any) -> dict[str, Any]:
    """A healthy two-core machine without a GPU, with changes."""
    return {
        "machine": MACHINE,
        "instructions": {"fast_bfloat16": ["AMX"], "avx2": True, "avx512": True},
        "free_memory_gib": 12.0,
        "torch": {"cuda": None, "capability": "AVX512"},
        "accelerators": [],
        "packages": dict.fromkeys(doctor.OPTIONAL, "1.0"),
        "programs": {"chromium": True},
        "weights": {"status": "ok", "files": {"dit.safetensors": "ok"}},
        "allocator": "on",
        **changes,
    }


def weights_folder(folder: Path, content: bytes = b"weights") -> Path:
    (folder / "dit.safetensors").write_bytes(content)
    entry = {"sha256": hashlib.sha256(b"weights").hexdigest(), "bytes": 7}
    (folder / "manifest.json").write_text(json.dumps({"files": {"dit.safetensors": entry}}))
    return folder


def test_whole_weights_are_ok(tmp_path: Path) -> None:
    assert doctor.weights(weights_folder(tmp_path)) == {"status": "ok", "files": {"dit.safetensors": "ok"}}


def test_damaged_weights_are_named(tmp_path: Path) -> None:
    found = doctor.weights(weights_folder(tmp_path, b"weightz"))
    assert found == {"status": "damaged", "files": {"dit.safetensors": "another hash"}}
    (tmp_path / "dit.safetensors").unlink()
    assert doctor.weights(tmp_path) == {"status": "damaged", "files": {"dit.safetensors": "missing"}}


@pytest.mark.parametrize("text", ["{", "[]", '{"files": 3}', '{"files": {"a": {}}}'])
def test_a_broken_manifest_is_damage(tmp_path: Path, text: str) -> None:
    (tmp_path / "manifest.json").write_text(text)
    assert doctor.weights(tmp_path)["status"] == "damaged"


def test_no_manifest_is_missing(tmp_path: Path) -> None:
    assert doctor.weights(tmp_path)["status"] == "missing"


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({}, "should stream live here"),
        ({"weights": {"status": "damaged", "files": {"a": "missing"}}}, "embedded weights are damaged"),
        ({"machine": {**MACHINE, "cores": 1}}, "wants two cores"),
        ({"instructions": {"fast_bfloat16": []}}, "no fast bfloat16"),
        ({"accelerators": [{"name": "GPU", "memory_gib": 80.0}]}, "GPU found"),
        ({"packages": {**findings()["packages"], "cv2": None, "fastapi": None}}, "motionstream[data,serve]"),
    ],
)
def test_advice_follows_from_what_was_found(change: dict[str, Any], says: str) -> None:
    assert says in " ".join(doctor.verdicts(findings(**change)))


def test_a_healthy_machine_is_not_told_to_install(capsys: pytest.CaptureFixture[str]) -> None:
    doctor.show(findings())
    said = capsys.readouterr().out
    assert "pip install" not in said
    assert "Some CPU, 2 cores, AMX" in said
    assert "tiny ok" in said


def test_packages_are_found_or_not() -> None:
    assert doctor.installed("cv2")
    assert doctor.installed("no_such_package_at_all") is None


def test_what_it_finds_is_plain_json() -> None:
    found = doctor.examine()
    assert json.loads(json.dumps(found, allow_nan=False)) == found
