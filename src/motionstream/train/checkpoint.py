"""Checkpoints that survive kill −9, full disks and damaged files; safetensors and JSON only.

A checkpoint is a folder `step-000001234/`, written under another name, flushed to disk and put in place by one rename:

    <module>.safetensors   weights of each module, loadable by themselves
    state.json, state.safetensors   optimisers, random generators, data position (`serialise`)
    manifest.json          step, format, recipe hash; size and SHA-256 of every file, and of itself

At resume the newest one whose every byte agrees with its manifest is taken; damaged ones are set aside as `*.bad`,
never deleted.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from motionstream.train.serialise import Tree, pack, portable, unpack

FORMAT = 1
MANIFEST = "manifest.json"
_STATE = "state"
_log = logging.getLogger(__name__)


class CheckpointError(ValueError):
    """A checkpoint's files do not agree with its manifest."""


@dataclass(frozen=True)
class Checkpoint:
    """A restored checkpoint. weights: module → tensor name → tensor, on the CPU; state: as given to `save`."""

    step: int
    recipe_hash: str
    weights: dict[str, dict[str, Tensor]]
    state: dict[str, Any]


class Checkpoints:
    """The checkpoints of one run, in one folder; the last `keep` stay."""

    def __init__(self, folder: Path, keep: int = 2) -> None:
        if keep < 1:
            raise ValueError(f"keep = {keep}: at least 1 checkpoint must stay")
        self.folder, self.keep = folder, keep

    def steps(self) -> list[int]:
        """Steps of the checkpoints in place, ascending; unchecked."""
        names = (path.name.removeprefix("step-") for path in self.folder.glob("step-*") if path.is_dir())
        return sorted(int(name) for name in names if name.isdigit())

    def path(self, step: int) -> Path:
        return self.folder / f"step-{step:09d}"

    def save(
        self, step: int, weights: Mapping[str, Mapping[str, Tensor]], state: Mapping[str, Tree], recipe_hash: str
    ) -> bool:
        """Save a checkpoint and drop the oldest. False, with a warning, if the disk did not take it."""
        try:
            self._write_in_place(step, weights, state, recipe_hash)
        except OSError as error:
            _log.warning("checkpoint of step %d could not be saved (%s): training goes on", step, error)
            return False
        self._prune()
        return True

    def newest(self) -> Checkpoint | None:
        """The newest valid checkpoint, or None. Damaged ones met on the way are set aside with a warning."""
        for step in reversed(self.steps()):
            try:
                return load(self.path(step))
            except CheckpointError as damage:
                aside = self._set_aside(step)
                _log.warning("%s: kept as %s, taking the one before it", damage, aside.name)
        return None

    def clean(self) -> None:
        """Remove what a killed save left behind. Only while no other process saves here."""
        for path in self.folder.glob(".*-step-*"):
            shutil.rmtree(path, ignore_errors=True)

    def _write_in_place(
        self, step: int, weights: Mapping[str, Mapping[str, Tensor]], state: Mapping[str, Tree], recipe_hash: str
    ) -> None:
        final = self.path(step)
        if final.exists():
            try:
                verify(final)
                return
            except CheckpointError:
                self._set_aside(step)
        draft = self.folder / f".saving-{final.name}"
        try:
            shutil.rmtree(draft, ignore_errors=True)
            draft.mkdir(parents=True)
            write(draft, step, weights, state, recipe_hash)
            draft.rename(final)
            _flush(self.folder)
        except BaseException:
            shutil.rmtree(draft, ignore_errors=True)
            raise

    def _prune(self) -> None:
        for step in self.steps()[: -self.keep]:
            dropped = self.folder / f".dropped-{self.path(step).name}"
            try:
                self.path(step).rename(dropped)
                shutil.rmtree(dropped)
            except OSError as error:
                _log.warning("old checkpoint of step %d could not be removed (%s)", step, error)

    def _set_aside(self, step: int) -> Path:
        path = self.path(step)
        aside = path.with_name(path.name + ".bad")
        number = 1
        while aside.exists():
            number += 1
            aside = path.with_name(f"{path.name}.{number}.bad")
        return path.rename(aside)


