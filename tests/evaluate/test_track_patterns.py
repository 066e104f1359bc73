"""Patterns continue where they were and return to their first place."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from motionstream.evaluate.track_patterns import PATTERNS, PERIOD

pytest.importorskip("cv2", reason="the tracker needs OpenCV (extra: evaluate)")

pytest.importorskip("torchmetrics", reason="PSNR needs torchmetrics (extra: evaluate)")


SIZE = (64, 48)


@pytest.mark.parametrize(("name", "pattern"), PATTERNS.items())
def test_patterns_continue_and_return_to_their_first_place(name: str, pattern: Any) -> None:
    whole = pattern.tracks(SIZE, 0, 2 * PERIOD)
    np.testing.assert_array_equal(pattern.tracks(SIZE, 30, 9).xy, whole.xy[30:39])
    np.testing.assert_allclose(whole.xy[PERIOD - 1], whole.xy[2 * PERIOD - 1], atol=1e-4)
    travelled = np.abs(whole.xy - whole.xy[PERIOD - 1]).max(initial=0)
    assert (travelled == 0) == pattern.still
    inside = (whole.xy >= 0) & (whole.xy < SIZE)
    np.testing.assert_array_equal(whole.visible, inside.all(-1))
