"""What limits a model: each rung of the ladder is what it says, bins lose no clip, and a cut run goes on."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from tests.small import GEOMETRY, small_model, small_vae
from tests.stream.small_bundle import open_small, save_small, silent_model

from benchmarks import limits
from benchmarks.__main__ import app
from benchmarks.limits import LADDER, SPLITS, Make, evaluate_limits, ladder, speed, worst
from benchmarks.parts import without
from benchmarks.report.report import tables
from benchmarks.vae import rebuild
from motionstream import cli, errors
from motionstream.data.assets import AssetLibrary
from motionstream.data.synthetic import SyntheticWorlds
from motionstream.evaluate.baselines import by_model, still, warp
from motionstream.evaluate.clips import Clip, Source, worlds
from motionstream.evaluate.harness import Results
from motionstream.evaluate.metrics import Video
from motionstream.evaluate.motion import evaluate_motion
from motionstream.evaluate.scores import Reference
from motionstream.stream.model import StreamingModel
from motionstream.tiny.finisher import finisher_of
from motionstream.tracks import Tracks

pytest.importorskip("cv2", reason="the tracker needs OpenCV (extra: evaluate)")
pytest.importorskip("torchmetrics", reason="PSNR and SSIM need torchmetrics (extra: evaluate)")

ASSETS = Path(__file__).parents[1] / "data" / "assets"
FRAMES, CLIPS, SEED = 17, 5, 8


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small model with every part."""
    return save_small(tmp_path_factory.mktemp("small"))


@pytest.fixture(scope="module")
def model(folder: Path) -> StreamingModel:
    return open_small(folder)


@pytest.fixture(scope="module")
def sources() -> list[Source]:
    """Worlds, each made once."""
    made = worlds(AssetLibrary(ASSETS, split="train"), GEOMETRY.size, FRAMES, SEED, CLIPS)
    clips = {each.name: each.load() for each in made}
    return [Source(name, lambda clip=clip: clip) for name, clip in clips.items()]


@pytest.fixture(scope="module")
def figures(model: StreamingModel, sources: list[Source]) -> dict[str, Any]:
    return evaluate_limits(ladder(model, SEED), sources, seed=SEED)


def steady(figures: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in figures.items() if name not in ("machine", "date")}


def moving_clip(sources: list[Source]) -> tuple[Clip, Tracks]:
    """One on which something moves, with the points that are there from the first frame on."""
    clip = max((each.load() for each in sources), key=lambda clip: speed(clip.tracks))
    return clip, clip.tracks.select(clip.tracks.visible[0])


def fakes() -> dict[str, Make]:
    """A ladder of two: a darkened truth for the whole model, and the warp."""
    return {
        "warp": lambda clip, given: warp(clip.video[0], given),
        "whole": lambda clip, given: (clip.video * 0.9).astype(np.uint8),
    }


@pytest.mark.parametrize("control", ["dense", "20"])
def test_whole_and_warp_are_measured_as_evaluate_motion_does(
    model: StreamingModel, sources: list[Source], control: str
) -> None:
    found = evaluate_limits(ladder(model, SEED), sources, control, seed=SEED)
    known = evaluate_motion(by_model(model), sources, seed=SEED, controls=[control])[control]
    for name, same in (("whole", "model"), ("warp", "warp")):
        own = found["by_source"][name]
        assert {key: own[key] for key in known[same]} == known[same]
    assert found["by_source"]["whole"] != found["by_source"]["student"]
    assert (found["clips"], found["points"]) == (known["clips"], known["points"])


def test_every_rung_has_every_figure(figures: dict[str, Any]) -> None:
    assert tuple(figures["by_source"]) == LADDER
    for one in figures["by_source"].values():
        assert {"psnr_db", "psnr_pooled_db", "moving_psnr_db", "uncovered_psnr_db", "ssim"} <= set(one)
        assert {"epe_px", "epe_moving_px"} <= set(one)
    assert len({one["psnr_pooled_db"] for one in figures["by_source"].values()}) == len(LADDER)
    assert {"machine", "date", "missing"} <= set(figures)
    json.dumps(figures, allow_nan=False)


