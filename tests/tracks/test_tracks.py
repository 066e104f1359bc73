"""`Tracks`: what was checked when they were made stays true."""

from __future__ import annotations

import numpy as np
import pytest

from motionstream.tracks import Tracks


@pytest.mark.parametrize("name", ["xy", "visible", "ids"])
def test_arrays_are_read_only(name: str) -> None:
    tracks = Tracks(np.zeros((3, 2, 2), np.float32), np.ones((3, 2), bool), np.arange(2))
    for one in (tracks, tracks.slice(0, 2), tracks.select([1])):
        with pytest.raises(ValueError, match="read-only"):
            getattr(one, name)[...] = 0


def test_the_callers_arrays_stay_their_own() -> None:
    xy, visible, ids = np.zeros((3, 2, 2), np.float32), np.ones((3, 2), bool), np.arange(2)
    tracks = Tracks(xy, visible, ids)
    xy[0, 0], visible[0, 0], ids[0] = np.nan, False, 1
    assert np.isfinite(tracks.xy).all()
    assert tracks.visible.all()
    assert tracks.ids.tolist() == [0, 1]
