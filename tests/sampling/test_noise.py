"""Noise is a function of (seed, chunk, step)."""

from __future__ import annotations

import itertools

import pytest
import torch

from motionstream.sampling import keyed, keyed_noise

SHAPE = (1, 3, 6, 4, 6)


def test_the_same_key_draws_the_same() -> None:
    torch.manual_seed(0)
    first = keyed_noise(SHAPE, 1, 2, 0)
    torch.manual_seed(9)
    assert torch.equal(keyed_noise(SHAPE, 1, 2, 0), first)
    assert torch.equal(keyed(1)(2, 0, SHAPE), first)
    assert first.dtype == torch.float32


def test_every_key_draws_its_own() -> None:
    """Also where the parts of two keys read the same side by side, as 1, 12 and 11, 2 do."""
    keys = [*itertools.product((0, 1, 2), repeat=3), (1, 12, 0), (11, 2, 0), (1, 1, 20), (1, 12, 10), (-1, 0, 0)]
    drawn = {tuple(keyed_noise((8,), *key).tolist()) for key in set(keys)}
    assert len(drawn) == len(set(keys))


@pytest.mark.parametrize("seed", [0, 2**40, 10**30])
def test_it_is_standard_normal(seed: int) -> None:
    noise = keyed_noise((20000,), seed, 3, 1)
    assert noise.mean().abs() < 0.03
    assert noise.std().item() == pytest.approx(1, abs=0.03)


def test_global_generators_are_left_alone() -> None:
    before = torch.get_rng_state()
    keyed_noise(SHAPE, 0, 0, 0)
    assert torch.equal(torch.get_rng_state(), before)