def test_rungs_are_what_they_say(model: StreamingModel, sources: list[Source]) -> None:
    clip, given = moving_clip(sources)
    made = {name: make(clip, given) for name, make in ladder(model, SEED).items()}
    np.testing.assert_array_equal(made["vae"], rebuild(model, clip.video, model.rollout_config.chunk))
    np.testing.assert_array_equal(made["warp"], warp(clip.video[0], given))

    def alike(rung: str, other: Video) -> bool:
        """But for rounding: the one has been whole numbers in between."""
        return float(np.abs(made[rung].astype(int) - other).mean()) < 1

    assert alike("warp through the vae", rebuild(model, made["warp"], model.rollout_config.chunk))
    assert not alike("warp through the vae", made["student"]), "the network corrects something"
    assert not alike("warp through the vae", rebuild(model, still(clip.video[0], given), model.rollout_config.chunk))
    for rung, parts in (("student", ("detail", "prompt_filter")), ("with detail", ("prompt_filter",))):
        bare = without(model, *parts)
        np.testing.assert_array_equal(made[rung], by_model(bare)(clip.video[0], given, clip.caption, SEED))
    assert (made["with detail"] != made["whole"]).any()
    own = finisher_of(model)
    assert own.detail is not None, "the model itself keeps its parts"
    assert own.prompt_filter is not None


def test_an_untrained_network_is_the_warp_through_the_vae(model: StreamingModel, sources: list[Source]) -> None:
    """An anchored network that returns 0 makes the very frames of that rung, points born later and all."""
    clip = moving_clip(sources)[0]
    silent = silent_model(model)
    made = ladder(silent, SEED)["whole"](clip, clip.tracks)
    rung = ladder(model, SEED)["warp through the vae"](clip, clip.tracks)
    assert np.abs(made.astype(int) - rung).max() <= 1
    assert (made != ladder(model, SEED)["student"](clip, clip.tracks)).mean() > 0.5


def test_what_a_model_has_no_part_for_is_left_out(model: StreamingModel) -> None:
    bare = ["vae", "warp", "warp through the vae"]
    assert list(ladder(model)) == list(LADDER)
    assert list(ladder(without(model, "prompt_filter"))) == [*bare, "student", "whole"]
    assert list(ladder(without(model, "detail"))) == [*bare, "student", "whole"]
    assert list(ladder(without(model, "detail", "prompt_filter"))) == [*bare, "whole"]
    papers = StreamingModel("a", small_model(False), small_vae(), GEOMETRY, 24.0, model.rollout_config, "0")
    assert list(ladder(papers)) == ["vae", "warp", "whole"]


def test_bins_lose_no_clip_and_join_to_the_whole(figures: dict[str, Any], sources: list[Source]) -> None:
    assert set(figures["by_content"]) == set(SPLITS) == {"effect", "plot", "speed", "uncovered", "moving"}
    for bins in figures["by_content"].values():
        assert sum(one["clips"] for one in bins.values()) == figures["clips"] == CLIPS
        error = sum(one["clips"] * 10 ** (-one["psnr_pooled_db"] / 10) for one in bins.values()) / CLIPS
        assert -10 * np.log10(error) == pytest.approx(figures["by_source"]["whole"]["psnr_pooled_db"])
    plans = SyntheticWorlds(AssetLibrary(ASSETS, split="train"), GEOMETRY.size, FRAMES, SEED)
    for key in ("effect", "plot"):
        wanted = [getattr(plans.world(index), key) for index in range(CLIPS)]
        assert [row[key] for row in figures["per_clip"]] == wanted
        told = {name: one["clips"] for name, one in figures["by_content"][key].items()}
        assert told == {name: wanted.count(name) for name in set(wanted)}
    assert len(figures["by_content"]["plot"]) > 1, "one bin alone would lose nothing"


