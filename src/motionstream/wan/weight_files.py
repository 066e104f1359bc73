"""Weight files: tensors read and written one at a time, so that no whole model has to fit into main memory.

Files and folders of safetensors, memory-mapped; nothing is unpickled. The exception is a published .pt or .pth: it is
read with `weights_only`, which runs no code, and never written.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from motionstream.tensor_file import read_torch

INDEX = ".safetensors.index.json"
STEM = "network"
"""Files are named network.safetensors, or network-00001-of-00002.safetensors, …"""
LIMIT = 5_000_000_000
"""Bytes of tensors in one file."""

STUDENTS = ("generator_ema", "generator")
"""Keys of the student in a .pt of Self-Forcing and its successors; the averaged one first."""
_DTYPES = {torch.float64: "F64", torch.float32: "F32", torch.float16: "F16", torch.bfloat16: "BF16"}
_PREFIXES = ("model.diffusion_model.", "model.")
_WRAPPERS = ("_fsdp_wrapped_module.", "_checkpoint_wrapped_module.")

Shapes = Mapping[str, tuple[int, ...]]


@dataclass(frozen=True)
class WeightFiles:
    """Tensors by name, in one or several files.

    path: as it was given. shapes: of all tensors. read: gives one of them, mapped from its file (copy it, then drop
    it). student: of a .pt with several networks, the key of the one that is read.
    """

    path: Path
    files: tuple[Path, ...]
    shapes: Shapes
    read: Callable[[str], Tensor]
    student: str = ""

    def renamed(self, rename: Callable[[str], str]) -> WeightFiles:
        """The same tensors under other names. Raises ValueError if two get the same one."""
        old_names: dict[str, str] = {}
        for old in self.shapes:
            new = rename(old)
            if old_names.setdefault(new, old) != old:
                raise ValueError(f"{self.path}: {old} and {old_names[new]} are both {new}: keep one")
        shapes = {new: self.shapes[old] for new, old in old_names.items()}
        return replace(self, shapes=shapes, read=lambda name: self.read(old_names[name]))

    def without_prefixes(self) -> WeightFiles:
        """Without the prefixes of wrapping modules and containers ("model.", …)."""

        def unwrapped(name: str) -> str:
            for wrapper in _WRAPPERS:
                name = name.replace(wrapper, "")
            return name

        plain = self.renamed(unwrapped)
        prefix = next((p for p in _PREFIXES if all(name.startswith(p) for name in plain.shapes)), "")
        return plain.renamed(lambda name: name.removeprefix(prefix))


def open_weights(path: Path | str) -> WeightFiles:
    """A safetensors file, a folder of them, a Diffusers pipeline's folder (its transformer/), or a published .pt.

    In a folder with an index the files that it names count, else all. Raises FileNotFoundError where there is nothing,
    and ValueError on a damaged file, a name twice, an incomplete index, or weights that are not plain floats.
    """
    path = Path(path)
    return _torch(path) if path.suffix in (".pt", ".pth") else _safetensors(path)


def _safetensors(path: Path) -> WeightFiles:
    files, indexed = _files(path)
    file_of: dict[str, Path] = {}
    shapes: dict[str, tuple[int, ...]] = {}
    for file in files:
        for name, shape, dtype in _headers(file):
            if name in file_of:
                raise ValueError(f"{name} is in both {file_of[name]} and {file}: keep one copy")
            _check_dtype(file, name, dtype)
            file_of[name], shapes[name] = file, shape
    lost = sorted(name for name, file in indexed.items() if file_of.get(name) != file)
    if lost:
        raise ValueError(f"{path}: not where the index says: {some(lost)}; fetch the folder again")

    def read(name: str) -> Tensor:
        # Opened anew, so that a tensor's memory pages are released with it.
        with safe_open(file_of[name], framework="pt") as opened:
            tensor: Tensor = opened.get_tensor(name)
            return tensor

    return WeightFiles(path, tuple(files), shapes, read)


def _files(path: Path) -> tuple[list[Path], dict[str, Path]]:
    """The files of a path, and the index if there is one: name → file."""
    if not path.is_dir():
        if not path.is_file():
            raise FileNotFoundError(f"no safetensors file at {path}")
        return [path], {}
    if not any(path.glob("*.safetensors")) and (path / "transformer").is_dir():
        path = path / "transformer"
    indices = sorted(path.glob(f"*{INDEX}"))
    if len(indices) > 1:
        raise ValueError(f"{path} has {len(indices)} indices ({', '.join(i.name for i in indices)}): keep one model")
    indexed = _index(indices[0]) if indices else {}
    files = sorted(set(indexed.values()) or path.glob("*.safetensors"))
    missing = [file.name for file in files if not file.is_file()]
    if missing:
        raise FileNotFoundError(f"{path}: the index names {', '.join(missing)}, not there; fetch the rest")
    if not files:
        raise FileNotFoundError(f"no safetensors file at {path}")
    return files, indexed


def _index(path: Path) -> dict[str, Path]:
    try:
        entries: Any = json.loads(path.read_text(encoding="utf-8"))["weight_map"]
        # Only files beside the index: of a name that leads elsewhere the last part is taken.
        return {str(name): path.parent / Path(file).name for name, file in entries.items()}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{path} is not an index of weight files ({error}): fetch it again") from None


def _headers(file: Path) -> Iterator[tuple[str, tuple[int, ...], str]]:
    """(name, shape, dtype) of a file's tensors."""
    try:
        with safe_open(file, framework="pt") as opened:
            for name in opened.keys():  # noqa: SIM118 (not a mapping)
                part = opened.get_slice(name)
                yield name, tuple(part.get_shape()), str(part.get_dtype())
    except SafetensorError as error:
        raise ValueError(f"{file} is damaged or no safetensors file ({error}): fetch it again") from None


