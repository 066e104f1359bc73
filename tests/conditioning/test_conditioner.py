"""The paper's conditioning: a clip at once = chunk by chunk, its channels, and how far the view has moved."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from tests.small import CHANNELS, GEOMETRY, moving_tracks, picture, small_config, small_vae

from motionstream.conditioning import Conditioning, TrackBatch, TrackConditioner
from motionstream.tracks import Tracks

LATENTS = 5
FRAMES = GEOMETRY.frames(LATENTS)
SHOWN = torch.zeros(1, 3, GEOMETRY.height, GEOMETRY.width)


def conditioner() -> TrackConditioner:
    return TrackConditioner(small_vae(), GEOMETRY, seed=3)


@pytest.mark.parametrize("chunks", [(1, 1, 1, 1, 1), (3, 2), (2, 1, 2)])
def test_a_clip_at_once_equals_chunk_by_chunk(chunks: tuple[int, ...]) -> None:
    make, tracks, still = conditioner(), moving_tracks(FRAMES, clips=2), picture(2)
    whole = make.clip(still, tracks)
    state, parts, latent = make.open(still, make.vae.encode(still[:, None])), [], 0
    for size in chunks:
        part, state = make.step(state, tracks.slice(*GEOMETRY.frame_range(latent, size)), SHOWN)
        parts.append(part)
        latent += size
    for one, other in zip(Conditioning.join(parts).tensors(), whole.tensors(), strict=True):
        torch.testing.assert_close(one, other, atol=1e-6, rtol=0)


def test_the_first_latent_is_the_pictures_under_a_mask_and_no_other_is_given() -> None:
    make = conditioner()
    first = make.clip(picture(), moving_tracks(FRAMES)).first
    mask, latents = first.split([4, CHANNELS], 2)
    assert (mask[:, 0] == 1).all()
    assert torch.equal(latents[:, :1], make.vae.encode(picture()[:, None]))
    assert not first[:, 1:].any()


def test_without_tracks_there_is_no_code() -> None:
    make = conditioner()
    assert make.clip(picture(), moving_tracks(FRAMES)).volume.any()
    assert not make.clip(picture(), moving_tracks(FRAMES).hidden(torch.tensor([True]))).volume.any()
    assert not make.clip(picture(), TrackBatch.of([Tracks.empty(FRAMES)])).volume.any()


def test_channels_and_latents_are_as_the_configuration_counts() -> None:
    config, made = small_config(False).conditioning, conditioner().clip(picture(2), moving_tracks(FRAMES, clips=2))
    assert config.channels == made.first.shape[2] + config.track_channels
    assert made.latent_shape == (2, LATENTS, CHANNELS, GEOMETRY.latent_height, GEOMETRY.latent_width)
    assert made.prior().shape == made.latent_shape


def grid(dx: float, frames: int = 1, first_id: int = 0) -> TrackBatch:
    """A point in each 8×8 pixels of the picture, moved by dx; ids as they are numbered there."""
    xs, ys = np.meshgrid(np.arange(4, GEOMETRY.width, 8), np.arange(4, GEOMETRY.height, 8))
    xy = np.stack([xs.ravel() + dx, ys.ravel()], -1)[None].repeat(frames, 0).astype(np.float32)
    return TrackBatch.of([Tracks(xy, np.ones(xy.shape[:2], bool), first_id + np.arange(xy.shape[1]))])


def test_a_pan_takes_the_view_out_of_the_picture_by_its_share() -> None:
    make = conditioner()
    _, state = make.step(make.open(picture(), make.vae.encode(picture()[:, None])), grid(0), SHOWN)
    assert make.outside(state) == 0
    for share in (0.25, 0.5, 2.0):
        _, moved = make.step(state, grid(share * GEOMETRY.width, 4), SHOWN)
        assert make.outside(moved) == pytest.approx(min(share, 1), abs=1e-5)
    assert make.outside(make.renewed(moved, SHOWN)) == 0
    _, later = make.step(moved, grid(0.0, 4, first_id=1000), SHOWN)
    assert make.outside(later) == pytest.approx(1), "points born later were born in a view that had moved"


def test_one_dragged_object_does_not_move_the_view() -> None:
    make = conditioner()
    points = np.array([[[10, 10], [12, 10], [10, 12]]], np.float32)
    state = make.open(picture(), make.vae.encode(picture()[:, None]))
    for dx, frames in ((0, 1), (30, 4)):
        moved = (points + np.array([dx, 0], np.float32)).repeat(frames, 0)
        _, state = make.step(state, TrackBatch.of([Tracks(moved, np.ones((frames, 3), bool))]), SHOWN)
    assert make.outside(state) < 0.1


def test_its_state_can_be_written_down() -> None:
    make = conditioner()
    _, state = make.step(make.open(picture(), make.vae.encode(picture()[:, None])), grid(0), SHOWN)
    again = make.unpack(make.pack(state))
    here, there = (make.step(each, grid(9, 4), SHOWN)[0] for each in (state, again))
    assert all(torch.equal(one, other) for one, other in zip(here.tensors(), there.tensors(), strict=True))
    assert make.outside(again) == make.outside(state)
