"""Tensors in files: read one at a time, written one at a time, so that no whole model need fit into main memory.

Files and folders of safetensors, memory-mapped; nothing is unpickled. The exception is a publisher's .pt or .pth, to be
converted: it is read with `weights_only`, which runs no code that is in it, and never written. Its pages stay mapped
until it is let go.
"""

from __future__ import annotations

import hashlib
import json
import math
import pickle
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

INDEX = ".safetensors.index.json"
LIMIT = 5_000_000_000
"""Bytes of tensors in one file."""

PARTS = ("generator_ema", "generator")
"""What Self-Forcing and its children call the student in a .pt; the averaged one first."""
_STORED = {torch.float32: "F32", torch.float16: "F16", torch.bfloat16: "BF16"}
_READABLE = {*_STORED.values(), "F64"}
_PREFIXES = ("model.diffusion_model.", "model.")
_WRAPPERS = ("_fsdp_wrapped_module.", "_checkpoint_wrapped_module.")


@dataclass(frozen=True)
class Stored:
    """Tensors in files. shapes: of all, by name; read: one of them, mapped from its file: copy it and let it go.

    files: where they are; part: of a .pt with several models, which one.
    """

    path: Path
    files: tuple[Path, ...]
    shapes: Mapping[str, tuple[int, ...]]
    read: Callable[[str], Tensor]
    part: str = ""

    def renamed(self, rename: Callable[[str], str]) -> Stored:
        """The same under other names. Raises ValueError if two become one."""
        theirs: dict[str, str] = {}
        for name in self.shapes:
            if theirs.setdefault(rename(name), name) != name:
                raise ValueError(f"{self.path}: {name} and {theirs[rename(name)]} are both {rename(name)}: keep one")
        shapes = {ours: self.shapes[name] for ours, name in theirs.items()}
        return Stored(self.path, self.files, shapes, lambda name: self.read(theirs[name]), self.part)

    def without_prefix(self) -> Stored:
        """Without what wrappers and containers put before every name ("model.", …)."""

        def unwrapped(name: str) -> str:
            for wrapper in _WRAPPERS:
                name = name.replace(wrapper, "")
            return name

        plain = self.renamed(unwrapped)
        prefix = next((p for p in _PREFIXES if all(name.startswith(p) for name in plain.shapes)), "")
        return plain.renamed(lambda name: name.removeprefix(prefix))


def open_stored(path: Path | str) -> Stored:
    """A safetensors file, a folder of them, a Diffusers pipeline's folder (its transformer/), or a publisher's .pt.

    In a folder with an index the files that it names count, else all. Raises FileNotFoundError where there is nothing,
    and ValueError on a damaged file, a name twice, an incomplete index, or weights that are not plain floats.
    """
    path = Path(path)
    return _torch(path) if path.suffix in (".pt", ".pth") else _safetensors(path)


def _safetensors(path: Path) -> Stored:
    files, expected = _files(path)
    found: dict[str, Path] = {}
    shapes: dict[str, tuple[int, ...]] = {}
    for file in files:
        for name, shape, kind in _headers(file):
            if name in found:
                raise ValueError(f"{name} is in both {found[name]} and {file}: keep one copy")
            _check_kind(file, name, kind)
            found[name], shapes[name] = file, shape
    lost = sorted(name for name, file in expected.items() if found.get(name) != file)
    if lost:
        raise ValueError(f"{path}: not where the index says: {some(lost)}; fetch the folder again")

    def read(name: str) -> Tensor:
        # Opened anew, so that a tensor's pages are given back with it.
        with safe_open(found[name], framework="pt") as opened:
            tensor: Tensor = opened.get_tensor(name)
            return tensor

    return Stored(path, tuple(files), shapes, read)


def _files(path: Path) -> tuple[list[Path], dict[str, Path]]:
    """The files of a path, and what an index promises: name → file."""
    if not path.is_dir():
        if not path.is_file():
            raise FileNotFoundError(f"no safetensors file at {path}")
        return [path], {}
    if not any(path.glob("*.safetensors")) and (path / "transformer").is_dir():
        path = path / "transformer"
    indices = sorted(path.glob(f"*{INDEX}"))
    if len(indices) > 1:
        raise ValueError(f"{path} has {len(indices)} indices ({', '.join(i.name for i in indices)}): keep one model")
    promised = _index(indices[0]) if indices else {}
    files = sorted(set(promised.values()) or path.glob("*.safetensors"))
    missing = [file.name for file in files if not file.is_file()]
    if missing:
        raise FileNotFoundError(f"{path}: the index names {', '.join(missing)}, not there; fetch the rest")
    if not files:
        raise FileNotFoundError(f"no safetensors file at {path}")
    return files, promised


def _index(path: Path) -> dict[str, Path]:
    try:
        named: Any = json.loads(path.read_text(encoding="utf-8"))["weight_map"]
        # Only what lies beside the index: a file name that leads elsewhere is cut to its last part.
        return {str(name): path.parent / Path(file).name for name, file in named.items()}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{path} is not an index of shards ({error}): fetch it again") from None


def _headers(file: Path) -> Iterator[tuple[str, tuple[int, ...], str]]:
    """(name, shape, type) of a file's tensors."""
    try:
        with safe_open(file, framework="pt") as opened:
            for name in opened.keys():  # noqa: SIM118 (not a mapping)
                part = opened.get_slice(name)
                yield name, tuple(part.get_shape()), str(part.get_dtype())
    except SafetensorError as error:
        raise ValueError(f"{file} is damaged or no safetensors file ({error}): fetch it again") from None


