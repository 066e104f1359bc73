"""Ratios of samples to the first of them."""

from __future__ import annotations

import pytest

from motionstream.evaluate.stream_figures import against_reference

pytest.importorskip("cv2", reason="the tracker needs OpenCV (extra: evaluate)")

pytest.importorskip("torchmetrics", reason="PSNR needs torchmetrics (extra: evaluate)")


def test_ratios_are_against_the_first_sample() -> None:
    one = dict.fromkeys(("sharpness_levels", "contrast_levels", "saturation_levels", "memory_mib"), 2.0)
    one |= {"red_levels": 100.0, "green_levels": 50.0, "blue_levels": 0.0, "identity_lpips": None}
    other = {**one, "sharpness_levels": 1.0, "red_levels": 110.0, "green_levels": 40.0}
    first, second = against_reference([one, other])  # type: ignore[list-item]
    assert first["sharpness_vs_100"] == first["colour_vs_100"] == 1
    assert second["sharpness_vs_100"] == 0.5
    assert second["colour_vs_100"] == 0.8  # farther from 1 than 1.1; black has no ratio
    assert second["colour_drift_levels"] == 10
    assert second["identity_vs_100"] is None
