"""Nested training state ↔ JSON + named tensors: what a pickle would do, without running anyone's code.

Dicts with strings as keys, lists, tuples, numbers, strings, None, numpy arrays and tensors come back as they were.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeAlias

import numpy as np
import torch
from torch import Tensor

from motionstream.train.parallelize import gathered

Tree: TypeAlias = Any
"""Dicts, lists, tuples, numbers, strings, None, numpy arrays and tensors, nested."""

_TENSOR, _ARRAY, _TUPLE = "$tensor", "$array", "$tuple"


def pack(tree: Tree, path: str = "") -> tuple[Any, dict[str, Tensor]]:
    """(what JSON can hold, tensors by name) of a tree. Raises ValueError, naming the place, for other kinds."""
    tensors: dict[str, Tensor] = {}
    return _pack(tree, path, tensors), tensors


def unpack(packed: Any, tensors: Mapping[str, Tensor]) -> Tree:
    """The tree that `pack` took apart."""
    if isinstance(packed, list):
        return [unpack(item, tensors) for item in packed]
    if not isinstance(packed, dict):
        return packed
    if _TENSOR in packed:
        return tensors[packed[_TENSOR]]
    if _ARRAY in packed:
        return tensors[packed[_ARRAY]].numpy()
    if _TUPLE in packed:
        return tuple(unpack(item, tensors) for item in packed[_TUPLE])
    return {key: unpack(value, tensors) for key, value in packed.items()}


def _pack(tree: Tree, path: str, tensors: dict[str, Tensor]) -> Any:
    match tree:
        case None | bool() | int() | float() | str():
            return tree
        case np.generic():
            return tree.item()
        case Tensor():
            tensors[path] = portable(tree)
            return {_TENSOR: path}
        case np.ndarray():
            tensors[path] = torch.from_numpy(np.ascontiguousarray(tree).copy())
            return {_ARRAY: path}
        case tuple() | list():
            items = [_pack(item, f"{path}.{index}", tensors) for index, item in enumerate(tree)]
            return {_TUPLE: items} if isinstance(tree, tuple) else items
        case Mapping():
            if not all(isinstance(key, str) and not key.startswith("$") for key in tree):
                raise ValueError(f"training state {path!r}: keys must be strings, and not begin with $")
            return {key: _pack(value, f"{path}.{key}", tensors) for key, value in tree.items()}
    raise ValueError(
        f"training state {path!r} is a {type(tree).__name__}: only numbers, strings, lists, dicts, "
        "arrays and tensors can be saved"
    )


def portable(tensor: Tensor) -> Tensor:
    """The tensor as it can be written: whole, on the CPU, contiguous, sharing memory with no other.

    A sharded one is so in the first rank, which writes, and empty in the others.
    """
    return gathered(tensor.detach()).cpu().clone(memory_format=torch.contiguous_format)
