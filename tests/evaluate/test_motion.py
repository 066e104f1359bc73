"""The motion figures tell a model that follows from one that does not, on scenes drawn here with exact tracks."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from motionstream.evaluate import motion, scores
from motionstream.evaluate.baselines import by_model, still, warp
from motionstream.evaluate.clips import Clip, Skipped, Source
from motionstream.evaluate.controls import apart, spread
from motionstream.evaluate.harness import Item, Results, Unusable
from motionstream.evaluate.metrics import Video, retrack
from motionstream.evaluate.motion import evaluate_motion, examples
from motionstream.evaluate.pictures import sheets
from motionstream.evaluate.pictures.illustrate import Pictures
from motionstream.stream.video import read_video
from motionstream.tracks import Tracks

pytest.importorskip("cv2", reason="the tracker needs OpenCV (extra: evaluate)")
pytest.importorskip("torchmetrics", reason="PSNR and SSIM need torchmetrics (extra: evaluate)")

WIDTH, HEIGHT, FRAMES = 128, 96, 9


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
    frames, places, seen, discs = [], [], [], []
    for frame in range(FRAMES):
        move = frame * np.array(speed)
        disc = np.hypot(x - centre[0] - move[0], y - centre[1] - move[1]) < radius
        frames.append(np.where(disc[..., None], texture(x - move[0], y - move[1], seed + 100), ground))
        places.append(np.where(on[:, None], grid + move, grid))
        discs.append(disc)
        covered = np.linalg.norm(places[-1] - centre - move, axis=-1) < radius
        seen.append(on | ~covered)
    video = np.stack(frames).clip(0, 255).round().astype(np.uint8)
    uncovered = discs[0] & ~np.stack(discs)
    return Clip(video, Tracks(np.stack(places), np.stack(seen)), "a disc", on.astype(np.int64), uncovered)


CLIPS = [clip(seed) for seed in range(2)]


def source(one: Clip, name: str = "only") -> Source:
    return Source(name, lambda: one)


SOURCES = [source(one, f"clip {number}") for number, one in enumerate(CLIPS)]


def perfect(first: Video, tracks: Tracks, caption: str, seed: int) -> Video:
    """A model that has seen the answer."""
    return next(one.video for one in CLIPS if (one.video[0] == first).all())


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


def test_each_control_gives_the_tracks_it_says() -> None:
    given: dict[str, Tracks] = {}

    def watch(first: Video, tracks: Tracks, caption: str, seed: int) -> Video:
        given[str(len(given))] = tracks
        return still(first, tracks)

    names = ("dense", "1", "5", "20", "object")
    figures = evaluate_motion(watch, SOURCES[:1], controls=names)
    by_name = dict(zip(names, given.values(), strict=True))
    whole, on = CLIPS[0].tracks, CLIPS[0].object_of == 1
    assert by_name["dense"].ids.tolist() == whole.ids[whole.visible.any(0)].tolist()
    assert [by_name[name].points for name in ("1", "5", "20")] == [1, 5, 20]
    assert [figures[name]["points"] for name in ("1", "5", "20")] == [1, 5, 20]
    moving = set(whole.ids[on].tolist())
    assert set(by_name["1"].ids.tolist()) | set(by_name["5"].ids.tolist()) <= moving, "a hand takes what is to move"
    assert len(set(by_name["20"].ids.tolist()) & moving) >= 10
    assert set(by_name["20"].ids.tolist()) - moving, "and pins"
    assert 4 <= by_name["object"].points <= 25
    assert set(by_name["object"].ids.tolist()) <= moving
    assert all(tracks.visible[0].all() for name, tracks in by_name.items() if name != "dense")
    first = list(given.values())
    given.clear()
    evaluate_motion(watch, SOURCES[:1], controls=reversed(names))
    assert all((a.ids == b.ids).all() for a, b in zip(first, reversed(given.values()), strict=True))


def test_a_hand_takes_points_that_stay_and_are_apart() -> None:
    grid = np.stack(np.meshgrid(np.arange(20.0), np.arange(20.0)), -1).reshape(1, -1, 2) * 10
    visible = np.ones((8, 400), bool)
    visible[2:, ::2] = False
    xy = np.repeat(grid, 8, 0)
    chosen = spread(Tracks(xy, visible), 16, np.random.default_rng(0))
    assert (chosen % 2 == 1).all()
    places = grid[0, chosen]
    between = np.linalg.norm(places[:, None] - places[None], axis=-1) + 1e9 * np.eye(16)
    assert between.min() > 25, "16 in a square of 190: by chance alone two would be within 10"
    assert len(spread(Tracks(xy[:, :3], visible[:, :3]), 16, np.random.default_rng(0))) == 1
    assert len(spread(Tracks.empty(8), 5, np.random.default_rng(0))) == 0
    alike = apart(np.zeros((4, 2), np.float32), 3, np.random.default_rng(0))
    assert len(set(alike.tolist())) == 3


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
    shown = list(examples(perfect, SOURCES[:1]))
    assert [(each.name, list(each.videos)) for each in shown] == [("clip 0", ["true", "model", "warp"])]
    sheets.draw(shown, tmp_path / "sheet.png", columns=3)
    with Image.open(tmp_path / "sheet.png") as sheet:
        assert sheet.width == 3 * (WIDTH + sheets.GAP)
        assert sheet.height > 3 * HEIGHT
        drawn = np.asarray(sheet)
    sheets.draw([replace(shown[0], tracks=Tracks.empty(FRAMES))], tmp_path / "plain.png", columns=3)
    assert (drawn != np.asarray(Image.open(tmp_path / "plain.png"))).any(-1).sum() > 50
    with pytest.raises(ValueError, match="no examples"):
        sheets.draw([], tmp_path / "none.png")


class Counting:
    """A measure of another package: how many clips, and how bright."""

    name = "brightness"

    def __init__(self) -> None:
        self.seen: list[tuple[str, float]] = []

    def add(self, name: str, made: Video, true: Video, fps: float) -> None:
        self.seen.append((name, fps))

    def figures(self) -> tuple[dict[str, object], list[str]]:
        return {"brightness": len(self.seen)}, ["brightness.colour"]


def test_pictures_are_made_of_those_clips_that_are_wanted(tmp_path: Path) -> None:
    assert Pictures().needed(SOURCES) == []
    assert Pictures(drawn=["clip 1"]).needed(SOURCES) == []
    worst = Pictures(tmp_path / "worst.png", ["clip 1"])
    assert worst.needed(SOURCES) == SOURCES[1:]
    assert worst.take(examples(still, SOURCES[1:]), 24) == ({}, [])
    measure = Counting()
    every = Pictures(tmp_path / "sheet.png", ["clip 1"], tmp_path / "side", [measure])
    assert every.needed(SOURCES) == SOURCES
    assert every.take(examples(still, SOURCES), 12) == ({"brightness": 2}, ["brightness.colour"])
    assert measure.seen == [("clip 0", 12), ("clip 1", 12)]
    assert (tmp_path / "worst.png").read_bytes() == (tmp_path / "sheet.png").read_bytes()
    video, fps = read_video(tmp_path / "side" / "clip 0.mp4")
    assert (video.shape, fps) == ((FRAMES, HEIGHT, 3 * WIDTH, 3), 12)


def test_a_source_that_cannot_be_used_has_no_pictures() -> None:
    def broken() -> Clip:
        raise Unusable("gone")

    assert list(examples(still, [Source("broken", broken)])) == []
    assert list(examples(still, [source(clip(0, speed=(0.0, 0.0)))], control="object")) == []
