"""Control is told from luck: by a generator that follows, one that stands still, and one that knows only the truth."""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from benchmarks.counterfactual.evaluation import evaluate_counterfactual, examples
from benchmarks.counterfactual.measure import followable
from benchmarks.counterfactual.release import releasing
from benchmarks.counterfactual.tasks import CONTROLS, VARIANTS, controlled, variants
from motionstream.data.synthetic import Clip
from motionstream.evaluate.baselines import Generate, still, warp
from motionstream.evaluate.harness import Results
from motionstream.evaluate.metrics import Video
from motionstream.tracks import Tracks

pytest.importorskip("cv2", reason="the tracker needs OpenCV (extra: evaluate)")

WIDTH, HEIGHT, FRAMES = 128, 96, 9
CENTRE, RADIUS = np.array([64.0, 48.0]), 20.0


def texture(x: npt.NDArray[np.float64], y: npt.NDArray[np.float64], seed: int) -> npt.NDArray[np.float64]:
    """A smooth picture without end, 0…255, three channels."""
    rng = np.random.default_rng(seed)
    waves, phases = rng.uniform(-0.6, 0.6, (3, 6, 2)), rng.uniform(0, 6.3, (3, 6))
    channels = [
        128 + 20 * sum(np.sin(a * x + b * y + p) for (a, b), p in zip(w, ps, strict=True))
        for w, ps in zip(waves, phases, strict=True)
    ]
    return np.stack(channels, -1)


def clip(seed: int, speed: tuple[float, float]) -> Clip:
    """A disc with its own texture that moves over a still ground; tracks on both."""
    y, x = np.mgrid[:HEIGHT, :WIDTH] + 0.5
    grid = np.stack(np.meshgrid(np.arange(4, WIDTH, 8), np.arange(4, HEIGHT, 8)), -1).reshape(-1, 2) + 0.5
    on = np.linalg.norm(grid - CENTRE, axis=-1) < RADIUS - 2
    frames, places, seen = [], [], []
    for frame in range(FRAMES):
        move = frame * np.array(speed)
        disc = np.hypot(x - CENTRE[0] - move[0], y - CENTRE[1] - move[1]) < RADIUS
        moved = texture(x - move[0], y - move[1], seed + 100)
        frames.append(np.where(disc[..., None], moved, texture(x, y, seed)))
        places.append(np.where(on[:, None], grid + move, grid))
        seen.append(on | ~(np.linalg.norm(places[-1] - CENTRE - move, axis=-1) < RADIUS))
    video = np.stack(frames).clip(0, 255).round().astype(np.uint8)
    return Clip(video, Tracks(np.stack(places), np.stack(seen)), on.astype(np.int64), "a disc", "none")


CLIPS = [clip(0, (2.25, 0.75)), clip(1, (-0.75, 2.0))]


def first_of(first: Video) -> Clip:
    return next(one for one in CLIPS if (one.video[0] == first).all())


def only_the_truth(first: Video, tracks: Tracks, caption: str, seed: int) -> Video:
    """Plays the true clip, whatever it is told."""
    return first_of(first).video


def everything_slides(first: Video, tracks: Tracks, caption: str, seed: int) -> Video:
    """The whole picture goes where the points given go."""
    away = tracks.xy.mean(1) - tracks.xy[0].mean(0)
    return np.stack([np.roll(first, (round(float(y)), round(float(x))), (0, 1)) for x, y in away])


@cache
def measured(generate: Generate, control: str = "object", **rest: Any) -> dict[str, Any]:
    figures = evaluate_counterfactual(generate, CLIPS.__getitem__, len(CLIPS), control, **rest)
    json.dumps(figures, allow_nan=False)
    return figures


@pytest.mark.parametrize("control", CONTROLS)
def test_one_that_follows_scores_as_following(control: str) -> None:
    figures = measured(warp, control)
    model = figures["scores"]["model"]
    assert model["control_ratio"] > 8
    assert model["epe_given_px"] < 1
    assert model["counted"] > 50
    moved = set(VARIANTS) - {"still"}
    assert all(model["variants"][name]["control_ratio"] > 4 for name in moved)
    assert model["variants"]["still"]["epe_given_px"] < 0.01
    assert model == figures["scores"]["warp"]
    assert (figures["clips"], figures["frames"], figures["size"]) == (2, FRAMES, "128x96")


