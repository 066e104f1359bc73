"""Conditioning with a warped anchor: a clip at once = chunk by chunk, its channels, and its null forms."""

from __future__ import annotations

from dataclasses import fields

import pytest
import torch
from tests.small import CHANNELS, GEOMETRY, moving_tracks, picture, small_conditioning, small_config, small_vae

from motionstream.conditioning import TrackBatch
from motionstream.tiny.affinity import affinity
from motionstream.tiny.anchor import Anchor
from motionstream.tiny.conditioner import AnchoredConditioner, AnchoredConditioning, AnchoredState
from motionstream.tiny.warp import warp
from motionstream.tracks import Tracks

LATENTS = 5
FRAMES = GEOMETRY.frames(LATENTS)
NAMES = [field.name for field in fields(AnchoredConditioning)]


def conditioner() -> AnchoredConditioner:
    return AnchoredConditioner(small_vae().double(), GEOMETRY, seed=3)


def still(clips: int = 1) -> torch.Tensor:
    return picture(clips).double()


@pytest.mark.parametrize("chunks", [(1, 1, 1, 1, 1), (3, 2), (2, 1, 2)])
def test_a_clip_at_once_equals_chunk_by_chunk(chunks: tuple[int, ...]) -> None:
    make, tracks = conditioner(), moving_tracks(FRAMES, clips=2)
    whole = make.clip(still(2), tracks)
    state = AnchoredState(Anchor.of(still(2)).seen(tracks, 0))
    parts, latent = [], 0
    for size in chunks:
        part, state = make.continued(state, tracks.slice(*GEOMETRY.frame_range(latent, size)))
        assert part.latents == size
        parts.append(part)
        latent += size
    joined = AnchoredConditioning.join(parts)
    for name in NAMES:
        torch.testing.assert_close(getattr(joined, name), getattr(whole, name), atol=1e-12, rtol=0)


def test_slices_of_a_clip_join_to_the_clip() -> None:
    whole = small_conditioning(LATENTS)
    joined = AnchoredConditioning.join([whole.slice(0, 3), whole.slice(3, LATENTS)])
    assert whole.slice(3, LATENTS).latents == 2
    assert all(torch.equal(getattr(joined, name), getattr(whole, name)) for name in NAMES)


def test_the_first_latent_is_the_pictures_under_a_mask() -> None:
    make = conditioner()
    first = make.clip(still(), moving_tracks(FRAMES)).first
    mask, latents = first.split([4, CHANNELS], 2)
    assert (mask[:, 0] == 1).all()
    torch.testing.assert_close(latents[:, :1], make.vae.encode(still()[:, None]), atol=1e-5, rtol=0)
    assert not first[:, 1:].any()


def test_a_stream_that_goes_on_has_no_given_latent() -> None:
    make, tracks = conditioner(), moving_tracks(FRAMES)
    _, state = make.continued(AnchoredState(Anchor.of(still()).seen(tracks, 0)), tracks.slice(0, 5))
    later, _ = make.continued(state, tracks.slice(5, FRAMES))
    assert not later.first.any()


def test_the_anchor_is_the_encoded_warp() -> None:
    make, tracks = conditioner(), moving_tracks(FRAMES)
    warped = make.warp(Anchor.of(still()).seen(tracks, 0), tracks).frames
    made = make.clip(still(), tracks).anchor
    torch.testing.assert_close(made, make.vae.encode(warped.double()), atol=1e-12, rtol=0)
    alone, _ = warp(still(), affinity(still()), tracks.xy, tracks.visible, tracks.xy[:, 0], tracks.visible[:, 0])
    torch.testing.assert_close(warped, alone, atol=2e-5, rtol=0)  # float32 sums, with nobody's points among them
    assert (made - make.clip(still(), tracks.hidden(torch.tensor([True]))).anchor)[:, 1:].abs().max() > 1e-3


def test_support_is_where_points_are_in_which_frame() -> None:
    xy, visible = torch.full((1, FRAMES, 1, 2), 12.0), torch.zeros(1, FRAMES, 1, dtype=torch.bool)
    visible[:, [0, 6]] = True
    support = conditioner().clip(still(), TrackBatch(xy, visible, torch.tensor([[0]]))).support
    dense = support[0, :, :4].amax((-1, -2)) > 0.1
    assert dense.nonzero().tolist() == [[0, 3], [2, 1]]
    assert (support[:, :, 4] == 1).all(), "the anchor is present"
    assert support[0, 0, 3].argmax() == GEOMETRY.latent_width + 1
    assert support.max() <= 1


def test_points_born_later_condition_by_their_identity_alone() -> None:
    make, tracks = conditioner(), moving_tracks(FRAMES)
    tracks.visible[:, 0] = False
    tracks.visible[:, 1:] = True
    late, null = make.clip(still(), tracks), make.clip(still(), tracks.hidden(torch.tensor([True])))
    assert torch.equal(late.anchor, null.anchor)
    assert torch.equal(late.support, null.support)
    assert late.volume.any()


def test_without_tracks_there_is_no_code_and_the_picture_stands_still() -> None:
    make, frames = conditioner(), still()[:, None].expand(-1, FRAMES, -1, -1, -1)
    hidden = make.clip(still(), moving_tracks(FRAMES).hidden(torch.tensor([True])))
    none = make.clip(still(), TrackBatch.of([Tracks.empty(FRAMES)]))
    for null in (hidden, none):
        assert not null.volume.any()
        assert not null.support[:, :, :4].any()
        assert (null.support[:, :, 4] == 1).all()
        torch.testing.assert_close(null.anchor, make.vae.encode(frames), atol=1e-5, rtol=0)


def test_a_dropped_anchor_leaves_its_clip_alone_and_no_trace_in_it() -> None:
    whole = small_conditioning(3, clips=2)
    dropped = whole.without_anchor(torch.tensor([False, True]))
    assert not dropped.anchor[1].any()
    assert not dropped.support[1].any()
    assert torch.equal(dropped.anchor[0], whole.anchor[0])
    assert torch.equal(dropped.support[0], whole.support[0])
    assert torch.equal(dropped.first, whole.first)
    assert torch.equal(dropped.volume, whole.volume)
    assert whole.anchor[1].any()


def test_half_precision_goes_through() -> None:
    half = small_conditioning(3).to(torch.bfloat16)
    assert all(getattr(half, name).dtype == torch.bfloat16 for name in NAMES)


@pytest.mark.parametrize("anchored", [True, False])
def test_channels_are_as_many_as_the_configuration_counts(anchored: bool) -> None:
    config = small_config(anchored).conditioning
    parts = small_conditioning(2)
    extra = parts.anchor.shape[2] + parts.support.shape[2] if config.anchored else 0
    assert config.channels == parts.first.shape[2] + config.track_channels + extra
