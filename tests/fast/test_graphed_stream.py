"""A live stream whose chunks are made over fixed buffers shows the frames of one whose chunks are not."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from tests.stream.small_bundle import PROMPT, calm_vae, dragged, open_small, photo, save_small

from motionstream.fast.graphed import GraphedDecode, GraphedStep, chunk_step
from motionstream.sampling import PlainStep
from motionstream.stream.model import StreamingModel
from motionstream.stream.stream import Stream
from motionstream.tiny.conditioner import AnchoredConditioner
from motionstream.vae import Memory


def over_buffers(folder: Path) -> StreamingModel:
    plain = open_small(folder)
    assert isinstance(plain.chunk_step, PlainStep)
    model = StreamingModel(
        plain.name,
        plain.network,
        plain.vae,
        plain.geometry,
        plain.fps,
        plain.rollout_config,
        plain.hash,
        conditioner=AnchoredConditioner,
        finisher=plain.finisher,
        chunk_step=partial(chunk_step, graphs=True),
    )
    assert isinstance(model.chunk_step, GraphedStep)
    return model


def shown(stream: Stream) -> np.ndarray:
    parts = [dragged(stream, 4)]
    stream.prompt = "a boat, snow"
    return np.concatenate([*parts, dragged(stream, 2), stream.step()])


@pytest.mark.parametrize("sizes", [(3, 3, 3), (3, 2, 3), (1, 3, 1)])
def test_it_shows_the_same_frames(tmp_path: Path, sizes: tuple[int, int, int]) -> None:
    folder = save_small(tmp_path, *sizes)
    expected = shown(open_small(folder).open(photo(), PROMPT))
    made = shown(over_buffers(folder).open(photo(), PROMPT))
    assert np.abs(made.astype(int) - expected.astype(int)).max() <= 1


def test_snapshots_of_streams_in_turn_go_on_bit_for_bit(tmp_path: Path) -> None:
    """Frames leave before the chunk is committed, whoever has the next turn."""
    model = over_buffers(save_small(tmp_path))
    stream, twin, other = model.open(photo(), PROMPT), model.open(photo(), PROMPT), model.open(photo(1), "rain", seed=5)
    dragged(stream, 3), dragged(other, 2)
    assert stream.state.pending is not None
    resumed = over_buffers(tmp_path).resume(stream.snapshot())
    dragged(twin, 3), dragged(other, 1)
    expected = shown(twin)
    for one in (stream, resumed):
        np.testing.assert_array_equal(shown(one), expected)


def test_a_snapshot_moves_between_the_two_kinds(tmp_path: Path) -> None:
    plain, graphed = open_small(save_small(tmp_path)), over_buffers(tmp_path)
    for here, there in ((plain, graphed), (graphed, plain)):
        stream = here.open(photo(), PROMPT)
        dragged(stream, 3)
        resumed = there.resume(stream.snapshot())
        difference = shown(stream).astype(int) - shown(resumed).astype(int)
        assert np.abs(difference).max() <= 1


def test_decoding_over_buffers_keeps_streams_apart() -> None:
    vae = calm_vae()
    decode, clips = GraphedDecode(vae, torch.device("cpu")), torch.randn(2, 1, 9, vae.latent_channels, 4, 6)
    with torch.inference_mode():
        expected = [vae.decode(clip) for clip in clips]
        memories: list[Memory | None] = [None, None]
        made: list[list[torch.Tensor]] = [[], []]
        for begin in (0, 3, 6):
            for who, clip in enumerate(clips):
                video, memories[who] = decode(clip[:, begin : begin + 3], memories[who])
                made[who].append(video)
    for videos, whole in zip(made, expected, strict=True):
        torch.testing.assert_close(torch.cat(videos, 1), whole, atol=1e-5, rtol=0)
