"""The stage "detail": it learns, its student does not, and it goes on from an earlier run."""

from __future__ import annotations

from pathlib import Path

import torch
from tests.train.smoke import STEPS, changed, detail_stage, finite, weights

from motionstream.train.checkpoint import newest_weights


def test_a_detail_goes_on_from_another(chain: Path) -> None:
    stage = detail_stage(chain, init_from="detail")
    first = newest_weights(chain / "detail", "ema", under="average")
    assert all(torch.equal(value, first[name]) for name, value in stage.detail.state_dict().items())
    assert stage.step(0, 0.0)["psnr_shown"] > 5


def test_the_detail_learns_and_its_student_does_not(chain: Path) -> None:
    stage = detail_stage(chain)
    before, student = weights(stage.detail), weights(stage.student)
    losses = [stage.step(step, step / STEPS) for step in range(3)]
    assert all(finite(one) for one in losses)
    assert changed(before, stage.detail) == set(before)
    assert not changed(student, stage.student)
    assert losses[0]["psnr_shown"] != losses[0]["psnr_decoded"]
