"""The track volume: each visible point writes its code into its cell of its frame, and nothing else is written."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from einops import rearrange

from motionstream.conditioning.track_head import TrackHead
from motionstream.conditioning.track_volume import CODE_WIDTH, TrackBatch, identity_codes, track_volume
from motionstream.geometry import Geometry
from motionstream.tracks import Tracks

GEOMETRY = Geometry(64, 48)
SEED = 5


def walk(frames: int, points: int = 3, seed: int = 0) -> Tracks:
    """Points that start anywhere and wander, partly out of the frame; some are hidden."""
    rng = np.random.default_rng(seed)
    xy = rng.uniform((0, 0), (64, 48), (points, 2)) + rng.normal(0, 3, (frames, points, 2)).cumsum(0)
    return Tracks(xy.astype(np.float32), rng.random((frames, points)) > 0.3, np.arange(points) * 7)


def by_hand(tracks: Tracks, frame: int) -> torch.Tensor:
    """(D, h, w) of one frame, written point by point as the paper has it; shared cells hold the mean."""
    codes = identity_codes(torch.from_numpy(tracks.ids), SEED)
    volume, count = torch.zeros(CODE_WIDTH, 6, 8), torch.zeros(6, 8)
    for point in range(tracks.points):
        x, y = np.floor(tracks.xy[frame, point] / 8).astype(int)
        if tracks.visible[frame, point] and 0 <= x < 8 and 0 <= y < 6:
            volume[:, y, x] += codes[point]
            count[y, x] += 1
    return volume / count.clamp(min=1)


def unpacked(volume: torch.Tensor) -> torch.Tensor:
    """(B, T, 4·D, h, w) → frames (4·T, D, h, w) of the one clip in it."""
    return rearrange(volume, "1 t (p d) h w -> (t p) d h w", d=CODE_WIDTH)


@pytest.mark.parametrize("points", [0, 1, 40])
def test_the_start_of_a_clip_equals_the_papers_formula(points: int) -> None:
    tracks = walk(9, points)
    frames = unpacked(track_volume(TrackBatch.of([tracks]), GEOMETRY, SEED, starts=True))
    assert frames[:3].abs().max() == 0, "the first latent holds one frame, in the last of its four slots"
    for frame in range(9):
        torch.testing.assert_close(frames[3 + frame], by_hand(tracks, frame))


def test_chunk_by_chunk_equals_at_once() -> None:
    batch = TrackBatch.of([walk(21, 12)])
    whole = track_volume(batch, GEOMETRY, SEED, starts=True)
    parts = [track_volume(batch.slice(0, 9), GEOMETRY, SEED, starts=True)]
    parts += [track_volume(batch.slice(begin, begin + 4), GEOMETRY, SEED, starts=False) for begin in (9, 13, 17)]
    assert torch.equal(torch.cat(parts, 1), whole)


def test_a_point_keeps_its_code_and_two_points_have_two() -> None:
    codes = identity_codes(torch.arange(500), SEED)
    assert torch.equal(codes, identity_codes(torch.arange(500), SEED))
    assert torch.cdist(codes, codes).fill_diagonal_(9).min() > 1e-3
    assert not torch.equal(codes, identity_codes(torch.arange(500), SEED + 1))


def test_hidden_clips_get_the_null_control() -> None:
    batch = TrackBatch.of([walk(5, 4), walk(5, 9, seed=1)])
    volume = track_volume(batch.hidden(torch.tensor([True, False])), GEOMETRY, SEED, starts=True)
    assert volume[0].abs().max() == 0
    torch.testing.assert_close(volume[1], track_volume(batch, GEOMETRY, SEED, starts=True)[1])


def test_padding_adds_no_points() -> None:
    few, many = walk(5, 2), walk(5, 30, seed=1)
    together = track_volume(TrackBatch.of([few, many]), GEOMETRY, SEED, starts=True)
    alone = track_volume(TrackBatch.of([few]), GEOMETRY, SEED, starts=True)
    torch.testing.assert_close(together[:1], alone)


def test_the_head_is_one_linear_map_per_cell() -> None:
    torch.manual_seed(0)
    head = TrackHead(channels=10)
    volume = torch.randn(1, 2, 4 * CODE_WIDTH, 6, 8)
    out = head(volume)
    assert out.shape == (1, 2, 10, 6, 8)
    changed = volume.clone()
    changed[0, 1, :, 2, 3] += 1
    where = (head(changed) - out).abs().sum(2).nonzero()
    assert where.tolist() == [[0, 1, 2, 3]]
