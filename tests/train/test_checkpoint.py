"""Checkpoints: what is damaged is never loaded, what is sound is never lost."""

from __future__ import annotations

import json
import logging
import resource
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
from torch import Tensor

from motionstream.train import checkpoint as module
from motionstream.train.checkpoint import CheckpointError, Checkpoints, load, newest_weights, verify


def weights(step: int, size: int = 5) -> dict[str, dict[str, Tensor]]:
    return {"net": {"average.w": torch.full((size, 2), float(step)), "updates": torch.tensor(step)}}


def saved(folder: Path, *steps: int, keep: int = 3) -> Checkpoints:
    checkpoints = Checkpoints(folder / "checkpoints", keep)
    for step in steps:
        assert checkpoints.save(step, weights(step), {"position": step, "rng": torch.arange(step)}, "hash")
    return checkpoints


def test_comes_back_as_it_was(tmp_path: Path) -> None:
    found = saved(tmp_path, 1, 2).newest()
    assert found is not None
    assert (found.step, found.recipe_hash, found.state["position"]) == (2, "hash", 2)
    assert torch.equal(found.state["rng"], torch.arange(2))
    assert torch.equal(found.weights["net"]["average.w"], weights(2)["net"]["average.w"])


def test_nothing_saved_is_none(tmp_path: Path) -> None:
    assert Checkpoints(tmp_path / "none").newest() is None


def test_keeps_the_last(tmp_path: Path) -> None:
    checkpoints = saved(tmp_path, 1, 5, 7, 100, keep=2)
    assert checkpoints.steps() == [7, 100]
    assert sorted(path.name for path in checkpoints.folder.iterdir()) == ["step-000000007", "step-000000100"]