def test_clips_without_an_effect_are_also_told_alone(
    model: StreamingModel, figures: dict[str, Any], sources: list[Source]
) -> None:
    plain = [each for each in sources if each.load().effect == "none"]
    assert 0 < len(plain) < CLIPS
    alone = evaluate_limits(ladder(model, SEED), plain, seed=SEED)
    assert alone["by_source"] == alone["by_source_without_effect"] == figures["by_source_without_effect"]
    affected = [each for each in sources if each.load().effect != "none"]
    assert evaluate_limits(fakes(), affected)["by_source_without_effect"] == {}


def test_numbers_fall_into_the_bins_that_name_them() -> None:
    speeds, shares = SPLITS["speed"], SPLITS["uncovered"]
    assert speeds is not None
    assert shares is not None
    assert [speeds.bin(value) for value in (0, 0.99, 1, 2.9, 3, 50)] == [
        name for name in ("under 1 px", "1 to 3 px", "over 3 px") for _ in range(2)
    ]
    assert [shares.bin(value) for value in (0.0, 0.05, 0.2)] == ["under 5 %", "5 to 20 %", "over 20 %"]
    assert all(len(split.names) == len(split.edges) + 1 for split in SPLITS.values() if split)


def test_speed_is_of_what_moves_while_it_is_seen() -> None:
    xy = np.zeros((9, 3, 2), np.float32)
    xy[:, 0, 0] = 2 * np.arange(9)
    xy[:, 1, 0] = 0.1 * np.arange(9)  # rests, as good as
    xy[:, 2, 1] = 4 * np.arange(9)
    visible = np.ones((9, 3), bool)
    assert speed(Tracks(xy, visible)) == pytest.approx(3)
    xy[6:, 2] += 100
    visible[6:, 2] = False
    assert speed(Tracks(xy, visible)) == pytest.approx((8 * 2 + 5 * 4) / 13), "where nobody sees it, it may jump"
    visible[1:, 2] = False
    assert speed(Tracks(xy, visible)) == pytest.approx(2)
    assert speed(Tracks(xy[:, 1:2], visible[:, 1:2])) == 0


