"""The motion figures tell a model that follows from one that does not, on scenes drawn here with exact tracks."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from tests.evaluate.discs import CLIPS, SOURCES, clip, perfect, source

from motionstream.evaluate import motion
from motionstream.evaluate.baselines import still, warp
from motionstream.evaluate.clips import Clip, Skipped, Source
from motionstream.evaluate.harness import Item, Results, Unusable
from motionstream.evaluate.metrics import Video
from motionstream.evaluate.motion import evaluate_motion, examples
from motionstream.tracks import Tracks

pytest.importorskip("cv2", reason="the tracker needs OpenCV (extra: evaluate)")

pytest.importorskip("torchmetrics", reason="PSNR and SSIM need torchmetrics (extra: evaluate)")


def test_a_perfect_model_scores_perfectly_and_the_controls_do_not() -> None:
    figures = evaluate_motion(perfect, SOURCES, controls=("dense", "20", "5", "object"))
    assert figures["tracker"]["within_1px"] > 0.7
    for control in ("dense", "20", "5", "object"):
        model, standing = figures[control]["model"], figures[control]["still"]
        assert figures[control]["clips"] == 2
        assert model["epe_px"] < 0.5
        assert model["psnr_db"] > 90
        assert model["false_ratio"] > 3
        assert figures[control]["still_ratio"] > 3
        assert standing["epe_moving_px"] > 8
    json.dumps(figures, allow_nan=False)


def test_a_model_that_ignores_its_tracks_is_found_out() -> None:
    figures = evaluate_motion(still, SOURCES, controls=("dense",))
    assert figures["dense"]["model"] == figures["dense"]["still"]
    assert figures["dense"]["still_ratio"] == pytest.approx(1)
    assert figures["dense"]["model"]["false_ratio"] < 1.5


def test_a_model_that_dissolves_is_not_rewarded_for_losing_points() -> None:
    rng = np.random.default_rng(0)

    def noise(first: Video, tracks: Tracks, caption: str, seed: int) -> Video:
        made = rng.integers(0, 255, (tracks.frames, *first.shape), dtype=np.uint8)
        made[0] = first
        return made

    dissolved = evaluate_motion(noise, SOURCES, controls=("dense",))["dense"]["model"]
    assert dissolved["tracker_kept"] < 0.2
    assert dissolved["epe_moving_px"] > 5


def test_the_warp_follows_and_beats_standing_still() -> None:
    dense = evaluate_motion(perfect, SOURCES, controls=("dense",))["dense"]
    assert dense["warp"]["epe_moving_px"] < 0.3 * dense["still"]["epe_moving_px"]
    assert dense["warp"]["psnr_db"] > dense["still"]["psnr_db"] + 1


def test_a_clip_without_a_moved_object_is_left_out_of_that_control() -> None:
    resting = clip(0, speed=(0.0, 0.0))
    figures = evaluate_motion(still, [source(resting)], controls=("object", "dense"))
    assert figures["object"]["clips"] == 0
    assert figures["object"]["model"]["epe_px"] is None
    assert figures["object"]["still_ratio"] is None
    assert figures["dense"]["clips"] == 1


def test_wrong_calls_are_refused() -> None:
    with pytest.raises(ValueError, match="no clips"):
        evaluate_motion(still, [])
    with pytest.raises(ValueError, match="controls sparse: use dense, 1, 5"):
        evaluate_motion(still, SOURCES, controls=("sparse",))
    with pytest.raises(ValueError, match="one name"):
        evaluate_motion(still, [SOURCES[0], SOURCES[0]])
    with pytest.raises(ValueError, match="send uint8 of shape"):
        evaluate_motion(lambda *given: still(*given)[1:], SOURCES, controls=("5",))


def test_clips_are_read_once_each_and_progress_is_told() -> None:
    told: list[str] = []
    read: list[str] = []

    def reading(one: Source) -> Source:
        return Source(one.name, lambda: read.append(one.name) or one.load())

    def watch(items: Iterable[Item]) -> Iterable[Item]:
        for item in items:
            assert len(read) <= 1 + len(told) // 2, "one at a time"
            yield item
            told.append(item.name)

    evaluate_motion(still, [reading(one) for one in SOURCES], controls=("20", "dense"), watch=watch)
    assert told == ["clip 0 20", "clip 0 dense", "clip 1 20", "clip 1 dense"]
    assert read == ["clip 0", "clip 1"]


def steady(figures: dict[str, object]) -> dict[str, object]:
    return {name: value for name, value in figures.items() if name not in ("machine", "date")}


def test_a_run_that_was_cut_goes_on_to_the_same_figures(tmp_path: Path) -> None:
    whole = evaluate_motion(warp, SOURCES, controls=("dense", "5"))
    file, calls = tmp_path / "results.jsonl", []

    def failing(first: Video, tracks: Tracks, caption: str, seed: int) -> Video:
        calls.append(tracks.points)
        if len(calls) == 3:
            raise RuntimeError("the power went")
        return warp(first, tracks)

    with pytest.raises(RuntimeError, match="power"):
        evaluate_motion(failing, SOURCES, controls=("dense", "5"), results=Results(file, {"model": "a"}))
    resumed = evaluate_motion(failing, SOURCES, controls=("dense", "5"), results=Results(file, {"model": "a"}))
    assert len(calls) == 5, "two before the cut, the one that was cut, and again that and the last"
    assert steady(resumed) == steady(whole)
    assert steady(evaluate_motion(failing, SOURCES, controls=("dense", "5"), results=Results(file, {"model": "a"})))
    assert len(calls) == 5


def test_clips_that_cannot_be_used_are_named_and_the_rest_measured() -> None:
    def broken() -> Clip:
        raise Unusable("3 frames: fewer than the 9 of a first chunk")

    holed = replace(CLIPS[0], skipped=(Skipped("clip/00003.png", "not a picture"),))
    figures = evaluate_motion(still, [Source("broken", broken), source(holed)], controls=("dense", "5"))
    assert figures["clips"] == 1
    assert figures["skipped"] == [
        {"name": "broken", "reason": "3 frames: fewer than the 9 of a first chunk"},
        {"name": "clip/00003.png", "reason": "not a picture"},
    ]
    with pytest.raises(ValueError, match=r"no clips.*broken: 3 frames"):
        evaluate_motion(still, [Source("broken", broken)])


def test_every_clip_has_its_row_and_the_worst_can_be_found() -> None:
    def lazy(first: Video, tracks: Tracks, caption: str, seed: int) -> Video:
        """Follows on the first clip only."""
        return (perfect if (first == CLIPS[0].video[0]).all() else still)(first, tracks, caption, seed)

    figures = evaluate_motion(lazy, SOURCES, controls=("dense", "5"))
    assert [(row["name"], row["control"]) for row in figures["per_clip"]] == [
        *(("clip 0", "dense"), ("clip 1", "dense"), ("clip 0", "5"), ("clip 1", "5")),
    ]
    row = figures["per_clip"][1]
    assert row["model"] == row["still"]
    assert set(row["warp"]) == {"epe_px", "psnr_db"}
    assert motion.worst(figures, 1, "dense") == ["clip 1"]
    assert motion.worst(figures, 5, "5") == ["clip 1", "clip 0"]
    rows = [row for row in figures["per_clip"] if row["control"] == "dense"]
    assert figures["dense"]["model"]["psnr_db"] == pytest.approx(np.mean([row["model"]["psnr_db"] for row in rows]))


def test_a_source_that_cannot_be_used_has_no_pictures() -> None:
    def broken() -> Clip:
        raise Unusable("gone")

    assert list(examples(still, [Source("broken", broken)])) == []
    assert list(examples(still, [source(clip(0, speed=(0.0, 0.0)))], control="object")) == []
