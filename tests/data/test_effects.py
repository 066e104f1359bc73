from __future__ import annotations

import numpy as np
import pytest
import torch

from motionstream.conditioning.text_encoder import words_of
from motionstream.data import effects
from motionstream.data.assets import AssetLibrary
from motionstream.data.captions import caption, phrases_of_effects, plain_name, with_effect, wordings
from motionstream.data.effects import BY_NAME, EFFECTS, NONE, Effect
from motionstream.data.synthetic import SyntheticWorlds
from motionstream.tiny.prompt_filter import PromptFilterConfig

FRAMES, HEIGHT, WIDTH = 9, 48, 64


def scene() -> torch.Tensor:
    """A smooth picture with some colour, the same in each frame."""
    ramp = torch.linspace(0.2, 0.8, WIDTH).expand(3, HEIGHT, WIDTH) * torch.tensor([1.0, 0.7, 0.5])[:, None, None]
    return ramp.expand(FRAMES, 3, HEIGHT, WIDTH).clone()


def applied(name: str, strength: np.ndarray, seed: int = 0) -> torch.Tensor:
    return BY_NAME[name].apply(scene(), torch.from_numpy(strength), np.random.default_rng(seed))


@pytest.mark.parametrize("name", sorted(BY_NAME))
def test_no_strength_no_effect_full_strength_plain_to_see(name: str) -> None:
    off = applied(name, np.zeros(FRAMES, np.float32))
    on = applied(name, np.ones(FRAMES, np.float32))
    assert (off - scene()).abs().max() < 1e-6
    assert (on - scene()).abs().mean() > 0.01
    assert on.isfinite().all()


@pytest.mark.parametrize("name", sorted(BY_NAME))
def test_an_effect_is_its_seeds(name: str) -> None:
    ones = np.ones(FRAMES, np.float32)
    assert torch.equal(applied(name, ones, 5), applied(name, ones, 5))
    assert not torch.equal(applied(name, ones, 5), applied(name, ones, 6))


@pytest.mark.parametrize("name", ["snow", "rain", "film grain", "fog"])
def test_weather_and_grain_move_over_a_still_scene(name: str) -> None:
    video = applied(name, np.ones(FRAMES, np.float32))
    assert (video[1:] - video[:-1]).abs().mean() > 1e-4


def test_each_look_does_what_its_name_says() -> None:
    ones = np.ones(FRAMES, np.float32)
    before = scene()
    grey = applied("black-and-white", ones)
    assert (grey - grey.mean(1, keepdim=True)).abs().max() < 1e-5
    assert applied("dusk", ones).mean() < 0.75 * before.mean()
    warm = applied("sunset", ones)
    assert (warm[:, 0] - warm[:, 2]).mean() > (before[:, 0] - before[:, 2]).mean() + 0.1
    assert applied("fog", ones).std() < 0.8 * before.std()


def test_snow_falls() -> None:
    """The flakes of a frame are found lower in the next one, not higher."""
    black = torch.zeros(FRAMES, 3, HEIGHT, WIDTH)
    flakes = BY_NAME["snow"].apply(black, torch.ones(FRAMES), np.random.default_rng(2))[:, 0]
    flakes = flakes - flakes.mean()
    match = {shift: (flakes[:-1, 4:-4] * flakes[1:].roll(-shift, 1)[:, 4:-4]).mean() for shift in (-2, 2)}
    assert match[2] > match[-2]


def test_dots_are_drawn_where_they_are() -> None:
    at = np.array([[[10.5, 20.5]], [[-5.0, 3.0]]])
    drawn = effects._splat(at, np.array([0.8]), np.array([0.9]), (WIDTH, HEIGHT), 3, torch.device("cpu"))
    assert drawn.shape == (2, 1, HEIGHT, WIDTH)
    assert drawn[0, 0, 20, 10] == pytest.approx(0.9)
    assert drawn[0].argmax() == 20 * WIDTH + 10
    assert drawn[1].max() < 1e-6


def test_most_clips_begin_before_their_effect() -> None:
    rng = np.random.default_rng(0)
    strengths = np.stack([effects.draw_strength(rng, 25) for _ in range(400)])
    assert (strengths[:, 0] < 0.2).mean() > 0.65
    assert (strengths[:, 0] == 1).mean() > 0.08
    assert (strengths[:, -1] > 0.9).mean() > 0.9
    assert (np.diff(strengths) >= 0).all()


def test_about_half_of_the_clips_have_an_effect_and_all_effects_occur() -> None:
    rng = np.random.default_rng(0)
    drawn = [effects.draw_effect(rng) for _ in range(700)]
    assert drawn.count(NONE) / 700 == pytest.approx(0.5, abs=0.06)
    assert set(drawn) == {NONE, *BY_NAME}


def test_a_scene_is_told_with_an_effect_in_one_of_its_phrases() -> None:
    rng = np.random.default_rng(0)
    assert with_effect("a lake", NONE, rng) == "a lake"
    said = {with_effect("a lake", "rain", rng) for _ in range(40)}
    assert said == {f"a lake, {phrase}" for phrase in BY_NAME["rain"].phrases}
    assert with_effect("", "fog", rng) in BY_NAME["fog"].phrases


def test_captions_name_the_effect_and_only_when_there_is_one(library: AssetLibrary) -> None:
    worlds = SyntheticWorlds(library, size=(64, 48), frames=1)
    for index in range(60):
        world = worlds.world(index)
        said = {e.name for e in EFFECTS if any(phrase in world.caption for phrase in e.phrases)}
        assert said == ({world.effect} - {NONE})


def test_a_caption_names_things_and_place() -> None:
    rng = np.random.default_rng(0)
    texts = {caption(rng, ["a fish (photo)", "a lamp"], "a lake", "snow") for _ in range(40)}
    assert all(text.startswith("a fish and a lamp") for text in texts)
    assert any("a lake" in text for text in texts)
    assert all(any(phrase in text for phrase in BY_NAME["snow"].phrases) for text in texts)
    assert caption(rng, [], "a lake", NONE) == "a lake"
    assert caption(rng, ["a fish", "a fish"], "", NONE) == "a fish"


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("a shield (3d cartoon)", "a shield"),
        ("A telephone.  Hello? Hello?", "a telephone"),
        ("a empty nest", "an empty nest"),
        ("a unicorn", "a unicorn"),
        ("picture 0b", ""),
        ("IMG 2034", ""),
        ("x" * 100, ""),
        ("", ""),
    ],
)
def test_plain_names(text: str, name: str) -> None:
    assert plain_name(text) == name


@pytest.mark.parametrize("effect", EFFECTS, ids=lambda effect: effect.name)
def test_every_way_to_say_an_effect_is_a_phrase_that_is_heard(effect: Effect) -> None:
    phrases = phrases_of_effects()
    for way in wordings(effect.name):
        heard = [
            phrases[number - 1] for number in PromptFilterConfig(phrases).numbers_in(f"A horse in a meadow, {way}.")
        ]
        assert " ".join(words_of(way)) in heard
        assert all(any(words_of(own) == words_of(one) for own in wordings(effect.name)) for one in heard)


@pytest.mark.parametrize(
    "sentence",
    [
        "static scene, only camera motion, no object is moving",
        "the cat is looking at the camera, it is a warm evening",
        "a black cat and a white dog go down to the old harbour",
        "a woman starts to dance with a light in the dark, leaves are falling, he falls by the heavy door",
        "a foggy landscape",
    ],
)
def test_words_that_effects_are_told_with_say_none_by_themselves(sentence: str) -> None:
    assert PromptFilterConfig(phrases_of_effects()).numbers_in(sentence) == []
