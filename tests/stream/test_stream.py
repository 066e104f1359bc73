"""A stream is its model's rollout, whatever happens between two steps, and nothing of it grows."""

from __future__ import annotations

import gc
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from tests.small import GEOMETRY, cache_for
from tests.stream.small_bundle import (
    PROMPT,
    Video,
    begun,
    decoded,
    drag,
    dragged,
    filtered,
    open_small,
    photo,
    save_small,
    shown,
)

from motionstream.sampling import keyed, rollout
from motionstream.stream.model import StreamingModel
from motionstream.stream.stream import Stream
from motionstream.tracks import Tracks
from motionstream.vae.pixels import to_frames

SIZES = [(1, 3, 3), (2, 3, 3), (3, 3, 3), (2, 0, 4), (3, 1, 0)]
"""(chunk, sink, window) in latents."""


@torch.inference_mode()
def rolled_out(model: StreamingModel, picture: Video, tracks: Tracks, prompt: str, seed: int) -> Video:
    """The frames of a clip whose tracks are all known, by the loop of training and the VAE on the whole clip."""
    pixels, conditioning, warped = begun(model, picture, tracks, seed)
    context = model.network.context([prompt])
    cache, known = cache_for(model.network, model.rollout_config), model.vae.encode(pixels)
    chunks = rollout(model.network, cache, conditioning, context, model.rollout_config, keyed(seed), known)
    video = decoded(model, torch.cat(list(chunks), 1), warped)
    return to_frames(filtered(model, video, prompt, seed=seed)[0])


def off_by(a: Video, b: Video) -> int:
    return int(np.abs(a.astype(int) - b.astype(int)).max())