@pytest.mark.parametrize("control", CONTROLS)
def test_one_that_ignores_its_tracks_scores_as_ignoring_them(control: str) -> None:
    figures = measured(still, control)
    model = figures["scores"]["model"]
    assert model["control_ratio"] == pytest.approx(1, abs=0.05)
    assert model["variants"]["turned"]["control_ratio"] == pytest.approx(1, abs=0.05)
    assert model["variants"]["mirrored"]["control_ratio"] == pytest.approx(1, abs=0.05)
    assert model["epe_given_px"] == pytest.approx(figures["scores"]["still"]["epe_given_px"], abs=0.2)


def test_one_that_knows_only_the_truth_is_found_out() -> None:
    figures = measured(only_the_truth)["scores"]["model"]
    assert figures["control_ratio"] < 0.2
    assert figures["variants"]["true"]["control_ratio"] > 8, "which luck alone would have passed"
    assert figures["variants"]["still"]["epe_given_px"] > 4
    assert figures["variants"]["still"]["epe_not_given_px"] < 2


def test_what_is_not_counted_is_told_beside_the_headline() -> None:
    dense = measured(warp, "dense")["scores"]["model"]
    assert 0 < dense["counted_share"] < 1
    assert dense["epe_given_all_px"] > 2 * dense["epe_given_px"], "where the warp fails, and is not counted"
    assert dense["control_ratio_all"] < dense["control_ratio"]
    assert measured(still)["scores"]["model"]["control_ratio_all"] == pytest.approx(1, abs=0.05)


def test_movement_outside_is_leakage() -> None:
    leaking, following = (measured(each)["scores"]["model"]["leakage"] for each in (everything_slides, warp))
    assert leaking["leakage_share"] == pytest.approx(1, abs=0.25)
    assert leaking["leakage_px"] > 4
    assert following["leakage_share"] < 0.05
    assert "leakage" not in measured(warp, "dense")["scores"]["model"]


def test_hidden_released_and_pinned_points_are_told_apart() -> None:
    knowing = measured(only_the_truth)["scores"]["model"]["sensitivity"]["occluded"]
    assert knowing["in_place_while_hidden_share"] > 0.9
    assert knowing["in_place_when_back_share"] > 0.7, "all but what the tracker loses at the edge of the disc"
    warped = measured(warp)["scores"]["model"]["sensitivity"]
    assert warped["occluded"]["in_place_while_hidden_share"] < 0.4, "a warp forgets what it is not told"
    assert warped["occluded"]["in_place_when_back_share"] > 0.9
    assert warped["released"]["went_home_share"] > 0.9
    assert warped["released"]["stayed_where_left_share"] < 0.4
    standing = measured(still)["scores"]["model"]["sensitivity"]
    assert standing["occluded"]["in_place_when_back_share"] == 0, "it never was where it should be"
    assert standing["released"]["stayed_where_left_share"] == 0
    assert warped["pinned"]["pins_moved_px"] < 0.5
    assert warped["pinned"]["dragged_epe_px"] < 1
    slid = measured(everything_slides)["scores"]["model"]["sensitivity"]["pinned"]
    assert slid["pins_moved_px"] > 2, "pins that do not hold"


def test_one_that_keeps_what_was_left_is_told_from_one_that_lets_it_spring_back() -> None:
    def keeps(first: Video, tracks: Tracks, caption: str, seed: int) -> Video:
        last = tracks.visible.shape[0] - 1 - tracks.visible[::-1].argmax(0)
        held = np.minimum(np.arange(tracks.frames)[:, None], last)
        xy = tracks.xy[held, np.arange(tracks.points)]
        return warp(first, Tracks(xy, np.ones_like(tracks.visible)))

    released = measured(warp, release=keeps)["scores"]["model"]["sensitivity"]["released"]
    assert released["stayed_where_left_share"] > 0.9
    assert released["went_home_share"] < 0.4


def test_the_variants_are_what_their_names_say() -> None:
    task = controlled(CLIPS[0], "object", np.random.default_rng(0))
    donor = controlled(CLIPS[1], "object", np.random.default_rng(0))
    assert task is not None
    assert donor is not None
    given = variants(task, donor.true)
    assert set(given) == set(VARIANTS)
    end = {name: (one.xy[-1] - one.xy[0]).mean(0) for name, one in given.items()}
    np.testing.assert_allclose(end["true"], [18, 6], atol=1e-3)
    np.testing.assert_allclose(end["mirrored"], [-18, 6], atol=1e-3)
    np.testing.assert_allclose(end["turned"], [-6, 18], atol=1e-3)
    np.testing.assert_allclose(end["delayed"], [13.5, 4.5], atol=1e-3)
    np.testing.assert_allclose(end["swapped"], [-6, 16], atol=1e-3)
    np.testing.assert_allclose(end["still"], [0, 0])
    assert "swapped" not in variants(task, None)
    assert all((one.xy[0] == task.true.xy[0]).all() for one in given.values())


