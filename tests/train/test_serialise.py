"""Nested state survives JSON and tensors exactly, and what cannot is named."""

from __future__ import annotations

import json
import random
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from motionstream.train.serialise import pack, portable, unpack


def back(tree: Any) -> Any:
    packed, tensors = pack(tree)
    return unpack(json.loads(json.dumps(packed)), tensors)


leaves = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text()
keys = st.text().filter(lambda key: not key.startswith("$"))
trees = st.recursive(
    leaves,
    lambda inner: st.lists(inner) | st.tuples(inner, inner) | st.dictionaries(keys, inner),
    max_leaves=20,
)


@settings(deadline=None)  # how long an example takes is not what is tested
@given(trees)
def test_plain_trees(tree: Any) -> None:
    assert back(tree) == tree


def test_random_generators() -> None:
    python, numpy = random.getstate(), np.random.default_rng(4).bit_generator.state
    assert back(python) == python
    assert back(numpy) == numpy
    legacy: Any = np.random.get_state(legacy=False)
    found = back(legacy)
    assert np.array_equal(found["state"].pop("key"), legacy["state"].pop("key"))
    assert found == legacy


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64, torch.int64, torch.uint8, torch.bool])
def test_tensors_keep_their_kind(dtype: torch.dtype) -> None:
    tensor = torch.arange(6).reshape(2, 3).T.to(dtype)
    found = back({"a": [tensor, {"3": tensor}]})
    for copy in (found["a"][0], found["a"][1]["3"]):
        assert copy.dtype == dtype
        assert torch.equal(copy, tensor)


def test_arrays_come_back_as_arrays() -> None:
    found = back((np.float32([[1, 2]]), np.int64(3)))
    assert isinstance(found[0], np.ndarray)
    assert found[0].dtype == np.float32
    assert found[1] == 3


def test_portable_shares_no_memory() -> None:
    tensor = torch.zeros(3)
    portable(tensor)[0] = 1
    assert tensor[0] == 0


def test_other_kinds_are_named() -> None:
    with pytest.raises(ValueError, match=r"'stage\.0' is a set"):
        pack([{1}], "stage")
    for key in (1.5, 3, "$tensor"):
        with pytest.raises(ValueError, match="keys"):
            pack({key: 0})
