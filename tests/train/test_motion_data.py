"""Samples for the motion stages: what is dropped, anchors taken anew, null forms, and an order that can be resumed."""

from __future__ import annotations

from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from tests.small import GEOMETRY, moving_tracks, small_vae
from tests.train.smoke import motion_data

from motionstream.conditioning import Conditioning
from motionstream.tiny.conditioner import AnchoredConditioner
from motionstream.train.motion_data import Drops, Sample, condition, draw_drops, frozen_vae

FRAMES = 21
NAMES = [field.name for field in fields(Conditioning)]


def same(a: Conditioning, b: Conditioning) -> bool:
    return all(torch.equal(getattr(a, name), getattr(b, name)) for name in NAMES)


def equal(a: Sample, b: Sample) -> bool:
    assert a.no_motion is not None
    assert b.no_motion is not None
    controls = same(a.conditioning, b.conditioning) and same(a.no_motion, b.no_motion)
    return torch.equal(a.latents, b.latents) and a.prompts == b.prompts and controls


def test_a_sample_holds_a_clip_and_what_steers_it(chain: Path) -> None:
    sample = motion_data(chain).next()
    assert sample.latents.shape == (2, 6, 8, 6, 8)
    assert sample.conditioning.latents == 6
    assert sample.no_motion is None
    assert torch.equal(sample.first, sample.latents[:, :1])
    torch.testing.assert_close(sample.conditioning.first[:, :1, 4:], sample.first, atol=1e-4, rtol=0)
    assert all(sample.prompts)
    assert sample.conditioning.volume.any()


def test_without_tracks_a_sample_says_nothing_of_motion(chain: Path) -> None:
    sample = motion_data(chain).next(no_motion=True)
    assert sample.no_motion is not None
    assert not sample.no_motion.volume.any()
    assert not sample.no_motion.support[:, :, :4].any()
    assert torch.equal(sample.no_motion.first, sample.conditioning.first)


def test_it_goes_on_exactly_where_it_was(chain: Path) -> None:
    drops = Drops(0.3, 0.3, 0.1, 0.3)
    data = motion_data(chain, drops)
    data.next()
    state = data.state_dict()
    expected = [data.next(no_motion=True) for _ in range(2)]
    other = motion_data(chain, drops, seed=99)
    other.load_state_dict(state)
    assert all(equal(other.next(no_motion=True), sample) for sample in expected)
    assert not equal(*expected)


def test_the_probe_is_always_the_same_and_takes_nothing_from_the_order(chain: Path) -> None:
    data = motion_data(chain, Drops(0.5, 0.5, 0, 0.5))
    probe, state = data.probe(1), data.state_dict()
    data.next()
    again = data.probe(1)
    assert equal(probe, again)
    data.load_state_dict(state)
    assert data.state_dict() == state
    assert (probe.conditioning.support[:, :, 4] == 1).all()
    assert all(probe.prompts)


def test_shares_of_drops_are_kept_apart() -> None:
    drops = Drops(text=0.2, track=0.3, both=0.1, anchor=0.25)
    text, track, anchor = draw_drops(20000, drops, np.random.default_rng(0))
    shares = (text & ~track).mean(), (track & ~text).mean(), (text & track).mean(), anchor.mean()
    assert shares == pytest.approx((0.2, 0.3, 0.1, 0.25), abs=0.01)
    assert (anchor & text).mean() == pytest.approx(0.25 * 0.3, abs=0.01)
    assert not any(one.any() for one in draw_drops(500, Drops(), np.random.default_rng(0)))


def test_an_idle_clip_stands_still_without_tracks(chain: Path) -> None:
    idle, moving = motion_data(chain, Drops(idle=1)).next(), motion_data(chain).next()
    assert torch.equal(idle.video, idle.video[:, :1].expand_as(idle.video))
    assert not torch.equal(moving.video, moving.video[:, :1].expand_as(moving.video))
    assert torch.equal(idle.video[:, 0], moving.video[:, 0])
    assert not idle.conditioning.volume.any()
    assert not idle.conditioning.support[:, :, :4].any()
    assert idle.prompts == moving.prompts


