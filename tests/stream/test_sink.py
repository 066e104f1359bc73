"""The sink stays, or is filled anew when the view leaves the first scene; with text and tracks on throughout."""

from __future__ import annotations

import json
from dataclasses import replace
from itertools import chain
from pathlib import Path
from unittest.mock import patch

import numpy as np
import pytest
import torch
from safetensors.torch import load, save
from tests.fast.test_graphed_stream import over_buffers
from tests.small import GEOMETRY, cache_for, small_model, small_vae
from tests.stream.small_bundle import PROMPT, Video, dragged, open_small, photo, save_small, shown
from tests.stream.test_prompt import NEW, in_order

from motionstream.conditioning import Conditioning
from motionstream.dit import RollingCache, TextContext
from motionstream.fast.slots import SlotCache
from motionstream.sampling import RolloutConfig, commit_chunk
from motionstream.stream.model import StreamingModel
from motionstream.stream.sink import LEFT
from motionstream.stream.state import CommittedChunk, latest
from motionstream.stream.stream import Stream
from motionstream.tracks import Tracks

SIZES = [(3, 3, 3), (1, 3, 1), (2, 1, 3), (3, 2, 1), (2, 3, 0), (3, 0, 3)]
"""(chunk, sink, window) in latents."""
SPACING, ROWS = 8, 4
FAR = 24
"""Pixels that `pan` goes in all: half the frame."""