def test_what_a_clip_shows_is_of_the_frames_that_are_made(sources: list[Source]) -> None:
    clip = sources[0].load()
    new = np.zeros_like(clip.uncovered)
    new[1:, :, : GEOMETRY.width // 4] = True
    reference = Reference(Source("a", lambda: replace(clip, uncovered=new)))
    assert limits.about(reference)["uncovered"] == pytest.approx(0.25)
    rests = replace(clip, tracks=Tracks(np.repeat(clip.tracks.xy[:1], FRAMES, 0), clip.tracks.visible), uncovered=None)
    about = limits.about(Reference(Source("a", lambda: rests)))
    assert (about["speed"], about["moving"], about["uncovered"]) == (0, 0, None)


def test_a_run_that_was_cut_goes_on_to_the_same_figures(tmp_path: Path, sources: list[Source]) -> None:
    whole, file = evaluate_limits(fakes(), sources), tmp_path / "limits.jsonl"
    calls: list[str] = []

    def failing(clip: Clip, given: Tracks) -> Video:
        calls.append(clip.caption)
        if len(calls) == 3:
            raise RuntimeError("the power went")
        return fakes()["whole"](clip, given)

    makers = {**fakes(), "whole": failing}
    with pytest.raises(RuntimeError, match="power"):
        evaluate_limits(makers, sources, results=Results(file, {"model": "a"}))
    resumed = evaluate_limits(makers, sources, results=Results(file, {"model": "a"}))
    assert len(calls) == CLIPS + 1, "the one that was cut is made again, and none of those before"
    assert steady(resumed) == steady(whole)
    again = evaluate_limits(makers, sources, results=Results(file, {"model": "a"}))
    assert steady(again) == steady(whole)
    assert len(calls) == CLIPS + 1


def test_a_clip_without_the_control_is_named_and_wrong_calls_are_refused(sources: list[Source]) -> None:
    clip = sources[0].load()
    rests = Source("rests", lambda: replace(clip, object_of=np.zeros_like(clip.object_of)))
    moves = next(
        each for each in sources if len(Reference(each).points("object", 0))
    )  # a clip that the control can be taken of
    found = evaluate_limits(fakes(), [rests, moves], "object")
    assert (found["clips"], found["without_control"]) == (1, ["rests"])
    assert found["points"] <= 25
    with pytest.raises(ValueError, match="no clip has what control 'object' gives"):
        evaluate_limits(fakes(), [rests], "object")
    with pytest.raises(ValueError, match="controls sparse: use dense"):
        evaluate_limits(fakes(), sources, "sparse")
    with pytest.raises(ValueError, match="send uint8 of shape"):
        evaluate_limits({**fakes(), "whole": lambda clip, given: clip.video[1:]}, sources)


def test_the_worst_clips_are_those_of_the_largest_error(figures: dict[str, Any]) -> None:
    ordered = sorted(figures["per_clip"], key=lambda row: row["psnr_pooled_db"]["whole"])
    assert figures["worst"] == [row["name"] for row in ordered[:3]]
    many = {f"{number:03d}": {"made": {"whole": {"squares": [float(number), 1]}}} for number in range(100)}
    assert worst(many) == ["099", "098", "097", "096", "095"], "5 % of them"


def test_the_sheet_shows_true_whole_and_warp_of_the_worst(
    model: StreamingModel, figures: dict[str, Any], sources: list[Source]
) -> None:
    shown = list(limits.examples(model, sources, figures))
    assert [each.name for each in shown] == figures["worst"]
    makers = ladder(model, SEED)
    first = {each.name: each.load() for each in sources}[shown[0].name]
    assert list(shown[0].videos) == ["true", "whole", "warp"]
    np.testing.assert_array_equal(shown[0].videos["true"], first.video)
    given = first.tracks.select(first.tracks.visible.any(0))
    for rung in ("whole", "warp"):
        np.testing.assert_array_equal(shown[0].videos[rung], makers[rung](first, given))
    assert shown[0].caption.startswith(f"{shown[0].name}, ")


def test_tables_have_a_line_a_rung_and_a_line_a_bin(figures: dict[str, Any]) -> None:
    everything, plain, content = tables(figures)
    assert [row.name for row in everything.rows] == list(LADDER)
    assert [row.name for row in plain.rows] == list(LADDER)
    assert len(content.rows) == sum(map(len, figures["by_content"].values()))
    assert len(tables({**figures, "by_source_without_effect": {}})) == 2


def test_the_command_writes_its_files_and_resumes(
    folder: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MOTIONSTREAM_DEBUG", "")
    monkeypatch.chdir(tmp_path)
    arguments = ["limits", "--assets", str(ASSETS), "-m", str(folder), "--split", "train", "--frames", "9"]
    arguments += ["--resume-file", "j.jsonl", "--json", "out/limits.json", "--sheet", "worst.png"]
    for clips in ("1", "2"):
        assert cli.run([*arguments, "--clips", clips], app) == errors.DONE
    written = json.loads(Path("out/limits.json").read_text())
    assert (written["model"], written["split"], written["clips"]) == (str(folder), "train", 2)
    assert len(written["model_hash"]) == 12
    assert tuple(written["by_source"]) == LADDER
    assert len(Path("j.jsonl").read_text().splitlines()) == 3, "the key and two clips: one was kept"
    with Image.open("worst.png") as picture:
        assert picture.format == "PNG"
    said = capsys.readouterr().out
    assert "by part" in said
    assert "plot, " in said
    assert cli.run([*arguments, "--control", "7"], app) == errors.WRONG_INPUT
    assert "controls 7: use dense" in capsys.readouterr().err
