"""Ablations change one thing at a time, score as motion transfer does, and go on where they were cut."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from tests.small import GEOMETRY, small_vae
from tests.stream.small_bundle import attentive_model, drag, open_small, photo, save_small

from benchmarks.ablation.evaluation import (
    TIME,
    Study,
    curve,
    evaluate_guidance,
    evaluate_student,
    figures,
    score,
    untimed,
)
from benchmarks.ablation.plots import draw
from benchmarks.ablation.settings import RECIPES, Setting, Withheld, tables_of, tables_of_recipe
from benchmarks.ablation.teacher import Teacher
from motionstream.data.synthetic import Clip
from motionstream.evaluate.harness import Results
from motionstream.evaluate.metrics import distance, measurable, psnr, retrack, ssim
from motionstream.evaluate.scores import WITHIN
from motionstream.lpips import LpipsNetwork
from motionstream.sampling import Guidance
from motionstream.stream.model import StreamingModel
from motionstream.tracks import Tracks

pytest.importorskip("cv2", reason="the tracker needs OpenCV (extra: evaluate)")
pytest.importorskip("torchmetrics", reason="PSNR and SSIM need torchmetrics (extra: evaluate)")

FRAMES = 17
BASE = Setting(1, 3, 3, 2)


def clip(index: int, frames: int = FRAMES) -> Clip:
    """A picture of soft noise that goes to the right with its points."""
    noise = Image.fromarray(photo(index, (12, 8))).resize(GEOMETRY.size, Image.Resampling.BICUBIC)
    video = np.stack([np.roll(np.asarray(noise), frame, 1) for frame in range(frames)])
    home = np.array([[8, 8], [20, 12], [12, 20], [28, 24]], np.float32) + 0.5
    xy = home + np.arange(frames)[:, None, None] * np.array([1, 0])
    tracks = Tracks(xy, (xy < GEOMETRY.size).all(-1))
    return Clip(video, tracks, np.zeros(4, np.int64), "a kite", "none")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> StreamingModel:
    return open_small(save_small(tmp_path_factory.mktemp("small"), chunk=1, sink=3, window=3))


@pytest.fixture(scope="module")
def teacher() -> Teacher:
    network = attentive_model(3).eval().requires_grad_(False)
    return Teacher("teacher-mask", network, small_vae(), GEOMETRY, FRAMES, shift=3.0, hash="abc")


def study(file: Path | None = None, **more: Any) -> Study:
    return Study(Results(file), count=2, **more)


def test_tables_vary_one_thing_and_names_tell_settings_apart() -> None:
    tables = tables_of(BASE)
    assert list(tables) == [name for name in RECIPES["all"] if name != "guidance"]
    assert [one.sink for one in tables["sink"]] == [0, 3]
    assert [one.window for one in tables["window"]] == [3, 6, 18]
    assert [one.chunk for one in tables["chunk"]] == [1, 3]
    assert [one.steps for one in tables["steps"]] == [1, 2, 3, 4]
    for settings in tables.values():
        assert BASE in settings
        assert len({one.name for one in settings}) == len(settings)
    assert tables["tracks"][-1].name == "c1s3w3, 2 steps, no identity, no anchor"
    assert [one.anchor for one in tables_of(BASE, anchored=False)["tracks"]] == [True, True]


def test_recipes_name_tables_and_refuse_what_is_not_there() -> None:
    assert tables_of_recipe("all", with_teacher=False) == RECIPES["rollout"] + ("tracks",)
    assert tables_of_recipe("all", with_teacher=True)[-1] == "guidance"
    with pytest.raises(ValueError, match="--runs"):
        tables_of_recipe("guidance", with_teacher=False)
    with pytest.raises(ValueError, match="use one of all, rollout"):
        tables_of_recipe("everything", with_teacher=True)


def test_parts_of_the_tracks_can_be_kept_from_the_network(model: StreamingModel) -> None:
    """Identity alone, the anchor alone and neither differ; with neither, and no pixel shifted, tracks do nothing."""

    def made(identity: bool, anchor: bool, points: int = 4) -> np.ndarray:
        stream = Withheld(model, model.rollout_config, identity, anchor).open(photo())
        return np.concatenate([stream.step(drag(0, 1, points)), stream.step(drag(1, 5, points))])

    whole = model.open(photo())
    np.testing.assert_array_equal(made(True, True), np.concatenate([whole.step(drag(0, 1)), whole.step(drag(1, 5))]))
    ways = [made(identity, anchor) for identity in (True, False) for anchor in (True, False)]
    for number, one in enumerate(ways):
        assert all((one[1:] != other[1:]).any() for other in ways[number + 1 :])
    blind = [made(False, False, points)[1:] for points in (1, 4)]
    np.testing.assert_array_equal(blind[0], blind[1])
    assert (made(True, False, 1)[1:] != made(True, False, 4)[1:]).any()


def test_scores_are_those_of_motion_transfer() -> None:
    """Spans, joined, give what a whole clip gives at once."""
    one = clip(0, 29)
    trusted = measurable(one.tracks, retrack(one.video, one.tracks), WITHIN)
    worse = replace(
        one, video=np.clip(one.video.astype(int) + np.arange(29)[:, None, None, None] * 2, 0, 255).astype(np.uint8)
    )
    lpips = LpipsNetwork().eval().requires_grad_(False)
    assert trusted.mean() > 0.5
    made = score((worse.video, [1.0, 3.0, 2.0]), one.video, one.tracks, trusted, lpips)
    whole, over_time = figures([made]), curve([made])
    assert whole["psnr_db"] == pytest.approx(psnr(worse.video, one.video), rel=1e-5)
    assert whole["ssim"] == pytest.approx(ssim(worse.video, one.video))
    assert whole["lpips"] == pytest.approx(lpips.video(worse.video, one.video), rel=1e-4)
    assert whole["chunk_ms_p50"] == 2
    assert over_time["frame"] == [12, 24, 28]
    assert over_time["psnr_db"][0] > over_time["psnr_db"][2]
    apart = distance(one.tracks, retrack(worse.video, one.tracks))[trusted]
    assert whole["epe_px"] == pytest.approx(apart.mean())


def test_clips_count_by_their_places() -> None:
    span = {"frame": 4, "psnr_db": [80.0, 4], "lpips": None}
    few = {"ssim": 0.5, TIME: None, "spans": [{**span, "epe_px": [10.0, 1]}]}
    many = {"ssim": 0.7, TIME: 4.0, "spans": [{**span, "epe_px": [9.0, 9]}]}
    none = {"ssim": 0.6, TIME: 6.0, "spans": [{**span, "epe_px": [0.0, 0]}]}
    found = figures([few, many, none])
    assert found["epe_px"] == pytest.approx(1.9)
    assert found["psnr_db"] == pytest.approx(20)
    assert found["ssim"] == pytest.approx(0.6)
    assert (found["lpips"], found["chunk_ms_p50"]) == (None, 5.0)
    assert figures([none])["epe_px"] is None


def test_times_can_be_left_out() -> None:
    row = {"epe_px": 1.0, TIME: 5.0}
    left = untimed({"sink": {"c3s3w3": row}, "model": "tiny"})
    assert left == {"sink": {"c3s3w3": {"epe_px": 1.0, TIME: None}}, "model": "tiny"}
    assert row[TIME] == 5, "what was given is as it was"


def test_the_students_tables_are_measured_once_and_resumed(model: StreamingModel, tmp_path: Path) -> None:
    drawn: list[int] = []

    def clips(index: int) -> Clip:
        drawn.append(index)
        return clip(index)

    file = tmp_path / "ablation.jsonl"
    found = evaluate_student(model, 3.0, clips, ("sink", "steps"), study(file))
    assert drawn == [0, 1]
    assert set(found["sink"]) == {"c1s0w3, 2 steps", "c1s3w3, 2 steps"}
    assert found["sink"]["c1s3w3, 2 steps"] == found["steps"]["c1s3w3, 2 steps"]
    psnrs = [row["psnr_db"] for row in found["steps"].values()]
    assert len(set(psnrs)) == 4
    assert found["sink"]["c1s0w3, 2 steps"]["psnr_db"] != found["sink"]["c1s3w3, 2 steps"]["psnr_db"]
    assert len(found["curves"]) == 5
    lines = file.read_text().splitlines()
    assert len(lines) == 1 + 2 * 5
    file.write_text("\n".join(lines[:8]) + "\n" + lines[8][:20])
    assert_same(evaluate_student(model, 3.0, clips, ("sink", "steps"), study(file)), found)
    assert drawn == [0, 1, 1]
    assert evaluate_student(model, 3.0, clips, ("sink",), study(file))["sink"] is not None
    assert drawn == [0, 1, 1]


def assert_same(one: Any, other: Any) -> None:
    """Equal but for times."""
    if isinstance(one, dict):
        assert one.keys() == other.keys()
        for key in one:
            if key != "chunk_ms_p50":
                assert_same(one[key], other[key])
    else:
        assert one == other


def test_guidance_is_measured_on_the_teacher(teacher: Teacher) -> None:
    found = evaluate_guidance(teacher, clip, (0.0, 3.0), (0.0, 1.5), 2, study())
    rows = found["guidance"]
    assert list(rows) == ["w_t 0, w_m 0", "w_t 0, w_m 1.5", "w_t 3, w_m 0", "w_t 3, w_m 1.5"]
    assert (rows["w_t 3, w_m 1.5"]["w_t"], rows["w_t 3, w_m 1.5"]["w_m"]) == (3.0, 1.5)
    assert len({row["psnr_db"] for row in rows.values()}) == 4
    assert rows["w_t 0, w_m 0"]["chunk_ms_p50"] is None
    assert found["teacher"]["hash"] == "abc"


def test_a_teacher_starts_with_its_picture_and_obeys_seed_tracks_and_words(teacher: Teacher) -> None:
    generate = teacher.generator(Guidance(3.0, 1.5), steps=2)
    made = generate(photo(), drag(0, 9), "a red kite", 0)
    assert made.shape == (9, 32, 48, 3)
    with torch.inference_mode():
        np.testing.assert_array_equal(made, generate(photo(), drag(0, 9), "a red kite", 0))
    for other in (
        (photo(), drag(0, 9), "a red kite", 1),
        (photo(), drag(9, 18), "a red kite", 0),
        (photo(), drag(0, 9), "snow", 0),
    ):
        changed = generate(*other)
        np.testing.assert_array_equal(changed[0], made[0])
        assert (changed != made).any()


def test_plots_are_drawn(model: StreamingModel, teacher: Teacher, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="plots need Matplotlib (extra: evaluate)")
    common = study(lpips=LpipsNetwork().eval().requires_grad_(False))
    found = evaluate_student(model, 3.0, clip, ("chunk",), common)
    found |= {**evaluate_guidance(teacher, clip, (0.0, 3.0), (1.5,), 1, common), "missing": []}
    json.dumps(found, allow_nan=False)
    assert [path.name for path in draw(found, tmp_path / "plots")] == ["time.png", "guidance.png"]
    assert (tmp_path / "plots" / "time.png").stat().st_size > 5000
    assert draw({**found, "missing": ["lpips"], "curves": {}}, tmp_path / "none") == []
