"""A snapshot is the whole stream: what is read back goes on bit for bit, and what is not whole is refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load
from tests.stream.small_bundle import PROMPT, drag, dragged, open_small, photo, save_small, shown

from motionstream.stream.model import StreamingModel
from motionstream.stream.stream import Stream
from motionstream.tiny.bundle import load_bundle


def untouched(stream: Stream) -> None:
    pass


def without_tracks(stream: Stream) -> None:
    stream.step(), stream.step()


def mid_drag(stream: Stream) -> None:
    """The drag began after a chunk without a hand, so that the anchor is a frame of the stream's own."""
    stream.step()
    stream.step(drag(shown(stream), shown(stream) + stream.chunk_frames))


def let_go(stream: Stream) -> None:
    """What the hand left elsewhere is held there, and the same numbers take hold again afterwards."""
    mid_drag(stream)
    stream.step()
    assert stream.state.conditioner.anchor.held.any()


def long_dragged(stream: Stream) -> None:
    dragged(stream, 6)


def after_a_new_prompt(stream: Stream) -> None:
    dragged(stream, 3)
    stream.prompt = "a boat, snow"


def settled(stream: Stream) -> None:
    dragged(stream, 2)
    stream.settle()


def go_on(stream: Stream) -> np.ndarray:
    """The drag goes on, ends, and the prompt changes."""
    parts = [dragged(stream, 2), stream.step()]
    stream.prompt = "späte Sonne, 雪"
    return np.concatenate([*parts, dragged(stream, 2)])


@pytest.mark.parametrize("chunk", [2, 3])
@pytest.mark.parametrize(
    "live",
    [untouched, without_tracks, mid_drag, let_go, long_dragged, after_a_new_prompt, settled],
    ids=lambda f: f.__name__,
)
def test_a_resumed_stream_goes_on_bit_for_bit(tmp_path: Path, chunk: int, live: Callable[[Stream], None]) -> None:
    """In the process that took it and through a file into another model object; the stream itself is not disturbed."""
    model = open_small(save_small(tmp_path, chunk))
    stream, twin = (model.open(photo(), PROMPT, seed=3) for _ in range(2))
    live(stream), live(twin)
    file = tmp_path / "stream.safetensors"
    file.write_bytes(stream.snapshot())
    here = model.resume(stream.snapshot())
    there = open_small(tmp_path).resume(file.read_bytes())
    expected = go_on(twin)
    for other in (stream, here, there):
        np.testing.assert_array_equal(go_on(other), expected)


def test_a_resumed_stream_says_the_same_of_itself(model: StreamingModel) -> None:
    stream = model.open(photo(size=(75, 31)), PROMPT)
    dragged(stream, 2)
    again = model.resume(stream.snapshot())
    for name in ("size", "fps", "prompt", "chunk_frames", "fit"):
        assert getattr(again, name) == getattr(stream, name)
    assert again.snapshot() == stream.snapshot()


def test_two_streams_of_one_snapshot_part_ways(model: StreamingModel) -> None:
    stream = model.open(photo(), PROMPT)
    dragged(stream, 3)
    kept = stream.snapshot()
    dragged_on, left_alone = model.resume(kept), model.resume(kept)
    first = dragged(dragged_on, 3)
    still = np.concatenate([left_alone.step() for _ in range(3)])
    assert (first != still).any()
    np.testing.assert_array_equal(dragged(model.resume(kept), 3), first)


def test_a_snapshot_is_no_larger_than_what_it_holds(model: StreamingModel) -> None:
    stream = model.open(photo(), PROMPT)
    dragged(stream, 4)
    data = stream.snapshot()
    assert sum(tensor.nbytes for tensor in load(data).values()) > 0.9 * len(data)


@pytest.mark.parametrize(
    "spoilt",
    [
        lambda data: b"",
        lambda data: b"no snapshot at all",
        lambda data: data[: len(data) // 2],
        lambda data: data[:-1],
        lambda data: data[:-40] + bytes([data[-40] ^ 1]) + data[-39:],
        lambda data: data.replace(b'\\"seed\\"', b'\\"sead\\"'),
        lambda data: data.replace(b'"cache.keys"', b'"cache.kexs"'),
        lambda data: data.replace(b"motionstream", b"emotionstrea"),
    ],
)
def test_a_damaged_snapshot_is_refused(model: StreamingModel, spoilt: Callable[[bytes], bytes]) -> None:
    stream = model.open(photo(), PROMPT)
    dragged(stream, 2)
    data = stream.snapshot()
    assert spoilt(data) != data
    with pytest.raises(ValueError, match="not a snapshot of a stream, or it is damaged: take another"):
        model.resume(spoilt(data))


def test_a_snapshot_of_another_format_is_refused(model: StreamingModel) -> None:
    data = model.open(photo()).snapshot()
    with pytest.raises(ValueError, match="format 9: this version reads 2"):
        model.resume(data.replace(b'\\"format\\": 2', b'\\"format\\": 9'))


def test_another_models_snapshot_is_refused(model: StreamingModel, tmp_path: Path) -> None:
    other = open_small(save_small(tmp_path, seed=1))
    with pytest.raises(ValueError, match="another model: load that one"):
        model.resume(other.open(photo()).snapshot())


def test_a_snapshot_of_other_sizes_is_refused(model: StreamingModel, tmp_path: Path) -> None:
    """The same weights, run with another window."""
    other = open_small(save_small(tmp_path, window=6))
    assert other.hash == model.hash
    with pytest.raises(ValueError, match="sink 3 and window 6"):
        model.resume(other.open(photo()).snapshot())


def test_a_snapshot_in_another_precision_is_refused(model: StreamingModel, tmp_path: Path) -> None:
    data = model.open(photo()).snapshot()
    header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])["__metadata__"]["motionstream"]
    assert json.loads(header)["dtype"] == str(torch.float32)
    half = load_bundle(save_small(tmp_path), torch.device("cpu"), torch.bfloat16)
    assert half.hash == model.hash
    with pytest.raises(ValueError, match="load it in that"):
        half.resume(data)


@pytest.mark.parametrize("change", [{"chunk": 1}, {"times": (1.0,)}, {"clean_pass": False}], ids=str)
def test_a_snapshot_of_another_rollout_is_refused(model: StreamingModel, change: dict[str, Any]) -> None:
    """The same weights, in chunks of another size, with other calls or without a clean pass."""
    stream = model.open(photo())
    dragged(stream, 1)
    data, own = stream.snapshot(), model.rollout_config
    model.rollout_config = replace(own, **change)
    with pytest.raises(ValueError, match=r"set model\.rollout_config"):
        model.resume(data)
    model.rollout_config = own
    np.testing.assert_array_equal(dragged(model.resume(data), 1), dragged(stream, 1))


def test_an_empty_memory_is_a_memory(model: StreamingModel) -> None:
    """A decoder that remembers nothing has begun all the same: its next chunk is not a first one."""
    stream = model.open(photo())
    dragged(stream, 1)
    stream.state.decoder = ()
    assert model.resume(stream.snapshot()).state.decoder == ()
    assert model.resume(model.open(photo()).snapshot()).state.decoder is None
