"""Identity codes land where the points are, in the latent and slot of their frame; hidden points leave nothing."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from tests.small import CHANNELS, GEOMETRY, moving_tracks, small_vae

from motionstream.conditioning import TrackBatch, TrackHead, identity_codes, track_volume
from motionstream.conditioning.track_volume import CODE_WIDTH, cell_index
from motionstream.tracks import Tracks

IDS = torch.arange(3000)


def at(xy: tuple[float, float], frames: int = 1, ids: tuple[int, ...] = (5,)) -> TrackBatch:
    """Points that all stand at one place."""
    places = np.broadcast_to(np.float32(xy), (frames, len(ids), 2))
    return TrackBatch.of([Tracks(places, np.ones((frames, len(ids)), bool), np.array(ids))])


def by_frame(volume: torch.Tensor) -> torch.Tensor:
    """(B, T, 4·64, h, w) → (B, T, 4, 64, h, w)."""
    return volume.unflatten(2, (4, CODE_WIDTH))


@pytest.mark.parametrize("seed", [0, 1, 2**31, 2**70, -3])
def test_codes_are_distinct_bounded_and_the_same_every_time(seed: int) -> None:
    codes = identity_codes(IDS, seed)
    assert codes.shape == (3000, CODE_WIDTH)
    assert torch.equal(codes, identity_codes(IDS, seed))
    assert torch.equal(codes[[7, 70]], identity_codes(torch.tensor([7, 70]), seed))
    assert codes.abs().max() <= 1
    distance = torch.cdist(codes, codes, compute_mode="donot_use_mm_for_euclid_dist").fill_diagonal_(9)
    assert distance.min() > 0.1


def test_codes_of_another_seed_are_others() -> None:
    apart = (identity_codes(IDS, 1) - identity_codes(IDS, 2)).norm(dim=-1)
    assert apart.median() > 3
    assert (apart > 0.1).all()


def test_a_large_id_is_an_id_like_any_other() -> None:
    far = torch.tensor([2**62, 2**62 + 1, -1])
    assert len(torch.unique(identity_codes(far, 0), dim=0)) == 3


@pytest.mark.parametrize(
    ("xy", "cell"),
    [
        ((0.0, 0.0), (0, 0)),
        ((7.99, 7.99), (0, 0)),
        ((8.0, 0.5), (0, 1)),
        ((0.5, 8.0), (1, 0)),
        ((47.9, 31.9), (3, 5)),
        ((20.5, 11.5), (1, 2)),
    ],
)
def test_a_code_is_placed_in_its_cell_and_nowhere_else(xy: tuple[float, float], cell: tuple[int, int]) -> None:
    volume = by_frame(track_volume(at(xy), GEOMETRY, seed=3, starts=True))
    assert volume.shape == (1, 1, 4, CODE_WIDTH, GEOMETRY.latent_height, GEOMETRY.latent_width)
    placed = volume[0, 0, 3, :, *cell].clone()
    torch.testing.assert_close(placed, identity_codes(torch.tensor(5), 3))
    volume[0, 0, 3, :, *cell] = 0
    assert not volume.any()


@pytest.mark.parametrize("xy", [(-0.1, 5.0), (5.0, -0.1), (48.0, 5.0), (5.0, 32.0), (1e30, 5.0), (5.0, -1e30)])
def test_points_outside_leave_nothing(xy: tuple[float, float]) -> None:
    tracks = at(xy)
    assert not cell_index(tracks.xy, GEOMETRY)[1].any()
    assert not track_volume(tracks, GEOMETRY, 0, starts=True).any()


def test_hidden_points_leave_nothing_and_disturb_no_one() -> None:
    both = at((20.0, 12.0), ids=(5, 6))
    both.visible[..., 1] = False
    alone = track_volume(at((20.0, 12.0), ids=(5,)), GEOMETRY, 0, starts=True)
    assert torch.equal(track_volume(both, GEOMETRY, 0, starts=True), alone)
    everyone = both.hidden(torch.tensor([True]))
    assert not track_volume(everyone, GEOMETRY, 0, starts=True).any()
    assert both.visible.any(), "hiding makes new tracks and leaves the old ones alone"


def test_points_that_share_a_cell_are_averaged() -> None:
    volume = by_frame(track_volume(at((20.0, 12.0), ids=(5, 6, 9)), GEOMETRY, 0, starts=True))
    expected = identity_codes(torch.tensor([5, 6, 9]), 0).mean(0)
    torch.testing.assert_close(volume[0, 0, 3, :, 1, 2], expected)


def test_padding_to_the_same_number_of_points_changes_nothing() -> None:
    few, many = moving_tracks(5, points=2, seed=1), moving_tracks(5, points=9, seed=2)
    one, two = (Tracks(t.xy[0].numpy(), t.visible[0].numpy()) for t in (few, many))
    both = track_volume(TrackBatch.of([one, two]), GEOMETRY, 0, starts=True)
    assert torch.equal(both[:1], track_volume(few, GEOMETRY, 0, starts=True))
    assert torch.equal(both[1:], track_volume(many, GEOMETRY, 0, starts=True))


@pytest.mark.parametrize("frame", range(13))
def test_a_frame_lands_in_the_latent_that_the_vae_puts_it_in(frame: int) -> None:
    latents = GEOMETRY.latents(13)
    tracks = at((20.0, 12.0), frames=13)
    tracks.visible[:, torch.arange(13) != frame] = False
    volume = by_frame(track_volume(tracks, GEOMETRY, 0, starts=True)).any(3).any(-1).any(-1)[0]
    (latent, slot) = volume.nonzero()[0].tolist()
    assert volume.sum() == 1
    begin, end = GEOMETRY.frame_range(latent, 1)
    assert begin <= frame < end
    assert slot == 4 - (end - frame)

    vae, clip = small_vae(), torch.zeros(1, 13, 3, 16, 16)
    touched = clip.clone()
    touched[:, frame] = 1
    changed = (vae.encode(touched) != vae.encode(clip)).flatten(2).any(-1)[0]
    assert changed.int().argmax() == latent
    assert len(changed) == latents


@pytest.mark.parametrize("split", [1, 5, 9])
def test_a_clip_at_once_equals_chunk_by_chunk(split: int) -> None:
    tracks = moving_tracks(13)
    whole = track_volume(tracks, GEOMETRY, 4, starts=True)
    start = track_volume(tracks.slice(0, split), GEOMETRY, 4, starts=True)
    rest = track_volume(tracks.slice(split, 13), GEOMETRY, 4, starts=False)
    assert torch.equal(torch.cat([start, rest], 1), whole)


def test_no_points_at_all_give_an_empty_volume() -> None:
    volume = track_volume(TrackBatch.of([Tracks.empty(5), Tracks.empty(5)]), GEOMETRY, 0, starts=True)
    assert volume.shape == (2, 2, 4 * CODE_WIDTH, GEOMETRY.latent_height, GEOMETRY.latent_width)
    assert not volume.any()


def test_the_head_is_one_map_of_a_cells_channels() -> None:
    """1×1×1: what a cell gives depends on no other cell and no other latent."""
    head = TrackHead(CHANNELS)
    volume = torch.randn(1, 3, 4 * CODE_WIDTH, 4, 6)
    mixed = head(volume)
    assert mixed.shape == (1, 3, CHANNELS, 4, 6)
    alone = head(volume[:, 1:2, :, 2:3, 3:4])
    torch.testing.assert_close(mixed[:, 1:2, :, 2:3, 3:4], alone)
    weight = head.project.weight
    expected = torch.einsum("cd,btdhw->btchw", weight, volume) + head.project.bias[:, None, None]
    torch.testing.assert_close(mixed, expected)