def write(
    folder: Path, step: int, weights: Mapping[str, Mapping[str, Tensor]], state: Mapping[str, Tree], recipe_hash: str
) -> None:
    """Write and flush one checkpoint's files into an empty folder."""
    for name, tensors in weights.items():
        if name == _STATE:
            raise ValueError("a module may not be called 'state': that file holds the optimisers")
        _save_tensors(folder / f"{name}.safetensors", {key: portable(value) for key, value in tensors.items()})
    packed, tensors = pack(dict(state))
    _save_tensors(folder / f"{_STATE}.safetensors", tensors)
    _save_text(folder / f"{_STATE}.json", json.dumps(packed))
    files = {path.name: _fingerprint(path) for path in sorted(folder.iterdir())}
    content = {"format": FORMAT, "step": step, "recipe_hash": recipe_hash, "files": files}
    manifest = {"content": content, "sha256": _digest(content)}
    _save_text(folder / MANIFEST, json.dumps(manifest, indent=1))
    _flush(folder)


def load(folder: Path) -> Checkpoint:
    """Read one checkpoint after checking every byte. Raises CheckpointError, naming the file."""
    content = verify(folder)
    try:
        names = [Path(name).stem for name in content["files"] if name.endswith(".safetensors")]
        weights = {name: load_file(folder / f"{name}.safetensors") for name in names}
        packed = json.loads((folder / f"{_STATE}.json").read_text())
        state = unpack(packed, weights.pop(_STATE))
    except (OSError, ValueError, KeyError, SafetensorError) as error:
        raise CheckpointError(f"checkpoint {folder}: {error}") from error
    return Checkpoint(content["step"], content["recipe_hash"], weights, state)


def verify(folder: Path) -> dict[str, Any]:
    """The manifest's content, once every file is present, of its size and of its hash."""
    try:
        manifest = json.loads((folder / MANIFEST).read_bytes())
        content, digest = manifest["content"], manifest["sha256"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CheckpointError(f"checkpoint {folder}: {MANIFEST} cannot be read ({error})") from error
    if digest != _digest(content):
        raise CheckpointError(f"checkpoint {folder}: {MANIFEST} was altered")
    if content["format"] != FORMAT:
        raise CheckpointError(f"checkpoint {folder}: format {content['format']}, this program reads {FORMAT}")
    for name, fingerprint in content["files"].items():
        if _fingerprint(folder / name) != fingerprint:
            raise CheckpointError(f"checkpoint {folder}: {name} is missing or damaged")
    return dict(content)


def newest_weights(run_dir: Path, module: str, under: str = "") -> dict[str, Tensor]:
    """Weights of one module from the newest valid checkpoint of a run. Raises ValueError if there are none.

    run_dir: the stage's folder, as in `<out>/teacher`. under: take only what is below that name, which is cut off
    ("average" for an `ema.EMA`). Changes nothing on disk, so a run may still be going on there.
    """
    start = f"{under}." if under else ""
    tensors = _newest_file(Checkpoints(run_dir / "checkpoints"), module)
    return {key.removeprefix(start): value for key, value in tensors.items() if key.startswith(start)}


def _newest_file(checkpoints: Checkpoints, module: str) -> dict[str, Tensor]:
    for step in reversed(checkpoints.steps()):
        try:
            return _module_file(checkpoints.path(step), module)
        except (CheckpointError, FileNotFoundError) as error:
            if not checkpoints.path(step).exists():  # dropped while it was read by a run that goes on: look again
                return _newest_file(checkpoints, module)
            _log.warning("%s: taking the one before it", error)
    raise ValueError(f"{checkpoints.folder.parent} holds no finished checkpoint: train that stage first")


def _module_file(folder: Path, module: str) -> dict[str, Tensor]:
    files = verify(folder)["files"]
    if f"{module}.safetensors" not in files:
        names = [Path(name).stem for name in files if name.endswith(".safetensors")]
        present = ", ".join(name for name in names if name != _STATE)
        raise ValueError(f"{folder} has no module {module!r}; it has {present}")
    return load_file(folder / f"{module}.safetensors")


def _digest(content: Any) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _fingerprint(path: Path) -> dict[str, Any] | None:
    """Size and hash of a file; None if it is not there, or goes while it is read."""
    try:
        with path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            return {"bytes": size, "sha256": hashlib.file_digest(file, "sha256").hexdigest()}
    except OSError:
        return None


def _save_tensors(path: Path, tensors: dict[str, Tensor]) -> None:
    try:
        save_file(tensors, path)
    except SafetensorError as error:  # it reports a full disk as its own error
        raise OSError(str(error)) from error
    path.chmod(0o644)  # safetensors makes files only their owner can read
    _flush(path)


def _save_text(path: Path, text: str) -> None:
    path.write_text(text)
    _flush(path)


def _flush(path: Path) -> None:
    """Wait until a file or folder is on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
