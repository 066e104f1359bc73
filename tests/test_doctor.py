"""The doctor reads the machine right, and its advice follows from what it found."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
from tests.stream.small_bundle import save_small

from motionstream import doctor
from motionstream.zoo import bundle

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
        "weights": {"status": "ok", "files": {"network.safetensors": "ok"}},
        "allocator": "on",
        **changes,
    }


NAMES = (bundle.NETWORK, bundle.VAE)


def model_folder(folder: Path) -> Path:
    """A header and files that have the hashes it names."""
    for name in NAMES:
        (folder / name).write_bytes(name.encode())
    hashes = {name: hashlib.sha256(name.encode()).hexdigest() for name in NAMES}
    header = {"format": bundle.FORMAT, "name": "tiny", "sha256": hashes}
    (folder / bundle.HEADER).write_text(json.dumps(header), encoding="utf-8")
    return folder


def test_whole_weights_are_ok(tmp_path: Path) -> None:
    assert doctor.weights(model_folder(tmp_path)) == {"status": "ok", "files": dict.fromkeys(NAMES, "ok")}


def test_damaged_weights_are_named(tmp_path: Path) -> None:
    file = model_folder(tmp_path) / bundle.VAE
    file.write_bytes(b"other weights")
    assert doctor.weights(tmp_path) == {
        "status": "damaged",
        "files": {bundle.NETWORK: "ok", bundle.VAE: "another hash"},
    }
    file.unlink()
    assert doctor.weights(tmp_path) == {"status": "damaged", "files": {bundle.NETWORK: "ok", bundle.VAE: "missing"}}


@pytest.mark.parametrize("text", ["{", "[]", '{"format": 1}', '{"format": 1, "name": "tiny", "sha256": {"a": "b"}}'])
def test_a_broken_header_is_damage(tmp_path: Path, text: str) -> None:
    (model_folder(tmp_path) / bundle.HEADER).write_text(text, encoding="utf-8")
    assert doctor.weights(tmp_path) == {"status": "damaged", "files": {bundle.HEADER: "not readable"}}


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
