"""A new prompt steers from the next chunk on: the sink stays, the window is what the new prompt makes of it."""

from __future__ import annotations

from pathlib import Path
from unittest.mock import patch

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
)

from motionstream.dit import RollingCache
from motionstream.geometry import chunk_spans
from motionstream.sampling import commit_chunk, denoise_chunk, keyed, rollout
from motionstream.stream.model import StreamingModel
from motionstream.vae.pixels import to_frames

NEW = "a boat, snow"
LATENTS = 12


@torch.inference_mode()
def changed_after(model: StreamingModel, latents: int) -> tuple[RollingCache, Video]:
    """A clip under PROMPT; its window committed again under NEW; one more chunk: the cache, all frames."""
    network, rollout_config = model.network, model.rollout_config
    chunk, sink, window = rollout_config.chunk, rollout_config.sink, rollout_config.window
    pixels, conditioning, warped = begun(model, photo(), drag(0, GEOMETRY.frames(latents + chunk)), seed=0)
    known, old, new = model.vae.encode(pixels), network.context([PROMPT]), network.context([NEW])
    cache = cache_for(network, rollout_config)
    clean = torch.cat(
        list(rollout(network, cache, conditioning.slice(0, latents), old, rollout_config, keyed(0), known)), 1
    )
    cache.reset_window()
    begin = max(sink, latents - window)
    for first, size in chunk_spans(latents, chunk):
        first, end = max(first, begin), first + size
        if first < end:
            commit_chunk(network, cache, clean[:, first:end], conditioning.slice(first, end), new)
    noise, part = keyed(0), conditioning.slice(latents, latents + chunk)
    index = latents // chunk
    after = denoise_chunk(
        network, cache, part, new, rollout_config.times, lambda step, shape: noise(index, step, shape)
    )
    video, shown = decoded(model, torch.cat([clean, after], 1), warped), GEOMETRY.frames(latents)
    before, later = (
        filtered(model, video[:, :shown], PROMPT),
        filtered(model, video[:, shown:], NEW, shown, shown, before=PROMPT),
    )
    return cache, to_frames(torch.cat([before, later], 1)[0])


@pytest.mark.parametrize("sizes", [(1, 3, 3), (2, 3, 3), (3, 3, 3), (3, 2, 4), (2, 0, 3)])
@pytest.mark.parametrize("latents", [6, LATENTS])
def test_it_equals_a_fresh_commit_of_the_window(tmp_path: Path, sizes: tuple[int, int, int], latents: int) -> None:
    """Also where a chunk lies half in the sink, or has half left the window."""
    model = open_small(save_small(tmp_path, *sizes))
    stream = model.open(photo(), PROMPT)
    before = dragged(stream, latents // sizes[0])
    stream.settle()
    sink = stream.state.cache.keys[:, :, : sizes[1]].clone()
    window = stream.state.cache.keys[:, :, sizes[1] :].clone()
    stream.prompt = NEW
    cache, expected = changed_after(model, latents)
    assert (stream.state.cache.keys[:, :, : sizes[1]] == sink).all()
    assert not torch.allclose(stream.state.cache.keys[:, :, sizes[1] :], window, atol=1e-3)
    assert stream.state.cache.window_filled == cache.window_filled
    for slot, other in zip(in_order(stream.state.cache), in_order(cache), strict=True):
        torch.testing.assert_close(slot, other, atol=1e-4, rtol=0)
    made = np.concatenate([before, dragged(stream, 1)])
    assert np.abs(made.astype(int) - expected.astype(int)).max() <= 1


def in_order(cache: RollingCache) -> list[torch.Tensor]:
    """Keys, of the window before rotary positions, and values of each filled slot, by position."""
    batch, tokens = cache.keys.shape[1], cache.keys.shape[3]
    ring = RollingCache(cache.config, batch=batch, tokens=tokens, sink=cache.sink, window=cache.window)
    ring.restore(cache.snapshot())
    both = torch.stack([ring.keys, ring.values])
    positions = ring.positions()
    return [both[:, :, :, slot] for slot in sorted(range(len(positions)), key=positions.__getitem__)]


def test_where_the_network_is_not_told_the_look_alone_hears_the_prompt(tmp_path: Path) -> None:
    model = open_small(save_small(tmp_path, reads_prompt=False))
    silent, said = model.open(photo()), model.open(photo(), PROMPT)
    plain, seen = dragged(silent, 3), dragged(said, 3)
    torch.testing.assert_close(silent.state.cache.keys, said.state.cache.keys)
    with torch.inference_mode():
        video = torch.from_numpy(plain).permute(0, 3, 1, 2)[None] / 127.5 - 1
        expected = to_frames(filtered(model, video, PROMPT)[0])
    inside = ((plain > 0) & (plain < 255)).all(-1)  # what was cut off before it was looked at is lost here
    assert np.abs(seen.astype(int) - plain)[inside].mean() > 0.5
    assert np.abs(seen.astype(int) - expected)[inside].max() <= 1
    said.settle()
    before = said.state.cache.keys.clone()
    with patch.object(model.chunk_step, "commit", side_effect=AssertionError):
        said.prompt = NEW
    assert torch.equal(said.state.cache.keys, before)


def test_a_new_prompt_is_seen_in_the_next_chunk_and_not_before(model: StreamingModel) -> None:
    stream, twin = model.open(photo(), PROMPT), model.open(photo(), PROMPT)
    np.testing.assert_array_equal(dragged(stream, 3), dragged(twin, 3))
    stream.prompt = NEW
    assert stream.prompt == NEW
    assert (dragged(stream, 1) != dragged(twin, 1)).mean() > 0.05


def test_the_same_prompt_again_is_no_change(model: StreamingModel) -> None:
    stream, twin = model.open(photo(), PROMPT), model.open(photo(), PROMPT)
    for _ in range(4):
        np.testing.assert_array_equal(dragged(stream, 1), dragged(twin, 1))
        stream.prompt = PROMPT


def test_a_prompt_given_before_the_first_step_is_the_prompt(model: StreamingModel) -> None:
    late, twin = model.open(photo()), model.open(photo(), PROMPT)
    late.prompt = PROMPT
    np.testing.assert_array_equal(dragged(late, 3), dragged(twin, 3))


def test_a_reworded_prompt_does_not_restart_an_effect_that_is_in_force(tmp_path: Path) -> None:
    """Phrases of both prompts go on; one that is new begins."""
    model = open_small(save_small(tmp_path, reads_prompt=False))
    steady, reworded = model.open(photo(), "snow"), model.open(photo(), "snow")
    np.testing.assert_array_equal(dragged(steady, 2), dragged(reworded, 2))
    reworded.prompt = "it snows: snow!"
    np.testing.assert_array_equal(dragged(steady, 1), dragged(reworded, 1))
    reworded.prompt = "snow, rain"
    shown = GEOMETRY.frames(reworded.state.latents)
    assert sorted(reworded.state.finisher.since.values()) == [0, shown]
    assert (dragged(steady, 1) != dragged(reworded, 1)).any()