def test_a_hand_moves_a_rigid_grid() -> None:
    task = controlled(CLIPS[0], "hand", np.random.default_rng(0))
    assert task is not None
    assert task.true.points == 9
    away = task.true.xy - task.true.xy[:1]
    np.testing.assert_allclose(away, np.broadcast_to(away[:, :1], away.shape), atol=1e-4)
    assert len(np.unique(task.true.ids)) == 9


def test_points_that_leave_the_frame_are_not_visible() -> None:
    far = clip(2, (9.0, 0.0))
    task = controlled(far, "object", np.random.default_rng(0))
    assert task is not None
    mirrored = variants(task, None)["mirrored"]
    outside = mirrored.xy[..., 0] < 0
    assert outside.any()
    assert not mirrored.visible[outside].any()


def test_places_that_show_nothing_are_not_followed() -> None:
    first = CLIPS[0].video[0].copy()
    first[:, 80:] = 90
    good = followable(first, np.array([[40.5, 50.5], [130.5, 50.5]], np.float32))
    assert good.tolist() == [True, False]


def test_clips_without_a_moved_object_are_counted_and_none_at_all_is_refused() -> None:
    resting = clip(3, (0.0, 0.0))
    figures = evaluate_counterfactual(still, [CLIPS[0], resting].__getitem__, 2, "object")
    assert (figures["clips"], figures["clips_without_moved_object"]) == (1, 1)
    assert figures["scores"]["model"]["variants"]["swapped"]["counted"] == 0
    with pytest.raises(ValueError, match="none of 1 clips has an object that moves"):
        evaluate_counterfactual(still, [resting].__getitem__, 1, "hand")
    with pytest.raises(ValueError, match="use dense, object, hand"):
        measured(still, "mouse")
    with pytest.raises(ValueError, match="send uint8 of shape"):
        measured(lambda *given: still(*given)[1:])


def test_an_evaluation_that_was_cut_goes_on(tmp_path: Path) -> None:
    def cut(numbers: Any) -> Iterator[int]:
        yield next(iter(numbers))
        raise KeyboardInterrupt

    file = tmp_path / "results.jsonl"
    with pytest.raises(KeyboardInterrupt):
        measured(warp, results=Results(file, {"a": 1}), over=cut)

    def no_second_time(first: Video, tracks: Tracks, caption: str, seed: int) -> Video:
        assert first_of(first) is CLIPS[1]
        return warp(first, tracks)

    assert measured(no_second_time, results=Results(file, {"a": 1})) == measured(warp)


def test_a_sheet_shows_every_variant() -> None:
    shown = examples(warp, CLIPS.__getitem__, 2, "object", most=1)
    assert [one.caption.partition(":")[0] for one in shown] == [
        *("true", "mirrored", "turned", "delayed", "still", "swapped")
    ]
    assert all(list(one.videos) == ["model", "warp"] for one in shown)


def test_a_hand_that_lets_go_takes_its_points_out_of_the_tracks() -> None:
    """After the chunk in which they were last visible, to the end of which they are held."""
    seen: list[Tracks] = []

    class Stream:
        chunk_frames = 4

        def step(self, tracks: Tracks | None) -> Video:
            assert tracks is not None
            seen.append(tracks)
            return np.zeros((4, 8, 8, 3), np.uint8)

    class Model:
        def open(self, image: Video, prompt: str, seed: int) -> Stream:
            return Stream()

    xy = np.stack([np.arange(20.0), np.arange(20.0)], -1)[:, None].repeat(3, 1)
    visible = np.ones((20, 3), bool)
    visible[6:, 0] = False
    visible[3:9, 1] = False  # hidden, not released
    made = releasing(Model())(np.zeros((8, 8, 3), np.uint8), Tracks(xy, visible), "", 0)
    assert len(made) == 20
    assert [one.ids.tolist() for one in seen] == [[0, 1, 2], [0, 1, 2], *[[1, 2]] * 3]
    assert seen[1].visible[:, 0].all()
    np.testing.assert_array_equal(seen[1].xy[:, 0, 0], [4, 5, 5, 5])
    np.testing.assert_array_equal(seen[1].visible[:, 1], [False] * 4)
