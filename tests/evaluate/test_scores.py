"""Scores of one clip: pooled figures, real clips, and the size in which large models are measured."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from tests.evaluate.discs import CLIPS, SOURCES, clip, perfect, source

from motionstream.evaluate import scores
from motionstream.evaluate.baselines import still
from motionstream.evaluate.metrics import retrack
from motionstream.evaluate.motion import evaluate_motion
from motionstream.tracks import Tracks

pytest.importorskip("cv2", reason="the tracker needs OpenCV (extra: evaluate)")

pytest.importorskip("torchmetrics", reason="PSNR and SSIM need torchmetrics (extra: evaluate)")


def test_pooled_figures_are_of_the_mean_squared_error() -> None:
    resting = clip(0, speed=(0.0, 0.0))
    pair = [source(resting, "rests"), source(CLIPS[1], "moves")]
    figures = evaluate_motion(still, pair, controls=("dense",))["dense"]["still"]
    error = CLIPS[1].video[1:].astype(float) - CLIPS[1].video[:1]
    assert figures["psnr_pooled_db"] == pytest.approx(10 * np.log10(255**2 / (np.square(error).mean() / 2)))
    assert figures["psnr_db"] > figures["psnr_pooled_db"] + 10, "the still clip lifts the mean of dB"
    assert figures["moving_psnr_db"] < figures["psnr_pooled_db"], "what moves is where standing still fails"
    assert CLIPS[1].uncovered is not None
    hidden = error[CLIPS[1].uncovered[1:]]
    assert figures["uncovered_psnr_db"] == pytest.approx(10 * np.log10(255**2 / np.square(hidden).mean()))


def test_real_clips_are_measured_by_the_tracker_s_own_tracks() -> None:
    real = replace(CLIPS[0], exact=False, uncovered=None)
    figures = evaluate_motion(perfect, [source(real)], controls=("dense",), tracker_on=SOURCES)
    assert figures["tracker"]["clips"] == 2
    assert figures["tracker"] == evaluate_motion(still, SOURCES, controls=("5",))["tracker"]
    assert "uncovered_psnr_db" not in figures["dense"]["model"]
    assert figures["missing"] == ["lpips"]
    assert evaluate_motion(perfect, [source(real)], controls=("dense",))["tracker"] is None
    followed = retrack(real.video, real.tracks)
    own = replace(real, tracks=Tracks(followed.xy, followed.visible))
    assert evaluate_motion(perfect, [source(own)], controls=("dense",))["dense"]["model"]["epe_px"] == 0


def test_large_models_are_measured_in_the_paper_s_frame(monkeypatch: pytest.MonkeyPatch) -> None:
    assert scores.measured_at((1280, 704)) == (832, 480)
    assert scores.measured_at((832, 480)) == (832, 480)
    assert scores.measured_at((256, 144)) == (256, 144)
    monkeypatch.setattr(scores, "MEASURED_AT", (64, 48))
    figures = evaluate_motion(perfect, SOURCES, controls=("dense",))
    assert (figures["size"], figures["metrics_size"]) == ("128x96", "64x48")
    standing = figures["dense"]["still"]["epe_moving_px"]
    monkeypatch.setattr(scores, "MEASURED_AT", (832, 480))
    whole = evaluate_motion(perfect, SOURCES, controls=("dense",))["dense"]["still"]["epe_moving_px"]
    assert standing == pytest.approx(whole / 2, rel=0.15), "pixels of half the size"
