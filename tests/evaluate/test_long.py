"""A stream that holds scores as holding, one that blurs, fades or drifts is seen to, and a cut run ends as an uncut."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image
from tests.stream.small_bundle import open_small, photo, save_small

from motionstream.evaluate.long import Schedule, evaluate_long
from motionstream.evaluate.pictures.sheets import strips
from motionstream.evaluate.stream_figures import draw
from motionstream.evaluate.track_patterns import PATTERNS, PERIOD
from motionstream.evaluate.variant import variant, with_sizes
from motionstream.geometry import Geometry
from motionstream.lpips import LpipsNetwork
from motionstream.sampling import RolloutConfig
from motionstream.stream.model import StreamingModel

pytest.importorskip("cv2", reason="the tracker needs OpenCV (extra: evaluate)")

pytest.importorskip("torchmetrics", reason="PSNR needs torchmetrics (extra: evaluate)")


SIZE = (64, 48)


PICTURE = np.random.default_rng(0).integers(40, 200, (48, 64, 3)).astype(np.uint8)


MACHINE = ("memory_mib", "chunk_ms_p50", "chunk_ms_p95", "memory_vs_100")


class Fading:
    """A stream that shows its picture, changed by `change(picture, frame number)`."""

    size = SIZE
    chunk_frames = 12

    def __init__(self, change: Any) -> None:
        self.change, self.done = change, 0

    def step(self, tracks: Any) -> np.ndarray:
        assert tracks.frames == self.chunk_frames
        frames = [self.change(PICTURE.astype(np.float32), self.done + i) for i in range(self.chunk_frames)]
        self.done += self.chunk_frames
        return np.clip(np.stack(frames), 0, 255).astype(np.uint8)


def fading(change: Any, chunk: int = 3) -> Any:
    rollout_config = RolloutConfig(chunk, 3, 3, (1.0,))
    stream = lambda picture, seed: Fading(change)  # noqa: E731
    return SimpleNamespace(open=stream, hash="abc", rollout_config=rollout_config, geometry=Geometry(*SIZE))


def figures_of(change: Any, scenes: tuple[str, ...] = ("idle", "moving")) -> dict[str, Any]:
    figures, rows = evaluate_long({"c3s3w3": fading(change)}, {"noise": PICTURE}, scenes, Schedule(400, 200), columns=2)
    assert set(rows) == {f"c3s3w3, noise, {name}" for name in scenes}
    assert all(len(row) == 2 for row in rows.values())
    json.dumps(figures, allow_nan=False)
    return figures


def test_a_still_picture_is_kept_whole_and_found_not_to_follow() -> None:
    figures = figures_of(lambda picture, _: picture)
    assert figures["missing"] == ["lpips"]
    idle, moving = figures["c3s3w3"]["idle"], figures["c3s3w3"]["moving"]
    for scene in (idle, moving):
        assert scene["sharpness_vs_100"] == pytest.approx(1)
        assert scene["colour_drift_levels"] == 0
        assert scene["identity_vs_100"] is None
        assert scene["holds_within_5_percent"]
    assert idle["psnr_to_first_db"] > 90
    assert idle["epe_px"] is None
    assert moving["psnr_to_first_db"] is None
    assert moving["epe_px"] == pytest.approx(moving["epe_of_standing_still_px"], rel=0.05)
    assert moving["epe_of_standing_still_px"] > 2
    assert [one["frame"] for one in figures["curves"]["c3s3w3"]["idle"]["noise"]] == [100, 200, 400]


def test_blur_shows_as_lost_sharpness() -> None:
    def blurred(picture: np.ndarray, frame: int) -> np.ndarray:
        return picture + (picture.mean((0, 1), keepdims=True) - picture) * min(0.9, frame / 400)

    for scene in figures_of(blurred)["c3s3w3"].values():
        assert scene["sharpness_vs_100"] < 0.5
        assert scene["contrast_vs_100"] < 0.5
        assert not scene["holds_within_5_percent"]


def test_a_tint_shows_as_drift_of_colour() -> None:
    def tinted(picture: np.ndarray, frame: int) -> np.ndarray:
        return picture + np.array([frame / 8, 0, 0], np.float32)

    figures = figures_of(tinted, ("idle",))["c3s3w3"]["idle"]
    assert figures["colour_drift_levels"] > 10
    assert figures["colour_vs_100"] > 1.1
    assert figures["sharpness_vs_100"] == pytest.approx(1, abs=0.05)
    assert not figures["holds_within_5_percent"]


def test_a_picture_that_moves_with_its_tracks_is_found_to_follow() -> None:
    smooth = np.asarray(Image.fromarray(PICTURE[:12, :16]).resize(SIZE, Image.Resampling.BICUBIC)).astype(np.float32)

    def followed(_: np.ndarray, frame: int) -> np.ndarray:
        panning = PATTERNS["panning"].tracks
        away = panning(SIZE, frame, 1).xy[0, 0] - panning(SIZE, PERIOD - 1, 1).xy[0, 0]
        columns = (np.arange(SIZE[0]) - away[0]).clip(0, SIZE[0] - 1)
        low, share = columns.astype(int), (columns % 1)[:, None]
        return smooth[:, low] * (1 - share) + smooth[:, np.minimum(low + 1, SIZE[0] - 1)] * share

    figures = figures_of(followed, ("panning",))["c3s3w3"]["panning"]
    assert figures["epe_px"] < 0.3 * figures["epe_of_standing_still_px"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_small(tmp_path_factory.mktemp("small"), chunk=3, sink=1, window=1)


@pytest.fixture(scope="module")
def model(folder: Path) -> StreamingModel:
    return open_small(folder)


@pytest.fixture(scope="module")
def lpips() -> LpipsNetwork:
    return LpipsNetwork().eval().requires_grad_(False)


def plain(figures: dict[str, Any]) -> dict[str, Any]:
    """The curves without what the machine did."""
    return {
        scene: [{key: one[key] for key in one if key not in MACHINE} for one in runs["photo"]]
        for sizes in figures["curves"].values()
        for scene, runs in sizes.items()
    }


class Cut(Exception):
    pass


def test_a_run_that_was_cut_ends_as_an_uncut_one(model: StreamingModel, lpips: LpipsNetwork, tmp_path: Path) -> None:
    """Cut between the first two samples, and again right after a line of the file."""
    models, pictures, scenes = (
        {"c3s0w1": variant(model, with_sizes(model.rollout_config, "c3s0w1"))},
        {"photo": photo()},
        ["moving"],
    )
    whole, rows = evaluate_long(models, pictures, scenes, Schedule(300, 100), lpips=lpips)
    file = tmp_path / "long.jsonl"

    def cut_after(frames: int) -> Any:
        seen = 0

        def watch(chunks: Any) -> Any:
            nonlocal seen
            for chunk in chunks:
                yield chunk
                seen += len(chunk)
                if seen > frames:
                    raise Cut

        return watch

    for frames in (150, 101):  # the second cut counts 101 frames that were there
        with pytest.raises(Cut):
            evaluate_long(models, pictures, scenes, Schedule(300, 100), file, lpips, progress=cut_after(frames))
    assert len(file.read_text().splitlines()) == 2
    stepped: list[int] = []

    def counted(chunks: Any) -> Any:
        for chunk in chunks:
            stepped.append(0 if isinstance(chunk, range) else len(chunk))
            yield chunk

    resumed, again = evaluate_long(models, pictures, scenes, Schedule(300, 100), file, lpips, progress=counted)
    assert 180 < sum(stepped) <= 212
    assert plain(resumed) == plain(whole)
    for name, row in rows.items():
        np.testing.assert_array_equal(again[name], row)
    assert len(list((tmp_path / "long.jsonl.streams").glob("*.stream"))) == 1


def test_a_finished_run_is_not_run_again_and_can_be_made_longer(model: StreamingModel, tmp_path: Path) -> None:
    models, pictures = {"c3s1w1": model}, {"photo": photo()}
    file = tmp_path / "long.jsonl"
    short, _ = evaluate_long(models, pictures, ["idle"], Schedule(100, 100), file)
    longer, _ = evaluate_long(models, pictures, ["idle"], Schedule(200, 100), file)
    uncut, _ = evaluate_long(models, pictures, ["idle"], Schedule(200, 100))
    assert plain(longer) == plain(uncut)
    assert plain(longer)["idle"][0] == plain(short)["idle"][0]
    closed: Any = SimpleNamespace(hash=model.hash, rollout_config=model.rollout_config, geometry=model.geometry)
    again, _ = evaluate_long({"c3s1w1": closed}, pictures, ["idle"], Schedule(200, 100), file)
    assert again["curves"] == longer["curves"]
    with pytest.raises(ValueError, match="another evaluation"):
        evaluate_long(models, {"photo": photo(1)}, ["idle"], Schedule(200, 100), file)


def test_without_its_stream_a_run_starts_over_and_keeps_its_samples(model: StreamingModel, tmp_path: Path) -> None:
    file = tmp_path / "long.jsonl"
    first, _ = evaluate_long({"c3s1w1": model}, {"photo": photo()}, ["idle"], Schedule(100, 100), file)
    for kept in (tmp_path / "long.jsonl.streams").glob("*"):
        kept.unlink()
    longer, _ = evaluate_long({"c3s1w1": model}, {"photo": photo()}, ["idle"], Schedule(200, 100), file)
    assert longer["curves"]["c3s1w1"]["idle"]["photo"][0] == first["curves"]["c3s1w1"]["idle"]["photo"][0]


def test_variants_run_side_by_side_and_differ(model: StreamingModel, lpips: LpipsNetwork, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="plots need Matplotlib (extra: evaluate)")
    names = ("c3s3w3", "c3s0w3", "c2s0w0")
    models = {name: variant(model, with_sizes(model.rollout_config, name)) for name in names}
    figures, rows = evaluate_long(models, {"photo": photo()}, ["moving"], Schedule(100, 100), lpips=lpips)
    means = {name: figures["curves"][name]["moving"]["photo"][0]["red_levels"] for name in names}
    assert len(set(means.values())) == 3
    assert figures["missing"] == []
    draw(figures, tmp_path / "long.png")
    strips(rows, tmp_path / "sheet.png")
    with Image.open(tmp_path / "long.png") as plot:
        assert len(plot.convert("RGB").getcolors(1 << 20) or []) > 50
    assert model.rollout_config.chunk == 3


@pytest.mark.parametrize(
    ("frames", "every", "says"), [(1000, 150, "multiple of 100"), (1000, 300, "multiple of 300"), (100, 200, "200")]
)
def test_lengths_that_would_not_compare_are_refused(frames: int, every: int, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        Schedule(frames, every)


def test_wrong_calls_are_refused() -> None:
    good = fading(lambda picture, _: picture)
    for models, pictures, scenes, says in (
        ({"a": good}, {}, ["idle"], "0 pictures"),
        ({"a": good}, {"noise": PICTURE}, ["dancing"], "use moving, idle"),
        ({"a": good}, {"noise": PICTURE}, [], "use moving, idle"),
        ({"c20": fading(None, chunk=20)}, {"noise": PICTURE}, ["idle"], "c20: chunks of 80 frames"),
    ):
        with pytest.raises(ValueError, match=says):
            evaluate_long(models, pictures, scenes, Schedule(100, 100))
