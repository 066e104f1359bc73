"""Names of weights in both layouts, and a network filled with exactly its weights."""

from __future__ import annotations

import pytest
import torch
from tests.wan.published_sources import random_dit, sizes

from motionstream.dit import VideoDiT
from motionstream.wan.weights import diffusers_name, fill, wan_name


def empty_and_full() -> tuple[VideoDiT, VideoDiT]:
    full = random_dit(sizes("wan2.1-i2v"))
    with torch.device("meta"):
        return VideoDiT(full.config), full


def test_every_name_maps_there_and_back() -> None:
    names = list(random_dit(sizes("wan2.1-i2v")).state_dict())
    theirs = [diffusers_name(name) for name in names]
    assert len(set(theirs)) == len(names)
    assert [wan_name(name) for name in theirs] == names
    assert "blocks.1.attn2.add_k_proj.bias" in theirs
    assert "condition_embedder.image_embedder.ff.net.0.proj.weight" in theirs


def test_a_network_is_filled_in_the_dtype_asked_for() -> None:
    empty, full = empty_and_full()
    fill(empty, full.state_dict().items(), "cpu", torch.bfloat16)
    assert all(torch.equal(value, full.state_dict()[name].bfloat16()) for name, value in empty.state_dict().items())
    assert all(parameter.requires_grad for parameter in empty.parameters())


def test_missing_unknown_and_misshapen_weights_are_named_and_nothing_is_filled() -> None:
    empty, full = empty_and_full()
    state = dict(full.state_dict())
    state["blocks.0.extra"] = state.pop("blocks.1.modulation")
    state["head.head.bias"] = torch.zeros(3)
    message = (
        r"missing: blocks\.1\.modulation; unknown: blocks\.0\.extra; "
        r"of another shape: head\.head\.bias \(3,\), not \(64,\)$"
    )
    with pytest.raises(ValueError, match=message):
        fill(empty, state.items(), "cpu", torch.float32)
    assert all(value.is_meta for value in empty.state_dict().values())
