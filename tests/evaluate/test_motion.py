"""The motion figures tell a model that follows from one that does not, on scenes drawn here with exact tracks."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from motionstream.evaluate import sheets
from motionstream.evaluate.baselines import still, warp
from motionstream.evaluate.metrics import Video
from motionstream.evaluate.motion import Example, by_model, evaluate_motion
from motionstream.tracks import Tracks

pytest.importorskip("cv2", reason="the tracker needs OpenCV (extra: evaluate)")
pytest.importorskip("torchmetrics", reason="PSNR and SSIM need torchmetrics (extra: evaluate)")

WIDTH, HEIGHT, FRAMES = 128, 96, 9


@dataclass(frozen=True)
class Clip:
    video: Video
    tracks: Tracks
    caption: str
    object_of: npt.NDArray[np.int64]


def texture(x: npt.NDArray[np.float64], y: npt.NDArray[np.float64], seed: int) -> npt.NDArray[np.float64]:
    """A smooth picture without end, 0…255, three channels."""
    rng = np.random.default_rng(seed)
    waves = rng.uniform(-0.5, 0.5, (3, 6, 2))
    phases = rng.uniform(0, 6.3, (3, 6))
    channels = [
        128 + 20 * sum(np.sin(a * x + b * y + p) for (a, b), p in zip(w, ps, strict=True))
        for w, ps in zip(waves, phases, strict=True)
    ]
    return np.stack(channels, -1)


def clip(seed: int, speed: tuple[float, float] = (3.0, 1.5)) -> Clip:
    """A disc with its own texture that moves over a still ground; tracks on both."""
    y, x = np.mgrid[:HEIGHT, :WIDTH] + 0.5
    ground = texture(x, y, seed)
    centre, radius = np.array([44.0, 40.0]), 26.0
    grid = np.stack(np.meshgrid(np.arange(12, WIDTH, 8), np.arange(12, HEIGHT - 8, 8)), -1).reshape(-1, 2) + 0.5
    on = np.linalg.norm(grid - centre, axis=-1) < radius - 2
    frames, places, seen = [], [], []
    for frame in range(FRAMES):
        move = frame * np.array(speed)
        disc = np.hypot(x - centre[0] - move[0], y - centre[1] - move[1]) < radius
        frames.append(np.where(disc[..., None], texture(x - move[0], y - move[1], seed + 100), ground))
        places.append(np.where(on[:, None], grid + move, grid))
        covered = np.linalg.norm(places[-1] - centre - move, axis=-1) < radius
        seen.append(on | ~covered)
    video = np.stack(frames).clip(0, 255).round().astype(np.uint8)
    return Clip(video, Tracks(np.stack(places), np.stack(seen)), "a disc", on.astype(np.int64))


CLIPS = [clip(seed) for seed in range(2)]


def perfect(first: Video, tracks: Tracks, caption: str, seed: int) -> Video:
    """A model that has seen the answer."""
    return next(one.video for one in CLIPS if (one.video[0] == first).all())


def test_a_perfect_model_scores_perfectly_and_the_controls_do_not() -> None:
    figures = evaluate_motion(perfect, CLIPS)
    assert figures["tracker"]["within_1px"] > 0.7
    for control in ("dense", "few", "object"):
        model, standing = figures[control]["model"], figures[control]["still"]
        assert figures[control]["clips"] == 2
        assert model["epe_px"] < 0.5
        assert model["psnr_db"] > 90
        assert model["false_ratio"] > 3
        assert figures[control]["still_ratio"] > 3
        assert standing["epe_moving_px"] > 8
    json.dumps(figures, allow_nan=False)


def test_a_model_that_ignores_its_tracks_is_found_out() -> None:
    figures = evaluate_motion(still, CLIPS, controls=("dense",))
    assert figures["dense"]["model"] == figures["dense"]["still"]
    assert figures["dense"]["still_ratio"] == pytest.approx(1)
    assert figures["dense"]["model"]["false_ratio"] < 1.5


def test_a_model_that_dissolves_is_not_rewarded_for_losing_points() -> None:
    rng = np.random.default_rng(0)

    def noise(first: Video, tracks: Tracks, caption: str, seed: int) -> Video:
        made = rng.integers(0, 255, (tracks.frames, *first.shape), dtype=np.uint8)
        made[0] = first
        return made

    dissolved = evaluate_motion(noise, CLIPS, controls=("dense",))["dense"]["model"]
    assert dissolved["tracker_kept"] < 0.2
    assert dissolved["epe_moving_px"] > 5


def test_the_warp_follows_and_beats_standing_still() -> None:
    dense = evaluate_motion(perfect, CLIPS, controls=("dense",))["dense"]
    assert dense["warp"]["epe_moving_px"] < 0.3 * dense["still"]["epe_moving_px"]
    assert dense["warp"]["psnr_db"] > dense["still"]["psnr_db"] + 1


def test_each_control_gives_the_tracks_it_says() -> None:
    given: list[Tracks] = []

    def watch(first: Video, tracks: Tracks, caption: str, seed: int) -> Video:
        given.append(tracks)
        return still(first, tracks)

    evaluate_motion(watch, CLIPS[:1])
    dense, few, on_object = given
    whole = CLIPS[0].tracks
    assert dense.ids.tolist() == whole.ids[whole.visible.any(0)].tolist()
    assert few.points == 20
    assert 4 <= on_object.points <= 25
    assert set(on_object.ids.tolist()) <= set(whole.ids[CLIPS[0].object_of == 1].tolist())
    again: list[Tracks] = given.copy()
    given.clear()
    evaluate_motion(watch, CLIPS[:1])
    assert all((a.ids == b.ids).all() for a, b in zip(again, given, strict=True))


def test_a_clip_without_a_moved_object_is_left_out_of_that_control() -> None:
    resting = clip(0, speed=(0.0, 0.0))
    figures = evaluate_motion(still, [resting], controls=("object", "dense"))
    assert figures["object"]["clips"] == 0
    assert figures["object"]["model"]["epe_px"] is None
    assert figures["object"]["still_ratio"] is None
    assert figures["dense"]["clips"] == 1


def test_wrong_calls_are_refused() -> None:
    with pytest.raises(ValueError, match="no clips"):
        evaluate_motion(still, [])
    with pytest.raises(ValueError, match="controls"):
        evaluate_motion(still, CLIPS, controls=("sparse",))
    with pytest.raises(ValueError, match="send uint8 of shape"):
        evaluate_motion(lambda *given: still(*given)[1:], CLIPS)


def test_clips_are_read_one_at_a_time_and_progress_is_told() -> None:
    told: list[int] = []

    def reading() -> Iterator[Clip]:
        for number, one in enumerate(CLIPS):
            assert told == list(range(1, number + 1))
            yield one

    evaluate_motion(still, reading(), controls=("few",), progress=told.append)
    assert told == [1, 2]


def test_a_model_of_the_public_contract_generates() -> None:
    class Stream:
        def __init__(self, image: Video) -> None:
            self.image, self.chunks = image, 0

        @property
        def chunk_frames(self) -> int:
            return 4 if self.chunks else 1

        def step(self, tracks: Tracks | None) -> Video:
            assert tracks is not None
            made = still(self.image, tracks)
            self.chunks += 1
            return made

    class Model:
        def open(self, image: Video, prompt: str, seed: int) -> Stream:
            assert (prompt, seed) == ("a disc", 3)
            return Stream(image)

    made = by_model(Model())(CLIPS[0].video[0], CLIPS[0].tracks, "a disc", 3)
    np.testing.assert_array_equal(made, still(CLIPS[0].video[0], CLIPS[0].tracks))


def test_the_warp_moves_pixels_as_far_as_the_points() -> None:
    y, x = np.mgrid[:HEIGHT, :WIDTH] + 0.5
    whole = [texture(x - 2 * frame, y + frame, 5).clip(0, 255).round().astype(np.uint8) for frame in range(5)]
    grid = np.stack(np.meshgrid(np.arange(4, WIDTH, 8), np.arange(4, HEIGHT, 8)), -1).reshape(1, -1, 2)
    moved = Tracks(grid + np.arange(5)[:, None, None] * np.array([2.0, -1.0]), np.ones((5, grid.shape[1]), bool))
    made = warp(whole[0], moved)
    np.testing.assert_array_equal(made[0], whole[0])
    middle = (slice(16, -16), slice(16, -16))
    apart = np.abs(made[4][middle].astype(int) - whole[4][middle]).mean()
    standing = np.abs(whole[0][middle].astype(int) - whole[4][middle]).mean()
    assert apart < 0.2 * standing
    np.testing.assert_array_equal(warp(whole[0], Tracks.empty(3)), still(whole[0], Tracks.empty(3)))


def test_a_sheet_has_a_row_for_each_video(tmp_path: Path) -> None:
    examples: list[Example] = []
    evaluate_motion(perfect, CLIPS, controls=("dense",), examples=examples, most_examples=1)
    assert len(examples) == 1
    assert list(examples[0].videos) == ["true", "model", "warp"]
    sheets.draw(examples, tmp_path / "sheet.png", columns=3)
    with Image.open(tmp_path / "sheet.png") as sheet:
        assert sheet.width == 3 * (WIDTH + sheets.GAP)
        assert sheet.height > 3 * HEIGHT
        drawn = np.asarray(sheet)
    sheets.draw([replace(examples[0], tracks=Tracks.empty(FRAMES))], tmp_path / "plain.png", columns=3)
    assert (drawn != np.asarray(Image.open(tmp_path / "plain.png"))).any(-1).sum() > 50
    with pytest.raises(ValueError, match="no examples"):
        sheets.draw([], tmp_path / "none.png")
