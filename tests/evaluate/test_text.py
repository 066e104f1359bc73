"""The probe knows effects on pictures it never saw, and tells a model that reads its prompt from one that does not."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from motionstream.data.assets import AssetLibrary
from motionstream.data.effects import BY_NAME, NONE
from motionstream.data.synthetic import SyntheticWorlds
from motionstream.evaluate import text
from motionstream.evaluate.baselines import still, warp
from motionstream.evaluate.harness import Item, Results, measure, table
from motionstream.evaluate.metrics import Video
from motionstream.evaluate.probe import features
from motionstream.evaluate.prompt_worlds import CLASSES, DRAWS, PromptWorld, ramp
from motionstream.evaluate.text import evaluate_text
from motionstream.tracks import Tracks

pytest.importorskip("cv2", reason="the tracker needs OpenCV (extra: evaluate)")


ASSETS = Path(__file__).parents[1] / "data" / "assets"


FRAMES, PROBED, COUNT = 21, 8, 2


def worlds(split: str, **other: Any) -> SyntheticWorlds:
    usual: dict[str, Any] = {"size": (128, 80), "frames": FRAMES, "seed": 4, "effects": False, "points": 60}
    return SyntheticWorlds(AssetLibrary(ASSETS, split=split), **{**usual, **other})


@pytest.fixture(scope="module")
def training() -> SyntheticWorlds:
    return worlds("train")


@pytest.fixture(scope="module")
def heldout() -> SyntheticWorlds:
    return worlds("heldout")


@pytest.fixture(scope="module")
def probed(training: SyntheticWorlds, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A results file with the probe's clips, so that they are made once for all tests here."""
    file = tmp_path_factory.mktemp("text") / "probe.jsonl"
    measure(
        (Item(f"probe {n}", PromptWorld.of(training, n, 0).features) for n in range(PROBED)),
        Results(file),
    )
    return file


def effect_of(prompt: str) -> str:
    return next((one.name for one in BY_NAME.values() if any(prompt.endswith(p) for p in one.phrases)), NONE)


class Reader:
    """Plays the true clip of a held-out world with whatever effect the prompt names."""

    def __init__(self, heldout: SyntheticWorlds, seed: int = 7) -> None:
        self.given: dict[int, set[int]] = {}
        self.worlds = [PromptWorld.of(heldout, number, seed) for number in range(COUNT)]
        self.firsts = [world.true(NONE)[0] for world in self.worlds]

    def __call__(self, first: Video, tracks: Tracks, caption: str, seed: int) -> Video:
        number = next(n for n, mine in enumerate(self.firsts) if (mine == first).all())
        self.given.setdefault(number, set()).add(seed)
        return self.worlds[number].true(effect_of(caption))

    def change(
        self, first: Video, tracks: Tracks, prompts: tuple[str, str], wanted: int, seed: int
    ) -> tuple[Video, int]:
        assert effect_of(prompts[0]) == NONE
        number = next(n for n, mine in enumerate(self.firsts) if (mine == first).all())
        strength = np.clip((np.arange(FRAMES) - wanted) / 4, 0, 1).astype(np.float32)
        world = replace(self.worlds[number].world, effect=effect_of(prompts[1]), strength=strength)
        return world.render().permute(0, 2, 3, 1).contiguous().numpy(), wanted


def figures_of(
    generate: text.Generate,
    change: text.Change | None,
    training: SyntheticWorlds,
    heldout: SyntheticWorlds,
    probed: Path,
    tmp_path: Path,
) -> dict[str, Any]:
    copy = tmp_path / "results.jsonl"
    copy.write_text(probed.read_text())
    figures = evaluate_text(generate, change, training, heldout, PROBED, COUNT, results=Results(copy))
    json.dumps(figures, allow_nan=False)
    return figures


@pytest.fixture(scope="module")
def reader(heldout: SyntheticWorlds) -> Reader:
    return Reader(heldout)


