"""Specks are their seed's and their frame's number's, keep their thickness, and fall."""

from __future__ import annotations

import torch

from motionstream.tiny.particles import FALLING, FINE, KINDS, ROWS, WIDE, Particles

SIZE = (256, ROWS)
GRAIN, FIRST, VEIL = 0, 1, KINDS


def test_they_follow_from_seed_and_number() -> None:
    once, again = (Particles.of(7, SIZE) for _ in range(2))
    whole = once.at(range(20, 28))
    assert whole.shape == (8, KINDS + 1, SIZE[1], SIZE[0])
    torch.testing.assert_close(again.at(range(23, 28)), whole[3:], rtol=0, atol=0)
    assert (Particles.of(8, SIZE).at([20]) != whole[:1]).float().mean() > 0.1


def test_noise_is_even_and_what_falls_covers_little() -> None:
    fields = Particles.of(1, SIZE).fields
    for field, deviation in ((fields[GRAIN], FINE), (fields[VEIL], WIDE)):
        torch.testing.assert_close(field.mean(), torch.zeros(()), atol=1e-4, rtol=0)
        torch.testing.assert_close(field.std(), torch.tensor(deviation), atol=1e-4, rtol=0)
    falling = fields[FIRST:VEIL]
    assert falling.min() >= 0
    assert falling.max() <= 1
    assert (falling.mean((1, 2)) < 0.03).all()
    assert (falling.amax((1, 2)) > 0.5).all()


def test_nothing_is_lost_at_the_edges() -> None:
    specks = Particles.of(1, SIZE)
    for frame in specks.at([0, 5, 10_000]):
        torch.testing.assert_close(frame.mean((1, 2)), specks.fields.mean((1, 2)), atol=1e-6, rtol=1e-4)


def test_flakes_and_drops_fall_by_their_speed() -> None:
    before, after = Particles.of(1, SIZE).at([0, 1])
    for index, kind in enumerate(FALLING, FIRST):
        sideways = [torch.roll(before[index], (round(kind.fall), shift), (0, 1)) for shift in range(-2, 3)]
        assert any(torch.equal(moved, after[index]) for moved in sideways)


def test_grain_is_new_in_every_frame_and_the_veil_drifts() -> None:
    frames = Particles.of(3, SIZE).at(range(6))
    grain, veil = (frames[:, kind].flatten(1) for kind in (GRAIN, VEIL))
    for first, second in ((0, 1), (1, 2), (2, 5)):
        assert abs(torch.corrcoef(grain[[first, second]])[0, 1]) < 0.1
        assert torch.corrcoef(veil[[first, second]])[0, 1] > 0.9


def test_they_are_as_large_in_frames_of_any_size() -> None:
    small, large = (Particles.of(2, size).fields[FIRST:VEIL].mean((1, 2)) for size in ((160, 96), (512, 288)))
    torch.testing.assert_close(small, large, rtol=0.35, atol=0)


def test_the_veil_has_no_seam() -> None:
    for size in (SIZE, (160, 96), (250, 141)):
        veil = Particles.of(5, size).fields[VEIL]
        for axis in (0, 1):
            steps = (torch.roll(veil, -1, axis) - veil).abs().amax(1 - axis)
            assert steps[-1] < 1.5 * steps[:-1].max()
            assert steps.max() < 0.1
