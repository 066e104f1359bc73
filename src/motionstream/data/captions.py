"""Prompts of synthetic clips: the objects, the background and the effect."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np

from motionstream.conditioning.text_encoder import words_of
from motionstream.data.effects import BY_NAME, NONE

LONGEST_NAME = 60  # characters; a longer description is cut at its first sentence or dropped


def caption(rng: np.random.Generator, objects: Sequence[str], place: str, effect: str) -> str:
    """The prompt of a clip: names of `objects` and of the background `place` from their assets, then the effect."""
    names = list(dict.fromkeys(name for name in map(plain_name, objects) if name))
    where = plain_name(place)
    return with_effect(_scene(rng, _listed(names), where), effect, rng)


def with_effect(scene: str, effect: str, rng: np.random.Generator) -> str:
    """A caption with one of the effect's phrases."""
    if effect == NONE:
        return scene
    phrases = BY_NAME[effect].phrases
    return with_phrase(scene, phrases[int(rng.integers(len(phrases)))])


def with_phrase(scene: str, phrase: str) -> str:
    """A caption with a phrase added."""
    return f"{scene}, {phrase}" if scene else phrase


def wordings(effect: str) -> tuple[str, ...]:
    """The phrases of an effect that captions use, and its synonyms."""
    return BY_NAME[effect].phrases + BY_NAME[effect].synonyms


def phrases_of_effects() -> tuple[str, ...]:
    """Every wording of every effect, by which a prompt is known to ask for it.

    Whole phrases, not their words: a scene may also have something black and something white in it.
    """
    every = [wording for effect in BY_NAME for wording in wordings(effect)]
    return tuple(dict.fromkeys(" ".join(words_of(wording)) for wording in every))


def plain_name(text: str) -> str:
    """A short name from an asset's caption: no brackets, one sentence; "" if it contains a number or no word."""
    name = re.split(r"[.!?](?:\s|$)", re.sub(r"\([^)]*\)", "", text))[0]
    name = " ".join(name.split())
    if not re.search(r"[a-zA-Z]{2}", name) or re.search(r"\d", name) or len(name) > LONGEST_NAME:
        return ""
    return re.sub(r"^a (?=[aeio]|u(?!k|ni))", "an ", name[0].lower() + name[1:])


def _scene(rng: np.random.Generator, objects: str, where: str) -> str:
    if not objects or not where:
        return objects or where
    joint = ("in front of", "and", "before", "over")[int(rng.integers(4))]
    return objects if rng.random() < 0.15 else f"{objects} {joint} {where}"


def _listed(names: Sequence[str]) -> str:
    if len(names) < 2:
        return "".join(names)
    return f"{', '.join(names[:-1])} and {names[-1]}"
