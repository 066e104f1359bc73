"""Names → models: the embedded one, and any folder of weights."""

from __future__ import annotations

from pathlib import Path

import torch

from motionstream.fast.dtype import dtype_for
from motionstream.model_folder import WAN, read_header
from motionstream.stream.model import StreamingModel
from motionstream.tiny.bundle import load_bundle

EMBEDDED = {"tiny": Path(__file__).parent / "tiny" / "weights"}
"""Models that come with the package → their folders."""


def names() -> list[str]:
    """Models that come with the package."""
    return sorted(EMBEDDED)


def embedded(name: str) -> Path:
    """The folder of a model of the package. Raises ValueError with the names there are."""
    if name not in names():
        raise ValueError(
            f"no model named {name!r}: use one of {', '.join(names()) or '(none)'}, or a folder of weights"
        )
    return EMBEDDED[name]


def folder_of(model: str | Path) -> Path:
    """The folder of a model, by name or folder. Raises ValueError with the names there are."""
    named = isinstance(model, str) and model in names()
    return Path(model) if Path(model).is_dir() and not named else embedded(str(model))


def load(model: str | Path, device: str = "auto", dtype: torch.dtype | None = None) -> StreamingModel:
    """A model by name ("tiny") or by folder, ready to open streams.

    device: "auto" takes a GPU if there is one, else the CPU. dtype: of weights and activations, float32 or bfloat16;
    None: bfloat16 on a GPU and on CPUs with instructions for it, else float32. A snapshot needs the same.
    Raises ValueError for an unknown name, device or dtype, and for damaged weights.
    """
    chosen, folder = _device(device), folder_of(model)
    if dtype not in (None, torch.float32, torch.bfloat16):
        raise ValueError(f"dtype {dtype}: use torch.float32, torch.bfloat16, or None for the faster one here")
    dtype = dtype or dtype_for(chosen)
    if read_header(folder)["kind"] == WAN:
        from motionstream.wan.model import load_wan

        return load_wan(folder, chosen, dtype)
    return load_bundle(folder, chosen, dtype)


def _device(name: str) -> torch.device:
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device: torch.device | None = torch.device(name)
    except RuntimeError:
        device = None
    if device is None or device.type not in ("cpu", "cuda"):
        raise ValueError(f"device {name!r}: use auto, cpu, cuda or cuda:N")
    count = torch.cuda.device_count()
    if device.type == "cuda" and (device.index or 0) >= count:
        raise ValueError(f"device {name!r}: this machine has {count} CUDA devices; use auto or cpu")
    return device
