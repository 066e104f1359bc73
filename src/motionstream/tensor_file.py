"""Weights as others publish them, in one file, read whole: safetensors, or PyTorch's own format without running it."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import torch
from torch import Tensor


def read_tensors(path: Path) -> dict[str, Tensor]:
    """The tensors of a file of weights, by name: .safetensors, or PyTorch's own format (.pth, .pt).

    The latter with `weights_only`, which runs no code from the file; a dictionary under "state_dict" or "model" is
    taken out of it. Raises FileNotFoundError, or ValueError when the file holds anything but tensors.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        state: Any = torch.load(path, map_location="cpu", weights_only=True)
    except (SafetensorError, pickle.UnpicklingError, RuntimeError, EOFError, ValueError, KeyError):
        raise ValueError(f"{path}: not a file of weights that can be read; download it again") from None
    for wrapper in ("state_dict", "model"):
        state = state.get(wrapper, state) if isinstance(state, dict) else state
    if not isinstance(state, dict) or not all(isinstance(value, Tensor) for value in state.values()):
        raise ValueError(f"{path}: holds more than weights; send the file that its authors publish")
    return state