def _torch(path: Path) -> WeightFiles:
    student, tensors = read_torch(path, STUDENTS, mmap=True)
    for name, value in tensors.items():
        _check_dtype(path, name, _DTYPES.get(value.dtype, str(value.dtype)))
    return WeightFiles(path, (path,), {n: tuple(v.shape) for n, v in tensors.items()}, tensors.__getitem__, student)


def _check_dtype(file: Path, name: str, dtype: str) -> None:
    if dtype not in _DTYPES.values():
        raise ValueError(f"{file}: {name} is of type {dtype}; only plain floats are read: fetch the bfloat16 weights")


def write_weights(
    folder: Path,
    layout: Shapes,
    tensors: Iterable[tuple[str, Tensor]],
    dtype: torch.dtype,
    limit: int = LIMIT,
) -> dict[str, str]:
    """Write tensors as they come, in one dtype, to files of at most `limit` bytes, with an index if there are several.

    layout: shapes by name, in the order in which the tensors will come. Files get their names when all are complete.
    Returns the SHA-256 by file name. Raises ValueError if the folder has weights already, or if the tensors are not
    those of the layout.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if any(folder.glob("*.safetensors")):
        raise ValueError(f"{folder} has weights already: choose an empty folder")
    groups = list(_groups(layout, dtype.itemsize, limit))
    files = [_file_name(number, len(groups)) for number in range(len(groups))]
    partial = [folder / f"{file}.partial" for file in files]
    stream = iter(tensors)
    try:
        hashes = [_write(*part, layout, stream, dtype) for part in zip(partial, groups, strict=True)]
        surplus = next(stream, None)
        if surplus is not None:
            raise ValueError(f"{surplus[0]} came after the last tensor of the layout")
        for path, file in zip(partial, files, strict=True):
            path.replace(folder / file)
    finally:
        for path in partial:
            path.unlink(missing_ok=True)
    if len(files) > 1:
        size = dtype.itemsize * sum(math.prod(shape) for shape in layout.values())
        entries = {name: file for file, names in zip(files, groups, strict=True) for name in names}
        index = {"metadata": {"total_size": size}, "weight_map": entries}
        (folder / f"{STEM}{INDEX}").write_text(json.dumps(index, indent=1) + "\n", encoding="utf-8")
    return dict(zip(files, hashes, strict=True))


def _groups(layout: Shapes, itemsize: int, limit: int) -> Iterator[list[str]]:
    """Names for each file; a tensor that is larger than the limit is alone in one."""
    group: list[str] = []
    filled = 0
    for name, shape in layout.items():
        size = math.prod(shape) * itemsize
        if group and filled + size > limit:
            yield group
            group, filled = [], 0
        group.append(name)
        filled += size
    yield group


def _file_name(number: int, count: int) -> str:
    return f"{STEM}.safetensors" if count == 1 else f"{STEM}-{number + 1:05d}-of-{count:05d}.safetensors"


def _write(
    path: Path, names: list[str], layout: Shapes, stream: Iterator[tuple[str, Tensor]], dtype: torch.dtype
) -> str:
    """One safetensors file: length of the header, header, bytes of the tensors. Returns its SHA-256."""
    digest = hashlib.sha256()
    with path.open("wb") as file:
        header = _header(names, layout, dtype)
        digest.update(header)
        file.write(header)
        for wanted in names:
            name, tensor = next(stream, ("nothing", torch.empty(0)))
            if name != wanted or tuple(tensor.shape) != layout[wanted]:
                raise ValueError(f"{name} {tuple(tensor.shape)} came where {wanted} {layout[wanted]} was due")
            data = tensor.detach().to("cpu", dtype).contiguous().flatten().view(torch.uint8).numpy().data
            digest.update(data)
            file.write(data)
    return digest.hexdigest()


def _header(names: list[str], layout: Shapes, dtype: torch.dtype) -> bytes:
    described: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    begin = 0
    for name in names:
        end = begin + math.prod(layout[name]) * dtype.itemsize
        described[name] = {"dtype": _DTYPES[dtype], "shape": list(layout[name]), "data_offsets": [begin, end]}
        begin = end
    text = json.dumps(described, ensure_ascii=False, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text


def some(names: list[str], shown: int = 8) -> str:
    """The first few of many names."""
    more = f" and {len(names) - shown} more" if len(names) > shown else ""
    return (", ".join(names[:shown]) or "none") + more