@pytest.mark.parametrize("drops", [Drops(text=1), Drops(track=1), Drops(both=1), Drops(anchor=1)])
def test_what_is_dropped_is_gone_and_the_rest_is_there(chain: Path, drops: Drops) -> None:
    sample = motion_data(chain, drops).next(no_motion=True)
    assert sample.no_motion is not None
    silent = bool(drops.track or drops.both)
    assert sample.conditioning.volume.any() != silent
    assert sample.conditioning.support[:, :, :4].any() != (silent or bool(drops.anchor))
    assert any(sample.prompts) != bool(drops.text or drops.both)
    for parts in (sample.conditioning, sample.no_motion):
        assert parts.anchor.any() != bool(drops.anchor), "guidance compares like with like"
        assert parts.support[:, :, 4].any() != bool(drops.anchor)


def test_an_anchor_taken_anew_starts_at_a_chunk_for_both_forms(chain: Path) -> None:
    """Beside the same clip with one anchor: nothing changes before the boundary, the warp does after it."""
    anew = motion_data(chain, Drops(reanchor=1.0)).next(no_motion=True)
    once = motion_data(chain, Drops(reanchor=1e-12)).next(no_motion=True)
    pairs = [(anew.conditioning, once.conditioning)]
    assert anew.no_motion is not None
    assert once.no_motion is not None
    for a, b in [*pairs, (anew.no_motion, once.no_motion)]:
        assert a.latents == b.latents == 6
        torch.testing.assert_close(a.anchor[:, :3], b.anchor[:, :3], atol=1e-5, rtol=0)
        assert (a.anchor[:, 3:] - b.anchor[:, 3:]).abs().max() > 1e-3
        assert torch.equal(a.first, b.first)
    assert torch.equal(anew.conditioning.volume, once.conditioning.volume)
    late = anew.latents[:, 3:]
    errors = [(sample.conditioning.anchor[:, 3:] - late).square().mean() for sample in (anew, once)]
    assert errors[0] < errors[1], "the later picture is nearer to what follows it"


def test_boundaries_are_the_starts_of_later_chunks(chain: Path) -> None:
    data, random = motion_data(chain, frames=45), np.random.default_rng(0)
    drawn = {data._boundary(45, random, 0.25) for _ in range(200)}
    assert drawn == {None, 9, 21, 33}
    assert data._boundary(9, random, 1.0) is None


def test_with_a_boundary_the_anchor_is_the_true_frame_before_it() -> None:
    vae, tracks = small_vae(), moving_tracks(FRAMES)
    tracks.visible[:] = True
    video = torch.randn(1, FRAMES, 3, GEOMETRY.height, GEOMETRY.width)
    late = replace(tracks, visible=tracks.visible.clone())
    late.visible[:, 9:] = False
    parts, warped = condition(AnchoredConditioner(vae, GEOMETRY), video, late, boundary=9)
    first, held = video[:, :1].expand(-1, 9, -1, -1, -1), video[:, 8:9].expand(-1, 12, -1, -1, -1)
    assert parts.latents == 6
    _, memory = vae.encode_step(torch.cat([first, held], 1)[:, :9], None)
    assert torch.equal(warped.frames[:, -1], video[:, 8]), "nothing is tracked there: the later anchor as it is"
    whole, _ = condition(AnchoredConditioner(vae, GEOMETRY), video, late, boundary=None)
    torch.testing.assert_close(parts.anchor[:, :3], whole.anchor[:, :3])
    expected, _ = vae.encode_step(held, memory)
    torch.testing.assert_close(parts.anchor[:, -1:], expected[:, -1:], atol=1e-4, rtol=0)


def test_a_run_of_another_stage_is_no_vae(chain: Path) -> None:
    with pytest.raises(ValueError, match="is a run of stage 'teacher', not of 'vae'"):
        frozen_vae(chain / "teacher", "cpu", torch.float32)


def test_the_vae_is_the_averaged_one_and_frozen(chain: Path) -> None:
    vae = frozen_vae(chain / "vae", "cpu", torch.bfloat16)
    assert not vae.training
    assert not any(p.requires_grad for p in vae.parameters())
    assert {tensor.dtype for tensor in vae.state_dict().values()} == {torch.bfloat16}
