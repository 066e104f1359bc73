"""Names → models: the embedded one, and any folder of weights."""

from __future__ import annotations

from pathlib import Path

import torch

from motionstream.products import fastest_dtype
from motionstream.stream.model import StreamingModel
from motionstream.zoo.bundle import load_bundle, save_bundle, stored_parts
from motionstream.zoo.header import HEADER, WAN, Live, read_header

__all__ = [
    "HEADER",
    "Live",
    "embedded",
    "folder_of",
    "load",
    "load_bundle",
    "names",
    "read_header",
    "save_bundle",
    "stored_parts",
]

_HERE = Path(__file__).parent


def names() -> list[str]:
    """Models that come with the package."""
    return sorted(path.parent.name for path in _HERE.glob(f"*/{HEADER}"))


def embedded(name: str) -> Path:
    """The folder of a model of the package. Raises ValueError with the names there are."""
    if name not in names():
        raise ValueError(
            f"no model named {name!r}: use one of {', '.join(names()) or '(none)'}, or a folder of weights"
        )
    return _HERE / name


def folder_of(model: str | Path) -> Path:
    """Where a model lies, by name or folder. Raises ValueError with the names there are."""
    named = isinstance(model, str) and model in names()
    return Path(model) if Path(model).is_dir() and not named else embedded(str(model))


def load(model: str | Path, device: str = "auto") -> StreamingModel:
    """A model by name ("tiny") or by folder, ready to open streams.

    device: "auto" takes a GPU if there is one, else the CPU. Weights run in bfloat16 on a GPU, and on a CPU in what
    is faster there, measured. Raises ValueError for an unknown name or device, and for damaged weights.
    """
    chosen, folder = _device(device), folder_of(model)
    if read_header(folder)["kind"] == WAN:
        from motionstream.zoo.wan import load_wan

        return load_wan(folder, chosen, fastest_dtype(chosen))
    return load_bundle(folder, chosen, fastest_dtype(chosen))


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
