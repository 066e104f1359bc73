"""Even grids cover the frame and keep their distance from its border."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from motionstream.tracks.grid import even_grid


@given(width=st.integers(16, 2000), height=st.integers(16, 2000), along=st.integers(1, 50))
def test_points_fill_the_frame_evenly(width: int, height: int, along: int) -> None:
    points = even_grid((width, height), along)
    assert (points > 0).all()
    assert (points < (width, height)).all()
    np.testing.assert_allclose(points.mean(0), (width / 2, height / 2), rtol=1e-4)
    longer = 0 if width >= height else 1
    assert len(np.unique(points[:, longer])) == along
    assert len(np.unique(points, axis=0)) == len(points)


def test_the_grid_of_the_tiny_frame() -> None:
    assert even_grid((256, 144), 16).shape == (144, 2)
    np.testing.assert_array_equal(even_grid((256, 144), 16)[0], (8, 8))


def test_no_points_are_refused() -> None:
    with pytest.raises(ValueError, match="at least 1"):
        even_grid((256, 144), 0)