def damages(folder: Path) -> Iterator[str]:
    """Every way to damage the checkpoint of step 2, one at a time; the caller restores it between them."""
    newest = folder / "step-000000002"
    names = sorted(path.name for path in newest.iterdir())
    for name in names:
        whole = (newest / name).read_bytes()
        for length in range(0, len(whole), max(1, len(whole) // 10)):
            (newest / name).write_bytes(whole[:length])
            yield f"{name} cut to {length}"
        for position in range(0, len(whole), max(1, len(whole) // 40)):
            flipped = bytearray(whole)
            flipped[position] ^= 1
            (newest / name).write_bytes(flipped)
            yield f"{name} flipped at {position}"
        (newest / name).unlink()
        yield f"{name} deleted"
        shutil.copy(folder / "step-000000001" / name, newest / name)
        yield f"{name} of step 1"
    for path in newest.iterdir():
        path.unlink()
    yield "empty"


def test_every_damage_is_noticed_and_set_aside(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    checkpoints = saved(tmp_path, 1, 2)
    newest, spare = checkpoints.path(2), tmp_path / "spare"
    shutil.copytree(newest, spare)
    count = 0
    for damage in damages(checkpoints.folder):
        if (newest / "manifest.json").exists() and _same_content(newest, spare):
            continue  # only white space of the manifest changed
        caplog.clear()
        found = checkpoints.newest()
        assert found is not None, damage
        assert found.step == 1, damage
        assert len(caplog.records) == 1, damage
        aside = newest.with_name(newest.name + ".bad")
        assert aside.exists(), damage
        shutil.rmtree(aside)
        shutil.copytree(spare, newest)
        count += 1
    assert count >= 200


def _same_content(a: Path, b: Path) -> bool:
    try:
        manifests = [json.loads((folder / "manifest.json").read_bytes()) for folder in (a, b)]
    except ValueError:
        return False
    others = [{p.name: p.read_bytes() for p in folder.iterdir() if p.name != "manifest.json"} for folder in (a, b)]
    return manifests[0] == manifests[1] and others[0] == others[1]


def test_two_damaged_under_one_name_are_both_kept(tmp_path: Path) -> None:
    checkpoints = saved(tmp_path, 1)
    for _ in range(2):
        saved(tmp_path, 2)
        (checkpoints.path(2) / "net.safetensors").unlink()
        found = checkpoints.newest()
        assert found is not None
        assert found.step == 1
    assert len(list(checkpoints.folder.glob("*.bad"))) == 2


def test_all_damaged_is_none_and_loses_no_file(tmp_path: Path) -> None:
    checkpoints = saved(tmp_path, 1, 2)
    for step in (1, 2):
        (checkpoints.path(step) / "state.json").write_text("{}")
    assert checkpoints.newest() is None
    assert len(list(checkpoints.folder.glob("*.bad"))) == 2


def test_another_format_is_refused_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    checkpoints = saved(tmp_path, 1)
    monkeypatch.setattr(module, "FORMAT", 2)
    with pytest.raises(CheckpointError, match="format 1, this program reads 2"):
        load(checkpoints.path(1))


def test_saving_over_a_torn_step_replaces_it(tmp_path: Path) -> None:
    checkpoints = saved(tmp_path, 1, 2)
    (checkpoints.path(2) / "net.safetensors").write_bytes(b"torn")
    saved(tmp_path, 2)
    assert verify(checkpoints.path(2))["step"] == 2
    assert checkpoints.path(2).with_name("step-000000002.bad").exists()


@contextmanager
def disk_that_takes(size: int) -> Iterator[None]:
    """No file may grow over `size` bytes: writes fail in the system, as on a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize("fits", [50, 2_000])
def test_full_disk_is_a_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture, fits: int) -> None:
    """fits 50: no file is taken; 2 000: the manifest and state are, the weights are not."""
    checkpoints = saved(tmp_path, 1, 2, keep=2)
    with disk_that_takes(fits):
        assert not checkpoints.save(3, weights(3, 10_000), {}, "hash")
    assert len(caplog.records) == 1
    assert "training goes on" in caplog.text
    assert checkpoints.steps() == [1, 2]
    assert not list(checkpoints.folder.glob(".*"))
    assert checkpoints.save(4, weights(4), {}, "hash")
    assert checkpoints.steps() == [2, 4]


def test_never_without_a_valid_one(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    checkpoints = saved(tmp_path, 1, keep=1)
    caplog.set_level(logging.ERROR)
    done, looks, bare = threading.Event(), 0, 0
    while_saving = threading.Thread(target=lambda: (saved(tmp_path, *range(2, 60), keep=1), done.set()))
    while_saving.start()
    while not done.is_set():
        looks += 1
        bare += not any(_any_valid(checkpoints) for _ in range(3))  # a look may list one that is dropped meanwhile
    while_saving.join()
    assert bare == 0
    assert looks > 20


def _any_valid(checkpoints: Checkpoints) -> bool:
    for step in reversed(checkpoints.steps()):
        try:
            verify(checkpoints.path(step))
        except CheckpointError:
            continue
        return True
    return False


def test_weights_of_a_run_for_the_next_stage(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    checkpoints = saved(tmp_path, 1, 2)
    (checkpoints.path(2) / "state.json").write_text("torn")
    found = newest_weights(tmp_path, "net", under="average")
    assert list(found) == ["w"]
    assert torch.equal(found["w"], torch.full((5, 2), 1.0))
    assert checkpoints.path(2).exists(), "only looking: the run may be going on"
    assert "damaged" in caplog.text


def test_weights_that_are_not_there(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="train that stage first"):
        newest_weights(tmp_path, "net")
    saved(tmp_path, 1)
    with pytest.raises(ValueError, match="no module 'ema'; it has net"):
        newest_weights(tmp_path, "ema")


def test_clean_removes_what_a_killed_save_left(tmp_path: Path) -> None:
    checkpoints = saved(tmp_path, 1)
    for name in (".saving-step-000000002", ".dropped-step-000000000"):
        (checkpoints.folder / name).mkdir()
    checkpoints.clean()
    assert [path.name for path in checkpoints.folder.iterdir()] == ["step-000000001"]


def test_must_keep_one(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="at least 1"):
        Checkpoints(tmp_path, keep=0)