def pan(begin: int, end: int, far: int = FAR) -> Tracks:
    """Frames [begin, end) of a view that goes a pixel a frame to the right, `far` pixels, and stays: an endless lattice
    of points, of which those inside the frame are visible; they are named when they are first seen."""
    offset = np.minimum(np.arange(begin, end), far)[:, None]
    columns = np.repeat(np.arange((GEOMETRY.width + far) // SPACING + 1), ROWS)
    x = (columns + 0.5) * SPACING - offset
    y = np.broadcast_to((np.tile(np.arange(ROWS), len(columns) // ROWS) + 0.5) * GEOMETRY.height / ROWS, x.shape)
    visible = (x >= 0) & (x < GEOMETRY.width)
    met = (columns + 0.5) * SPACING - offset[-1] < GEOMETRY.width
    xy = np.stack([x, y], -1).astype(np.float32)
    return Tracks(xy[:, met], visible[:, met], np.flatnonzero(met))


def panned(stream: Stream, chunks: int, far: int = FAR) -> Video:
    """The next chunks of the pan."""
    parts = []
    for _ in range(chunks):
        begin = shown(stream)
        parts.append(stream.step(pan(begin, begin + stream.chunk_frames, far)))
    return np.concatenate(parts)


def turns(stream: Stream, chunks: int, far: int = FAR) -> tuple[list[int], list[int]]:
    """Latents done when the anchor was taken anew, and when the sink was filled anew, in the next chunks of the pan."""
    left, filled = [], []

    def leave() -> None:
        left.append(stream.state.latents)
        Stream._leave(stream)

    def fill() -> None:
        filled.append(stream.state.latents)
        Stream._fill_sink(stream)

    with patch.object(stream, "_leave", leave), patch.object(stream, "_fill_sink", fill):
        panned(stream, chunks, far)
        stream.settle()
    return left, filled


def until_left(stream: Stream) -> list[CommittedChunk]:
    """Pan until the scene is left, the last chunk shown and not yet committed: all chunks."""
    chunks: list[CommittedChunk] = []
    while not chunks or stream.parts.conditioner.outside(stream.state.conditioner) <= LEFT:
        panned(stream, 1)
        assert stream.state.pending is not None
        chunks.append(stream.state.pending)
        assert len(chunks) < 20, "the view does not leave"
    return chunks


def until_due(stream: Stream) -> list[CommittedChunk]:
    """And on until the sink is to be filled anew, also if it will not be: all chunks."""
    chunks = until_left(stream)
    since = 0
    while since < kept(stream.parts.chunk_step.rollout_config):
        panned(stream, 1)
        assert stream.state.pending is not None
        chunks.append(stream.state.pending)
        since += stream.state.pending.clean.shape[1]
    return chunks


def kept(rollout_config: RolloutConfig) -> int:
    return rollout_config.sink + rollout_config.window


@torch.inference_mode()
def committed(
    model: StreamingModel, chunks: list[CommittedChunk], latents: int, contexts: tuple[TextContext, TextContext]
) -> RollingCache:
    """A fresh cache of the last `latents` latents, the chunks whole where they are. contexts: of sink and window."""
    cache, first = cache_for(model.network, model.rollout_config), -latents
    begin = -sum(chunk.clean.shape[1] for chunk in chunks)
    for chunk in chunks:
        end = begin + chunk.clean.shape[1]
        if end > first:
            skip = max(0, first - begin)
            part = chunk.conditioning.slice(skip, chunk.clean.shape[1])
            context = contexts[cache.sink_filled >= cache.sink]
            commit_chunk(model.network, cache, chunk.clean[:, skip:], part, context)
        begin = end
    return cache


def assert_same(one: RollingCache, other: RollingCache, atol: float = 1e-5) -> None:
    assert (one.sink_filled, one.window_filled) == (other.sink_filled, other.window_filled)
    for slot, expected in zip(in_order(one), in_order(other), strict=True):
        torch.testing.assert_close(slot, expected, atol=atol, rtol=0)


def unanchored(rollout_config: RolloutConfig) -> StreamingModel:
    """A model as the paper's: it does not see the warped anchor."""
    network = small_model(False)
    return StreamingModel("paper", network, small_vae(), GEOMETRY, 24.0, rollout_config, "0" * 64)


# --- the two policies ---------------------------------------------------------------------------------------------


def test_a_sink_is_fixed_unless_asked_otherwise(model: StreamingModel) -> None:
    given, plain = model.open(photo(), PROMPT, 3, sink="fixed"), model.open(photo(), PROMPT, 3)
    np.testing.assert_array_equal(panned(given, 5), panned(plain, 5))
    assert (plain.state.sink, len(plain.state.recent)) == ("fixed", 1)
    assert turns(plain, 3, far=60) == ([], [])


def test_an_unknown_sink_is_refused(model: StreamingModel) -> None:
    with pytest.raises(ValueError, match="sink 'rolling' is unknown: use fixed or refresh"):
        model.open(photo(), sink="rolling")


@pytest.mark.parametrize("sizes", SIZES)
def test_while_the_view_stays_nothing_is_different(tmp_path: Path, sizes: tuple[int, int, int]) -> None:
    """A drag that circles inside the picture, and a view that goes no further than a quarter of it."""
    model = open_small(save_small(tmp_path, *sizes))
    fixed, refreshing = model.open(photo(), PROMPT), model.open(photo(), PROMPT, sink="refresh")
    np.testing.assert_array_equal(dragged(fixed, 6), dragged(refreshing, 6))
    fixed, refreshing = model.open(photo(), PROMPT), model.open(photo(), PROMPT, sink="refresh")
    np.testing.assert_array_equal(panned(fixed, 6, far=12), panned(refreshing, 6, far=12))


@pytest.mark.parametrize("sizes", SIZES)
def test_anchor_and_sink_are_taken_anew_once(tmp_path: Path, sizes: tuple[int, int, int]) -> None:
    """Bit for bit the fixed stream until the view has left, another one from the next chunk on."""
    chunk, sink, window = sizes
    model = open_small(save_small(tmp_path, *sizes))
    left, filled = turns(model.open(photo(), PROMPT, sink="refresh"), 36 // chunk)
    assert len(left) == 1
    first = -(-(left[0] + sink + window) // chunk) * chunk
    assert filled == ([first] if sink else [])
    fixed, refreshing = model.open(photo(), PROMPT), model.open(photo(), PROMPT, sink="refresh")
    np.testing.assert_array_equal(panned(fixed, left[0] // chunk), panned(refreshing, left[0] // chunk))
    assert (panned(fixed, 1) != panned(refreshing, 1)).any()


def test_a_view_that_goes_on_leaves_again_and_again(tmp_path: Path) -> None:
    """Each time after as many frames: the measure begins again at nothing. The sink follows one scene after another."""
    model = open_small(save_small(tmp_path, 1, 3, 1))
    left, filled = turns(model.open(photo(), PROMPT, sink="refresh"), 24, far=80)
    assert len(left) == 4
    assert set(np.diff(left)) == {5}
    assert filled == [one + 4 for one in left if one + 4 <= 24]


# --- what a refresh does ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("sizes", SIZES)
def test_sink_and_window_are_those_of_a_fresh_commit(tmp_path: Path, sizes: tuple[int, int, int]) -> None:
    """Of the latents since the scene was left."""
    model = open_small(save_small(tmp_path, *sizes))
    stream = model.open(photo(), PROMPT, sink="refresh")
    chunks = until_due(stream)
    sink, conditioner = stream.state.cache.keys[:, :, : sizes[1]].clone(), stream.state.conditioner
    stream.settle()
    if sizes[1]:
        context = model.context(PROMPT)
        assert_same(stream.state.cache, committed(model, chunks, kept(model.rollout_config), (context, context)))
        assert not torch.allclose(stream.state.cache.keys[:, :, : sizes[1]], sink, atol=1e-2)
        assert stream.state.left is None
    assert stream.state.conditioner is conditioner


def test_the_anchor_is_the_last_frame_shown(model: StreamingModel) -> None:
    """What the encoder and the decoder remember goes on, and so do points that are in view."""
    stream = model.open(photo(), PROMPT, sink="refresh")
    until_left(stream)
    before, decoder = stream.state.conditioner, stream.state.decoder
    stream.settle()
    after = stream.state.conditioner
    assert after.anchor.picture is stream.state.frame
    assert torch.equal(after.anchor.birth_xy, after.anchor.xy)
    assert set(after.anchor.ids[0].tolist()) == set(before.anchor.ids[before.anchor.shown].tolist())
    assert float(after.anchor.outside()) == 0
    assert after.memory is before.memory
    assert stream.state.decoder is decoder


def test_the_stream_goes_on_as_one_that_has_this_past(model: StreamingModel) -> None:
    """Streaming equals batch: fixed streams put together from anchor and fresh commit give the same frames."""
    stream, twin = model.open(photo(), PROMPT, sink="refresh"), model.open(photo(), PROMPT)
    panned(stream, len(until_left(twin)))
    twin.settle()
    anchor = twin.state.conditioner.anchor.renewed(twin.state.frame)
    put = Stream(twin.parts, replace(twin.state, conditioner=replace(twin.state.conditioner, anchor=anchor)))
    chunks = []
    for _ in range(2):
        np.testing.assert_array_equal(panned(stream, 1), panned(put, 1))
        assert put.state.pending is not None
        chunks.append(put.state.pending)
    put.settle()
    context = model.context(PROMPT)
    put.state.cache = committed(model, chunks, kept(model.rollout_config), (context, context))
    assert np.abs(panned(stream, 3).astype(int) - panned(put, 3)).max() <= 1


@pytest.mark.parametrize("sizes", SIZES)
def test_a_new_prompt_after_it_leaves_the_new_sink_alone(tmp_path: Path, sizes: tuple[int, int, int]) -> None:
    model = open_small(save_small(tmp_path, *sizes))
    stream = model.open(photo(), PROMPT, sink="refresh")
    chunks = until_due(stream)
    stream.settle()
    sink = stream.state.cache.keys[:, :, : sizes[1]].clone()
    stream.prompt = NEW
    assert torch.equal(stream.state.cache.keys[:, :, : sizes[1]], sink)
    if sizes[1] and sizes[2] % sizes[0] == 0:  # else a chunk across the edge is committed in two parts
        both = model.context(PROMPT), model.context(NEW)
        assert_same(stream.state.cache, committed(model, chunks, kept(model.rollout_config), both))
    twin = model.open(photo(), PROMPT, sink="refresh")
    until_due(twin)
    after = panned(twin, 2)
    assert sizes[2] == 0 or (panned(stream, 2) != after).mean() > 0.05


def test_committing_early_or_late_changes_nothing(model: StreamingModel) -> None:
    early, late = (model.open(photo(), PROMPT, sink="refresh") for _ in range(2))
    for _ in range(6):
        np.testing.assert_array_equal(panned(early, 1), panned(late, 1))
        early.settle()


@pytest.mark.parametrize("times", [(1.0,), (1.0, 0.5)])
def test_without_a_clean_pass_the_new_sink_is_of_the_last_calls(tmp_path: Path, times: tuple[float, ...]) -> None:
    """Keys of one kind: what the first layer wrote in a call depends on nothing before it, so it is written again."""
    model = open_small(save_small(tmp_path, 3, 3, 3, clean_pass=False), fused=False)
    model.rollout_config = replace(model.rollout_config, times=times)
    stream = model.open(photo(), PROMPT, sink="refresh")
    until_due(stream)
    before = stream.state.cache.clone()
    stream.settle()
    assert stream.state.left is None, "the sink was filled anew"
    if len(times) == 1:
        torch.testing.assert_close(stream.state.cache.keys[0, :, 3:6], before.keys[0, :, 3:6], atol=1e-4, rtol=0)
    clean = replace(model.rollout_config, clean_pass=True)
    chunk, context = stream.state.recent[-1], model.context(PROMPT)
    with torch.inference_mode():
        other = cache_for(model.network, clean)
        commit_chunk(model.network, other, chunk.clean, chunk.conditioning, context)
    assert not torch.allclose(other.values[0, :, :3], stream.state.cache.values[0, :, 3:6], atol=1e-3)


# --- kinds of caches and models -----------------------------------------------------------------------------------


@pytest.mark.parametrize("sizes", [(3, 3, 3), (1, 3, 1), (3, 2, 1), (3, 0, 3)])
def test_fixed_slots_are_filled_anew_as_a_ring_is(tmp_path: Path, sizes: tuple[int, int, int]) -> None:
    folder = save_small(tmp_path, *sizes)
    plain, graphed = open_small(folder), over_buffers(folder)
    ring, slots = (model.open(photo(), PROMPT, sink="refresh") for model in (plain, graphed))
    assert isinstance(slots.state.cache, SlotCache)
    chunks = 24 // sizes[0]
    assert np.abs(panned(ring, chunks).astype(int) - panned(slots, chunks)).max() <= 1
    slots, again = (graphed.open(photo(), PROMPT, sink="refresh") for _ in range(2))
    assert [len(found) for found in turns(slots, chunks)] == [1, int(sizes[1] > 0)]
    until_due(again)
    resumed = over_buffers(folder).resume(again.snapshot())
    np.testing.assert_array_equal(panned(again, 2), panned(resumed, 2))


@pytest.mark.parametrize("sizes", [(3, 3, 3), (1, 3, 1)])
def test_a_model_without_warped_anchor_has_a_sink_all_the_same(sizes: tuple[int, int, int]) -> None:
    """Where points were born is known of every stream, so the same is measured."""
    model = unanchored(RolloutConfig(*sizes, times=(1.0, 0.5)))
    stream = model.open(photo(), PROMPT, sink="refresh")
    chunks = until_due(stream)
    stream.settle()
    context = model.context(PROMPT)
    assert_same(stream.state.cache, committed(model, chunks, kept(model.rollout_config), (context, context)))
    left, filled = turns(model.open(photo(), PROMPT, sink="refresh"), 24 // sizes[0])
    assert (len(left), filled) == (1, [len(chunks) * sizes[0]])
    fixed, refreshing = model.open(photo(), PROMPT), model.open(photo(), PROMPT, sink="refresh")
    np.testing.assert_array_equal(panned(fixed, len(chunks)), panned(refreshing, len(chunks)))
    assert (panned(fixed, 1) != panned(refreshing, 1)).any()


# --- snapshots ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("sizes", SIZES)
@pytest.mark.parametrize("when", ["before", "waiting", "after"])
def test_a_resumed_stream_goes_on_bit_for_bit(tmp_path: Path, sizes: tuple[int, int, int], when: str) -> None:
    """Through a refresh that is still to come, begun or over, and a new prompt."""
    model = open_small(save_small(tmp_path, *sizes))
    stream, twin = (model.open(photo(), PROMPT, seed=3, sink="refresh") for _ in range(2))
    chunks = {"before": 1, "waiting": len(until_left(twin)), "after": 24 // sizes[0]}[when]
    twin = model.open(photo(), PROMPT, seed=3, sink="refresh")
    panned(stream, chunks), panned(twin, chunks)
    data = stream.snapshot()
    resumed = open_small(tmp_path).resume(data)
    assert resumed.snapshot() == data
    assert resumed.state.sink == "refresh"
    assert (resumed.state.left is not None) == (when == "waiting" or (when == "after" and not sizes[1]))
    parts = [panned(each, 24 // sizes[0], far=40) for each in (stream, resumed, twin)]
    for each in (stream, resumed, twin):
        each.prompt = NEW
    parts = [np.concatenate([part, panned(each, 2)]) for part, each in zip(parts, (stream, resumed, twin), strict=True)]
    np.testing.assert_array_equal(parts[0], parts[2])
    np.testing.assert_array_equal(parts[1], parts[2])


def renamed(data: bytes, sink: str) -> bytes:
    """A snapshot whose header names another sink."""
    size = int.from_bytes(data[:8], "little")
    header = json.loads(json.loads(data[8 : 8 + size])["__metadata__"]["motionstream"])
    return save(load(data), metadata={"motionstream": json.dumps({**header, "sink": sink})})


def test_a_snapshot_with_a_sink_nobody_knows_is_refused(model: StreamingModel) -> None:
    data = model.open(photo()).snapshot()
    with pytest.raises(ValueError, match="sink 'drain' is unknown: use fixed or refresh"):
        model.resume(renamed(data, "drain"))


def test_nothing_grows(tmp_path: Path) -> None:
    stream = open_small(save_small(tmp_path, 1, 3, 1)).open(photo(), PROMPT, sink="refresh")
    panned(stream, 12, far=1000)
    recent, written = stream.state.recent, len(stream.snapshot())
    panned(stream, 40, far=1000)
    assert [chunk.clean.shape for chunk in stream.state.recent] == [chunk.clean.shape for chunk in recent]
    assert len(recent) == 4
    assert len(stream.snapshot()) < 1.1 * written


def test_a_chunk_is_kept_whole_or_in_its_last_part() -> None:
    """Only the latest as many latents, across chunks of several."""
    parts = torch.arange(6.0).view(1, 6, 1, 1, 1)
    chunks = [CommittedChunk(one, Conditioning(one, one), 0) for one in parts.split(2, 1)]
    for latents in range(8):
        kept_latents = [chunk.clean.flatten().tolist() for chunk in latest(chunks, latents)]
        assert [*chain.from_iterable(kept_latents)] == list(range(max(0, 6 - latents), 6))
