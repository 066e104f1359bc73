"""A tracker's own error is the error that it has: known answers give known figures."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from benchmarks.tracker import own_error, tap_vid
from motionstream.data.synthetic import Clip
from motionstream.evaluate.harness import Results
from motionstream.trackers.registry import open_tracker
from motionstream.tracks import Tracks

WIDTH, HEIGHT, FRAMES, POINTS = 128, 64, 9, 6


def of(video: npt.NDArray[np.uint8], tracks: Tracks) -> Clip:
    return Clip(video, tracks, np.zeros(tracks.points, np.int64), "", "none")


def clip(number: int = 0) -> Clip:
    """Points that go 1 pixel a frame (the even ones) or 10; the last is hidden in frames 3 and 4, one is born late."""
    frames = np.arange(FRAMES)[:, None]
    speed = np.where(np.arange(POINTS) % 2, 10.0, 1.0)
    xy = np.stack([5.0 + speed * frames, np.broadcast_to(8.0 * np.arange(POINTS) + 4 + number, (FRAMES, POINTS))], -1)
    visible = np.ones((FRAMES, POINTS), bool)
    visible[3:5, -1] = False
    visible[:2, 0] = False
    return of(np.zeros((FRAMES, HEIGHT, WIDTH, 3), np.uint8), Tracks(xy, visible))


@dataclass
class Answering:
    """Answers with the true tracks, moved by an offset, with another visibility if told so. Counts its calls."""

    truth: Tracks
    offset: tuple[float, float] = (0.0, 0.0)
    visible: npt.NDArray[np.bool_] | None = None
    name: str = "answering"
    licence: str = ""
    live: bool = False
    hash: str = "0123456789ab"
    asked: list[tuple[Any, Any]] = field(default_factory=list)

    def track(self, video: Any, queries: Any, births: Any = None, over: Any = None) -> Tracks:
        self.asked.append((queries, births))
        seen = self.truth.visible if self.visible is None else self.visible
        return Tracks(self.truth.xy + np.float32(self.offset), seen)

    def track_frames(self, frames: Iterable[Any], queries: Any) -> Iterator[Any]:
        raise NotImplementedError


def test_a_perfect_tracker_has_no_error() -> None:
    exact = own_error(Answering(clip().tracks), clip, [0])
    assert exact["epe_px"] == 0
    assert exact["epe_median_px"] <= 0.001
    assert exact["within_1px"] == 1
    assert exact["tap_vid_256"] == {"occlusion_accuracy": 1, "delta_avg": 1, "average_jaccard": 1}
    json.dumps(exact, allow_nan=False)


def test_points_are_asked_for_where_they_are_first_visible() -> None:
    tracker = Answering(clip().tracks)
    own_error(tracker, clip, [0])
    queries, births = tracker.asked[0]
    assert births.tolist() == [2, 0, 0, 0, 0, 0]
    np.testing.assert_array_equal(queries[0], clip().tracks.xy[2, 0])


def test_the_error_is_the_distance_and_the_median_the_middle() -> None:
    figures = own_error(Answering(clip().tracks, (3.0, -4.0)), clip, [0])
    assert figures["epe_px"] == pytest.approx(5)
    assert figures["epe_median_px"] == pytest.approx(5, rel=0.011)
    assert [figures[f"within_{limit}px"] for limit in (1, 2, 4, 8)] == [0, 0, 0, 1]
    assert figures["places"] == POINTS * (FRAMES - 1) - 2 - 2, "neither the first place of a point nor hidden ones"
    assert figures["size"] == "128x64"


def test_few_large_errors_raise_the_mean_and_not_the_median() -> None:
    tracks = clip().tracks
    wrong = tracks.xy.copy()
    wrong[:, 1] += 300
    figures = own_error(Answering(Tracks(wrong, tracks.visible)), clip, [0])
    assert figures["epe_px"] > 50
    assert figures["epe_median_px"] <= 0.001


def test_speed_bins_tell_the_fast_from_the_slow() -> None:
    """An error on the fast points only is in their bin only."""
    tracks = clip().tracks
    wrong = tracks.xy.copy()
    wrong[:, 1::2] += (6, 0)
    by_speed = own_error(Answering(Tracks(wrong, tracks.visible)), clip, [0])["by_speed"]
    assert set(by_speed) == {"0.5-2_px_a_frame", "from_8_px_a_frame"}
    assert by_speed["0.5-2_px_a_frame"]["epe_px"] == 0
    assert by_speed["from_8_px_a_frame"]["epe_px"] == pytest.approx(6)
    assert by_speed["from_8_px_a_frame"]["within_1px"] == 0
    assert sum(part["share"] for part in by_speed.values()) == pytest.approx(1)


def test_tap_vid_counts_at_the_scale_of_256() -> None:
    """3 pixels of a frame 128 wide are 6 of 256: within 8 and 16 of the five thresholds. In y they are 12."""
    tracks = clip().tracks
    for offset, within in [((3.0, 0.0), 2 / 5), ((0.0, 3.0), 1 / 5), ((0.4, 0.0), 1), ((0.5, 0.0), 4 / 5)]:
        made = tap_vid(tracks, Tracks(tracks.xy + np.float32(offset), tracks.visible), (WIDTH, HEIGHT))
        assert made is not None
        assert made["delta_avg"] == pytest.approx(within)
        assert made["average_jaccard"] == pytest.approx(
            np.mean([1.0] * round(5 * within) + [0.0] * round(5 - 5 * within))
        )
        assert made["occlusion_accuracy"] == 1


def test_tap_vid_knows_the_hidden() -> None:
    """One point hidden in 2 of 8 later places; the tracker always says visible: 2 false positives beside 6 hits."""
    truth = clip().tracks.select([POINTS - 1])
    always = Tracks(truth.xy, np.ones_like(truth.visible))
    made = tap_vid(truth, always, (WIDTH, HEIGHT))
    assert made == {"occlusion_accuracy": 6 / 8, "delta_avg": 1, "average_jaccard": pytest.approx(6 / 8)}
    never = tap_vid(truth, Tracks(truth.xy, np.zeros_like(truth.visible)), (WIDTH, HEIGHT))
    assert never == {"occlusion_accuracy": 2 / 8, "delta_avg": 1, "average_jaccard": 0}


def test_tap_vid_has_nothing_to_say_of_points_seen_once() -> None:
    once = np.zeros((FRAMES, POINTS), bool)
    once[0] = True
    tracks = Tracks(clip().tracks.xy, once)
    assert tap_vid(tracks, tracks, (WIDTH, HEIGHT)) is None
    with pytest.raises(ValueError, match="at least one"):
        own_error(Answering(tracks), lambda number: of(clip().video, tracks), [0])


def test_no_clips_are_refused() -> None:
    with pytest.raises(ValueError, match="at least one"):
        own_error(Answering(clip().tracks), clip, [])


def test_it_goes_on_where_it_was_cut(tmp_path: Path) -> None:
    made: list[int] = []

    def sample(number: int) -> Clip:
        made.append(number)
        return clip()

    tracker = Answering(clip().tracks, (1.5, 0.0))
    own_error(tracker, sample, range(2), Results(tmp_path / "j.jsonl", {"seed": 0}))
    resumed = own_error(tracker, sample, range(3), Results(tmp_path / "j.jsonl", {"seed": 0}))
    assert made == [0, 1, 2], "a clip that was measured is not even drawn"
    whole = own_error(tracker, lambda number: clip(), range(3))
    resumed.pop("frame_ms"), whole.pop("frame_ms")
    assert resumed == whole


def test_our_own_tracker_is_measured_on_a_moving_texture() -> None:
    pytest.importorskip("cv2", reason="the tracker needs OpenCV (extra: evaluate)")
    rng = np.random.default_rng(0)
    from PIL import Image

    texture = Image.fromarray(rng.integers(0, 255, (24, 48, 3), np.uint8)).resize((192, 96), Image.Resampling.BICUBIC)
    field_ = np.asarray(texture)
    video = np.stack([field_[16:80, 50 - 2 * t : 50 - 2 * t + 128] for t in range(FRAMES)])
    home = np.stack(np.meshgrid(np.arange(24.5, 90, 8), np.arange(20.5, 50, 8)), -1).reshape(-1, 2)
    xy = home + np.stack([2.0 * np.arange(FRAMES), np.zeros(FRAMES)], -1)[:, None]
    truth = Tracks(xy, np.ones(xy.shape[:2], bool))
    figures = own_error(open_tracker(), lambda number: of(video, truth), [0])
    assert 0 < figures["epe_px"] < 0.3
    assert figures["frame_ms"] > 0
    still = own_error(open_tracker(), lambda number: of(np.repeat(video[:1], FRAMES, 0), truth), [0])
    assert still["epe_px"] > 5, "a tracker that finds no motion where there is some must show it"
