"""Sizes of the rollout by name, and the shift of a model's times."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.stream.small_bundle import save_small

from motionstream.evaluate.variant import resized, shift_of, sizes_name, with_sizes
from motionstream.sampling import RolloutConfig

pytest.importorskip("cv2", reason="the tracker needs OpenCV (extra: evaluate)")

pytest.importorskip("torchmetrics", reason="PSNR needs torchmetrics (extra: evaluate)")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_small(tmp_path_factory.mktemp("small"), chunk=3, sink=1, window=1)


def test_sizes_are_read_and_written() -> None:
    rollout_config = RolloutConfig(1, 3, 3, (1.0, 0.5))
    assert with_sizes(rollout_config, " c3s0w18 ") == RolloutConfig(3, 0, 18, (1.0, 0.5))
    assert sizes_name(with_sizes(rollout_config, "c3s0w18")) == "c3s0w18"
    assert resized(rollout_config, sink=0) == RolloutConfig(1, 0, 3, (1.0, 0.5))
    for wrong in ("c0s1w1", "c1s1", "", "c1s1w1x", "c-1s1w1"):
        with pytest.raises(ValueError, match="such as c1s3w3"):
            with_sizes(rollout_config, wrong)


def test_the_shift_is_read_from_the_models_folder(folder: Path) -> None:
    assert shift_of(str(folder)) == 3.0
    with pytest.raises(ValueError, match="no model named"):
        shift_of("nothing")
