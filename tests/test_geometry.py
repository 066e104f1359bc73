"""Counting: frames, latents, tokens and chunks agree with one another; pictures fit without distortion."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from motionstream.geometry import Fit, Geometry, chunk_spans

TINY = Geometry(256, 144)
sizes = st.tuples(st.integers(1, 5000), st.integers(1, 5000))
coordinates = st.floats(-4000, 4000)


def test_the_tiny_models_counts() -> None:
    assert (TINY.latent_width, TINY.latent_height) == (32, 18)
    assert TINY.token_grid == (9, 16)
    assert TINY.tokens_per_latent == 144


def test_the_papers_counts() -> None:
    assert Geometry(832, 480).tokens_per_latent == 1560
    assert Geometry(832, 480).frames(21) == 81
    assert Geometry(1280, 704, spatial_stride=16).tokens_per_latent == 880


@pytest.mark.parametrize("size", [(250, 144), (256, 150), (0, 144), (256, -16)])
def test_sizes_that_do_not_divide_are_refused(size: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match="multiples of 16"):
        Geometry(*size)


@given(st.integers(1, 60))
def test_frames_and_latents_are_inverse(latents: int) -> None:
    assert TINY.latents(TINY.frames(latents)) == latents


@given(st.integers(-5, 300).filter(lambda frames: frames < 1 or frames % 4 != 1))
def test_other_numbers_of_frames_are_no_clip(frames: int) -> None:
    with pytest.raises(ValueError, match="a clip has 1"):
        TINY.latents(frames)


@given(latents=st.integers(1, 60), chunk=st.integers(1, 9))
def test_chunks_partition_the_clip(latents: int, chunk: int) -> None:
    spans = list(chunk_spans(latents, chunk))
    ranges = [TINY.frame_range(first, count) for first, count in spans]
    assert sum(count for _, count in spans) == latents
    assert all(0 < count <= chunk for _, count in spans)
    assert ranges[0][0] == 0
    assert ranges[-1][1] == TINY.frames(latents)
    assert all(before[1] == after[0] for before, after in pairwise(ranges))


@given(first=st.integers(0, 40), chunk=st.integers(1, 9))
def test_only_the_first_chunk_is_three_frames_short(first: int, chunk: int) -> None:
    assert TINY.chunk_frames(first, chunk) == (4 * chunk if first else 1 + 4 * (chunk - 1))


def test_a_chunk_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 1"):
        list(chunk_spans(6, 0))


@given(source=sizes, frame=sizes, x=coordinates, y=coordinates)
def test_coordinates_survive_the_way_there_and_back(
    source: tuple[int, int], frame: tuple[int, int], x: float, y: float
) -> None:
    fit = Fit.of(source, frame)
    point = np.array([x, y])
    np.testing.assert_allclose(fit.to_source(fit.to_frame(point)), point, atol=1e-6 * max(1.0, 1 / fit.scale))


@given(source=sizes, frame=sizes)
def test_a_picture_fills_the_frame_around_its_middle(source: tuple[int, int], frame: tuple[int, int]) -> None:
    filled = Fit.of(source, frame).to_frame(np.array([[0, 0], source], np.float64))
    slack = 1e-6 * max(*source, *frame)
    assert (filled[0] <= slack).all()
    assert (filled[1] >= np.array(frame) - slack).all()
    np.testing.assert_allclose(filled.mean(0), np.array(frame) / 2, atol=slack)


def test_an_empty_picture_is_refused() -> None:
    with pytest.raises(ValueError, match="positive"):
        Fit.of((0, 5), (256, 144))