@pytest.mark.parametrize("clean_pass", [True, False])
@pytest.mark.parametrize("fused", [True, False])
@pytest.mark.parametrize("sizes", SIZES)
def test_a_stream_is_the_batch_rollout(
    tmp_path: Path, sizes: tuple[int, int, int], fused: bool, clean_pass: bool
) -> None:
    """Text and tracks on, twelve latents, so that the window rolls; at most one level apart."""
    model = open_small(save_small(tmp_path, *sizes, clean_pass=clean_pass), fused)
    streamed = dragged(model.open(photo(), PROMPT, seed=5), chunks=12 // sizes[0])
    whole = rolled_out(model, photo(), drag(0, GEOMETRY.frames(12)), PROMPT, seed=5)
    assert streamed.shape == whole.shape
    assert off_by(streamed, whole) <= 1
    for prompt, seed in (("a boat, snow", 5), (PROMPT, 6)):
        assert off_by(streamed, rolled_out(model, photo(), drag(0, GEOMETRY.frames(12)), prompt, seed)) > 3


@pytest.mark.parametrize("chunk", [1, 2, 3])
def test_steps_return_the_frames_they_announce(tmp_path: Path, chunk: int) -> None:
    model = open_small(save_small(tmp_path, chunk))
    stream = model.open(photo())
    assert (stream.size, stream.fps) == ((48, 32), 24.0)
    for expected in (1 + 4 * (chunk - 1), 4 * chunk, 4 * chunk):
        assert stream.chunk_frames == expected
        frames = stream.step()
        assert frames.shape == (expected, 32, 48, 3)
        assert frames.dtype == np.uint8


def test_no_tracks_and_tracks_without_points_are_the_same(model: StreamingModel) -> None:
    bare, empty = model.open(photo()), model.open(photo())
    for _ in range(2):
        np.testing.assert_array_equal(bare.step(None), empty.step(Tracks.empty(empty.chunk_frames)))


def test_a_seed_gives_its_frames_again_and_another_gives_others(model: StreamingModel) -> None:
    videos = [dragged(model.open(photo(), PROMPT, seed), 3) for seed in (4, 4, 5)]
    np.testing.assert_array_equal(videos[0], videos[1])
    assert (videos[0][1:] != videos[2][1:]).mean() > 0.5


@pytest.mark.parametrize("fused", [True, False])
def test_streams_that_take_turns_are_each_as_if_alone(tmp_path: Path, fused: bool) -> None:
    model = open_small(save_small(tmp_path, chunk=2), fused)

    def opened() -> list[Stream]:
        return [model.open(photo(0), PROMPT, seed=1), model.open(photo(1), "a boat, snow", seed=1)]

    alone = [dragged(stream, 6) for stream in opened()]
    between: list[list[Video]] = [[], []]
    streams = opened()
    for turn in (0, 1, 1, 0, 0, 1, 0, 0, 1, 1, 1, 0):
        between[turn].append(dragged(streams[turn], 1))
    for one, other in zip(alone, between, strict=True):
        np.testing.assert_array_equal(one, np.concatenate(other))


def test_committing_early_or_late_changes_nothing(model: StreamingModel) -> None:
    late, early, mixed = (model.open(photo(), PROMPT) for _ in range(3))
    for turn in range(5):
        frames = dragged(late, 1)
        np.testing.assert_array_equal(frames, dragged(early, 1))
        np.testing.assert_array_equal(frames, dragged(mixed, 1))
        early.settle()
        early.settle()
        if turn % 2:
            mixed.settle()


def test_between_two_steps_nothing_happens(model: StreamingModel) -> None:
    paused, twin, busy = model.open(photo(), PROMPT), model.open(photo(), PROMPT), model.open(photo(1))
    dragged(paused, 3), dragged(twin, 3)
    before = paused.snapshot()
    dragged(busy, 4)
    paused.prompt = PROMPT
    assert paused.chunk_frames == 12
    assert paused.snapshot() == before
    np.testing.assert_array_equal(dragged(paused, 2), dragged(twin, 2))


def with_value(tracks: Tracks, value: float) -> Tracks:
    xy = tracks.xy.copy()
    xy[2, 1, 0] = value
    return Tracks(xy, tracks.visible, tracks.ids)


@pytest.mark.parametrize(
    "wrong",
    [
        lambda good: good.slice(0, good.frames - 1),
        lambda good: Tracks.empty(good.frames + 1),
        lambda good: good.slice(0, 0),
        lambda good: with_value(good, np.nan),
        lambda good: with_value(good, np.inf),
        lambda good: Tracks(good.xy[..., :1], good.visible),
        lambda good: Tracks(good.xy, good.visible[:, 1:]),
        lambda good: Tracks(good.xy, good.visible, np.zeros(good.points, np.int64)),
    ],
)
def test_wrong_tracks_are_refused_and_leave_no_trace(model: StreamingModel, wrong: Callable[[Tracks], Tracks]) -> None:
    disturbed, twin = model.open(photo(), PROMPT), model.open(photo(), PROMPT)
    for _ in range(3):
        good = drag(shown(disturbed), shown(disturbed) + disturbed.chunk_frames)
        with pytest.raises(ValueError, match=r"tracks.*: (send|give|the next step takes)|send numbers"):
            disturbed.step(wrong(good))
        np.testing.assert_array_equal(disturbed.step(good), dragged(twin, 1))


@pytest.mark.parametrize("far", [-1e4, 1e9, 3e38])
def test_points_far_outside_do_not_poison_a_stream(model: StreamingModel, far: float) -> None:
    stream = model.open(photo(), PROMPT)
    stream.step(with_value(drag(0, 9), far))
    stream.step(with_value(drag(9, 21), far))
    stream.settle()
    state = stream.state
    assert all(part.isfinite().all() for part in (state.cache.keys, state.cache.values, state.frame))


def test_the_anchor_stays_while_hands_take_hold_and_let_go(model: StreamingModel) -> None:
    """Alone 1 chunk, dragged 2, let go 2, and taken hold of again, elsewhere, by other points."""
    stream = model.open(photo(), PROMPT)
    picture = stream.state.conditioner.anchor.picture
    anchors = []
    for first_id in (None, 0, 0, None, None, 9):
        begin = shown(stream)
        stream.step(None if first_id is None else drag(begin, begin + stream.chunk_frames, first_id=first_id))
        anchors.append(stream.state.conditioner.anchor)
    opened, taken, dragged_on, released, after, again = anchors
    assert all((anchor.picture == picture).all() for anchor in anchors)
    assert opened.ids.shape == (1, 0)
    assert taken.ids.tolist() == [[0, 1, 2, 3]]
    np.testing.assert_allclose(taken.birth_xy[0], drag(9, 10).xy[0], atol=1e-4)
    np.testing.assert_array_equal(dragged_on.birth_xy, taken.birth_xy)
    assert released.held.all()
    np.testing.assert_array_equal(released.xy, dragged_on.xy)
    np.testing.assert_array_equal(after.xy, released.xy)
    assert again.ids[again.born & ~again.held].tolist() == [9, 10, 11, 12]


def test_a_second_hand_leaves_the_first_ones_points_alone(model: StreamingModel) -> None:
    stream = model.open(photo(), PROMPT)
    dragged(stream, 2)
    begin, before = shown(stream), stream.state.conditioner.anchor
    first, second = drag(begin, begin + 12), drag(begin, begin + 12, points=2, first_id=20)
    both = Tracks(
        np.concatenate([first.xy, second.xy], 1),
        np.concatenate([first.visible, second.visible], 1),
        np.concatenate([first.ids, second.ids]),
    )
    stream.step(both)
    anchor = stream.state.conditioner.anchor
    assert (anchor.picture == before.picture).all()
    np.testing.assert_array_equal(anchor.birth_xy[0, :4], before.birth_xy[0, :4])
    assert anchor.ids[0, 4:].tolist() == [20, 21]


def test_too_much_held_makes_the_last_frame_the_anchor(model: StreamingModel, monkeypatch: pytest.MonkeyPatch) -> None:
    """Four points are let go; where three are too many, the step after that starts from what is shown."""
    stream = model.open(photo(), PROMPT)
    dragged(stream, 2)
    stream.step()
    opened, shown_last = stream.state.conditioner.anchor.picture, stream.state.frame
    assert stream.state.conditioner.anchor.held.sum() == 4
    snapshot = stream.snapshot()
    stream.step()
    assert (stream.state.conditioner.anchor.picture == opened).all()
    monkeypatch.setattr("motionstream.tiny.anchor.MOST_HELD", 3)
    too_many_held = model.resume(snapshot)
    too_many_held.step()
    assert (too_many_held.state.conditioner.anchor.picture == shown_last).all()
    assert not too_many_held.state.conditioner.anchor.held.any()


def test_gestures_that_come_and_go_do_not_pile_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Sixty drags, each by other points at another place, of which at most eight points may stay held."""
    monkeypatch.setattr("motionstream.tiny.anchor.MOST_HELD", 8)
    stream, known = open_small(save_small(tmp_path, chunk=1)).open(photo(), PROMPT), []
    for gesture in range(60):
        begin = shown(stream)
        moved = drag(begin, begin + stream.chunk_frames, points=3, first_id=3 * gesture)
        stream.step(Tracks(moved.xy + np.float32(gesture % 7 - 3), moved.visible, moved.ids))
        stream.step()
        known.append(stream.state.conditioner.anchor.ids.shape[1])
    assert max(known) > 0
    assert max(known) <= 8 + 3


def tensor_bytes() -> int:
    """Bytes of all tensors there are in this process, what shares storage counted once."""
    gc.collect()
    storages = {}
    for each in gc.get_objects():
        if type(each) in (torch.Tensor, torch.nn.Parameter) and not each.is_mkldnn:
            storage = each.untyped_storage()
            storages[storage.data_ptr()] = storage.nbytes()
    return sum(storages.values())


def test_nothing_grows_over_two_hundred_chunks(tmp_path: Path) -> None:
    stream = open_small(save_small(tmp_path, chunk=1)).open(photo(), PROMPT)
    dragged(stream, 12)
    full, written = tensor_bytes(), len(stream.snapshot())
    dragged(stream, 200)
    assert tensor_bytes() == full
    assert len(stream.snapshot()) == pytest.approx(written, abs=20)


def test_prompts_do_not_pile_up(tmp_path: Path) -> None:
    """Some of the latest may be kept in a quicker form; forty more may not cost what even half of them hold."""
    model = open_small(save_small(tmp_path, chunk=1))
    stream, before = model.open(photo()), 0
    for turn in range(60):
        stream.prompt = f"turn {turn}"
        stream.step()
        before = tensor_bytes() if turn == 19 else before
    one = sum(part.nbytes for layer in model.context(PROMPT).layers for pair in layer for part in pair)
    assert tensor_bytes() - before < 40 * one / 2
