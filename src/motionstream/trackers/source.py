"""External trackers: their package, their weights and a device, each only if the user has it.

Nothing of them comes with this project, and nothing is downloaded unless the user asks for it.
"""

from __future__ import annotations

import hashlib
import importlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from motionstream.tensor_file import read_tensors


@dataclass(frozen=True)
class Source:
    """Where a tracker is taken from.

    path: a folder with its code (a checkout) or a file of weights, as the tracker needs. download: whether it may be.
    device: auto, cpu, cuda, cuda:1, …
    """

    path: Path | None = None
    download: bool = False
    device: str = "auto"


def chosen_device(name: str) -> torch.device:
    """The device of this name; "auto" is a GPU if there is one. Raises ValueError where it does not exist."""
    try:
        device = torch.device(("cuda" if torch.cuda.is_available() else "cpu") if name == "auto" else name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError, NotImplementedError):
        raise ValueError(f"device {name!r} is not on this machine: use auto, cpu, cuda or cuda:N") from None
    return device


def package(name: str, how: str) -> Any:
    """The module of this dotted name. Raises ValueError saying `how` to install it where it is missing."""
    try:
        return importlib.import_module(name)
    except ImportError as error:
        missing = (error.name or name).partition(".")[0]
        raise ValueError(f"the package {missing} is not installed, or too old: {how}") from None


def load_weights(network: nn.Module, path: Path, tracker: str) -> None:
    """Load a file of weights into a network. Raises ValueError when they are another network's."""
    try:
        network.load_state_dict(read_tensors(path))
    except RuntimeError:
        raise ValueError(f"{path}: not the weights of {tracker}; see docs/trackers.md for the file it needs") from None


def hash_of(network: nn.Module) -> str:
    """Twelve hex digits that identify the weights."""
    digest = hashlib.sha256()
    for name, value in sorted(network.state_dict().items()):
        digest.update(name.encode())
        digest.update(value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()[:12]