@pytest.fixture(scope="module")
def of_reader(
    reader: Reader,
    training: SyntheticWorlds,
    heldout: SyntheticWorlds,
    probed: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> dict[str, Any]:
    return figures_of(reader, reader.change, training, heldout, probed, tmp_path_factory.mktemp("reader"))


def test_a_model_that_reads_its_prompt_is_recognised(reader: Reader, of_reader: dict[str, Any]) -> None:
    assert [len(seeds) for seeds in reader.given.values()] == [1] * COUNT
    assert len(set.union(*reader.given.values())) == COUNT, "streams of each world have a seed of their own"
    assert of_reader["probe"]["recognised"] >= 0.8
    assert of_reader["scores"]["model"]["recognised"] >= 0.8
    assert of_reader["scores"]["model"]["midstream_recognised"] >= 0.6
    assert set(of_reader["scores"]["model"]["effects"]) == set(BY_NAME)
    for effect in of_reader["scores"]["model"]["effects"].values():
        assert effect["epe_none_px"] < 0.5, "the true clip follows its tracks"
        assert effect["epe_px"] < 2
    counts = of_reader["probe"]["confusion"]
    assert all(sum(counts[name].values()) == COUNT for name in CLASSES)


def test_what_an_effect_does_to_the_tracker_is_not_counted_as_the_models_error(of_reader: dict[str, Any]) -> None:
    """Of a model that shows the very clip under the effect, with flakes of its own."""
    figures = of_reader["scores"]["model"]
    assert figures["epe_change_largest"] > 0.5
    assert figures["epe_beyond_largest"] < 0.5 * figures["epe_change_largest"]


def test_the_true_effect_is_drawn_anew(heldout: SyntheticWorlds) -> None:
    world = PromptWorld.of(heldout, 0, 0)
    draws = [world.under("snow"), *world.redrawn("snow")]
    assert len(draws) == 1 + DRAWS
    assert len({one.effect_seed for one in draws}) == len(draws)
    assert all(one.effect == "snow" and one.strength[0] == 0 and one.strength[-1] == 1 for one in draws)


@pytest.mark.parametrize("generate", [warp, still])
def test_a_model_that_ignores_its_prompt_scores_chance(
    generate: text.Generate, training: SyntheticWorlds, heldout: SyntheticWorlds, probed: Path, tmp_path: Path
) -> None:
    figures = figures_of(generate, None, training, heldout, probed, tmp_path)
    assert figures["chance"] == 1 / 8
    assert figures["scores"]["model"]["recognised"] == pytest.approx(1 / 8)
    assert figures["scores"]["warp"]["recognised"] == pytest.approx(1 / 8)
    assert figures["scores"]["model"]["midstream_recognised"] is None
    effects = figures["scores"]["model"]["effects"].values()
    assert all(effect["epe_change"] == pytest.approx(0) for effect in effects)
    assert min(effect["epe_beyond"] for effect in effects) < -0.1, "no effect was shown, so none hid anything"


def test_a_prompt_that_breaks_the_motion_shows(
    training: SyntheticWorlds, heldout: SyntheticWorlds, probed: Path, tmp_path: Path
) -> None:
    """Beyond what the effect itself costs where that is little; in snow the tracker is lost on true frames as well."""

    def stops(first: Video, tracks: Tracks, caption: str, seed: int) -> Video:
        return (still if effect_of(caption) in ("snow", "sunset") else warp)(first, tracks)

    effects = figures_of(stops, None, training, heldout, probed, tmp_path)["scores"]["model"]["effects"]
    for name in ("snow", "sunset"):
        assert effects[name]["epe_change"] > 1
        assert effects[name]["epe_moving_change"] > effects[name]["epe_change"]
        assert 0 < effects[name]["tracker_kept_moving_share"] <= 1
    assert effects["sunset"]["epe_beyond"] > 0.15
    assert effects["rain"]["epe_change"] == pytest.approx(0)


def test_what_an_effect_costs_has_an_interval_over_worlds() -> None:
    """One world of eight in which the tracker loses some points."""
    worlds = [
        {"model.fog.epe": [90.0 if lost else 30, 100], "model.fog.epe_laid": [30, 100]} for lost in [True, *[False] * 7]
    ]
    found = table(dict(enumerate(worlds)))
    figures = text._of_effect(found, "fog")
    assert figures["epe_beyond"] == pytest.approx(0.25)
    assert figures["epe_beyond_low"] == pytest.approx(0)
    assert (figures["epe_beyond_high"] or 0) > 0.5
    few = text._of_effect(found.iloc[:2], "fog")
    assert (few["epe_beyond_low"], few["epe_beyond_high"]) == (None, None)


def test_effects_begin_after_the_first_frame_and_are_whole_before_the_last_third() -> None:
    for seed in range(20):
        strength = ramp(45, np.random.default_rng(seed))
        assert strength[0] == 0
        assert (strength[22:] == 1).all()
        assert (np.diff(strength) >= 0).all()


def test_a_prompt_changes_at_the_first_chunk_from_the_frame_wanted_on() -> None:
    prompts: list[str] = []

    class Stream:
        chunk_frames = 4

        def __init__(self, prompt: str) -> None:
            self.prompt = prompt

        def step(self, tracks: Tracks | None) -> Video:
            prompts.append(self.prompt)
            return np.zeros((4, 8, 8, 3), np.uint8)

    class Model:
        def open(self, image: Video, prompt: str, seed: int) -> Stream:
            return Stream(prompt)

    video, changed = text.by_changing(Model())(np.zeros((8, 8, 3), np.uint8), Tracks.empty(16), ("a", "b"), 6, 0)
    assert (len(video), changed) == (16, 8)
    assert prompts == ["a", "a", "b", "b"]


def test_each_effect_has_a_row_of_true_and_made_frames(heldout: SyntheticWorlds) -> None:
    rows = text.shown(heldout, warp)
    assert [row.partition(":")[0] for row in rows] == list(CLASSES)
    assert all(len(frames) == 2 * text.SHOWN for frames in rows.values())


def test_wrong_calls_are_refused(training: SyntheticWorlds, heldout: SyntheticWorlds) -> None:
    with pytest.raises(ValueError, match="effects=False"):
        evaluate_text(warp, None, worlds("train", effects=True), heldout, 1, 1)
    with pytest.raises(ValueError, match="9 or more"):
        features(np.zeros((5, 16, 16, 3), np.uint8), Tracks.empty(5))
    with pytest.raises(ValueError, match="send uint8 of shape"):
        evaluate_text(lambda *given: still(*given)[1:], None, training, heldout, 1, 1)
    late = lambda first, tracks, *_: (still(first, tracks), tracks.frames)  # noqa: E731
    with pytest.raises(ValueError, match="ask for more frames"):
        evaluate_text(warp, late, training, heldout, 1, 1)
