"""Published weight files, read without running code that is in them: safetensors, or PyTorch's own format."""

from __future__ import annotations

import pickle
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor


def read_tensors(path: Path) -> dict[str, Tensor]:
    """The tensors of a file of weights, by name: .safetensors, or PyTorch's own format (.pth, .pt).

    Of the latter a dictionary under "state_dict" or "model" is taken. Raises FileNotFoundError, or ValueError when the
    file holds anything but tensors.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    if path.suffix != ".safetensors":
        return read_torch(path, ("state_dict", "model"))[1]
    try:
        return load_file(path)
    except SafetensorError:
        raise ValueError(f"{path}: not a file of weights that can be read; download it again") from None


def read_torch(path: Path, wrappers: Sequence[str], mmap: bool = False) -> tuple[str, dict[str, Tensor]]:
    """Which of `wrappers` a .pt or .pth has as a key ("" if none), and the tensors by name that are under it.

    mmap: map them from the file; PyTorch's format from before 1.6 cannot be. Raises FileNotFoundError, or ValueError
    when the file holds anything else.
    """
    try:
        loaded: Any = torch.load(path, map_location="cpu", mmap=mmap, weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError, KeyError) as error:
        reason = " ".join(str(error).split())[:200]
        raise ValueError(
            f"{path} cannot be read without running code that is in it, or is damaged: {reason}; download it again"
        ) from None
    wrapper = next((key for key in wrappers if isinstance(loaded, dict) and key in loaded), "")
    tensors = loaded[wrapper] if wrapper else loaded
    if not isinstance(tensors, dict) or not all(isinstance(value, Tensor) for value in tensors.values()):
        raise ValueError(
            f"{path} holds more than weights, or no weights by name, by themselves or as {' or '.join(wrappers)}: "
            "send the file that its authors publish"
        )
    return wrapper, tensors