def _torch(path: Path) -> Stored:
    try:
        loaded: Any = torch.load(path, map_location="cpu", mmap=True, weights_only=True)
    except (RuntimeError, pickle.UnpicklingError, EOFError) as error:
        reason = " ".join(str(error).split())[:200]
        raise ValueError(f"{path} cannot be read without running code that is in it, or is damaged: {reason}") from None
    part = next((p for p in PARTS if isinstance(loaded, dict) and p in loaded), "")
    tensors = loaded[part] if part else loaded
    if not isinstance(tensors, dict) or not all(isinstance(value, Tensor) for value in tensors.values()):
        raise ValueError(f"{path} holds no weights by name, nor {' or '.join(PARTS)} with such")
    for name, value in tensors.items():
        _check_kind(path, name, _STORED.get(value.dtype, "F64" if value.dtype == torch.float64 else str(value.dtype)))
    return Stored(path, (path,), {n: tuple(v.shape) for n, v in tensors.items()}, tensors.__getitem__, part)


def _check_kind(file: Path, name: str, kind: str) -> None:
    if kind not in _READABLE:
        raise ValueError(f"{file}: {name} is of type {kind}; only plain floats are read: fetch the bfloat16 weights")


def write_shards(
    folder: Path,
    stem: str,
    layout: Mapping[str, tuple[int, ...]],
    tensors: Iterable[tuple[str, Tensor]],
    dtype: torch.dtype,
    metadata: Mapping[str, str] | None = None,
    limit: int = LIMIT,
) -> dict[str, str]:
    """Write tensors as they come, in one dtype, to files of at most `limit` bytes, with an index if there are several.

    layout: shapes by name, in the order in which the tensors will come. Files get their names when all are whole.
    Returns the SHA-256 by file name. Raises ValueError if the folder has weights already, or if the tensors are not
    those of the layout.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if any(folder.glob("*.safetensors")):
        raise ValueError(f"{folder} has weights already: choose an empty folder")
    groups = list(_groups(layout, dtype.itemsize, limit))
    files = [_file_name(stem, number, len(groups)) for number in range(len(groups))]
    partial = [folder / f"{file}.partial" for file in files]
    coming = iter(tensors)
    try:
        hashes = [
            _write(path, group, layout, coming, dtype, metadata) for path, group in zip(partial, groups, strict=True)
        ]
        surplus = next(coming, None)
        if surplus is not None:
            raise ValueError(f"{surplus[0]} came after the last tensor of the layout")
        for path, file in zip(partial, files, strict=True):
            path.replace(folder / file)
    finally:
        for path in partial:
            path.unlink(missing_ok=True)
    if len(files) > 1:
        _write_index(folder / f"{stem}{INDEX}", zip(files, groups, strict=True), layout, dtype)
    return dict(zip(files, hashes, strict=True))


def _groups(layout: Mapping[str, tuple[int, ...]], itemsize: int, limit: int) -> Iterator[list[str]]:
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


def _file_name(stem: str, number: int, count: int) -> str:
    return f"{stem}.safetensors" if count == 1 else f"{stem}-{number + 1:05d}-of-{count:05d}.safetensors"


def _write(
    path: Path,
    names: list[str],
    layout: Mapping[str, tuple[int, ...]],
    coming: Iterator[tuple[str, Tensor]],
    dtype: torch.dtype,
    metadata: Mapping[str, str] | None,
) -> str:
    """One safetensors file: length of the header, header, bytes of the tensors. Returns its SHA-256."""
    digest = hashlib.sha256()
    with path.open("wb") as file:
        header = _header(names, layout, dtype, metadata)
        digest.update(header)
        file.write(header)
        for wanted in names:
            name, tensor = next(coming, ("nothing", torch.empty(0)))
            if name != wanted or tuple(tensor.shape) != layout[wanted]:
                raise ValueError(f"{name} {tuple(tensor.shape)} came where {wanted} {layout[wanted]} was due")
            data = tensor.detach().to("cpu", dtype).contiguous().flatten().view(torch.uint8).numpy().data
            digest.update(data)
            file.write(data)
    return digest.hexdigest()


def _header(
    names: list[str], layout: Mapping[str, tuple[int, ...]], dtype: torch.dtype, metadata: Mapping[str, str] | None
) -> bytes:
    described: dict[str, Any] = {"__metadata__": {"format": "pt", **(metadata or {})}}
    begin = 0
    for name in names:
        end = begin + math.prod(layout[name]) * dtype.itemsize
        described[name] = {"dtype": _STORED[dtype], "shape": list(layout[name]), "data_offsets": [begin, end]}
        begin = end
    text = json.dumps(described, ensure_ascii=False, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text


def _write_index(
    path: Path, files: Iterable[tuple[str, list[str]]], layout: Mapping[str, tuple[int, ...]], dtype: torch.dtype
) -> None:
    total = sum(math.prod(shape) for shape in layout.values()) * dtype.itemsize
    places = {name: file for file, names in files for name in names}
    index = {"metadata": {"total_size": total}, "weight_map": places}
    path.write_text(json.dumps(index, indent=1) + "\n", encoding="utf-8")


def some(names: list[str], shown: int = 8) -> str:
    """The first few of many names."""
    more = f" and {len(names) - shown} more" if len(names) > shown else ""
    return (", ".join(names[:shown]) or "none") + more
