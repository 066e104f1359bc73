"""Sizes of the rollout by name."""

from __future__ import annotations

import pytest

from motionstream.evaluate.variant import sizes_name, with_sizes
from motionstream.sampling import RolloutConfig

pytest.importorskip("cv2", reason="the tracker needs OpenCV (extra: evaluate)")

pytest.importorskip("torchmetrics", reason="PSNR needs torchmetrics (extra: evaluate)")


def test_sizes_are_read_and_written() -> None:
    rollout_config = RolloutConfig(1, 3, 3, (1.0, 0.5))
    assert with_sizes(rollout_config, " c3s0w18 ") == RolloutConfig(3, 0, 18, (1.0, 0.5))
    assert sizes_name(with_sizes(rollout_config, "c3s0w18")) == "c3s0w18"
    for wrong in ("c0s1w1", "c1s1", "", "c1s1w1x", "c-1s1w1"):
        with pytest.raises(ValueError, match="such as c1s3w3"):
            with_sizes(rollout_config, wrong)
