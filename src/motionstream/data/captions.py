"""Prompts for synthetic clips: the things in it, the place, and the effect."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np

from motionstream.conditioning.text_encoder import words_of
from motionstream.data.effects import BY_NAME, NONE

LONGEST_NAME = 60  # characters; a longer description is cut at its first sentence or dropped


def caption(rng: np.random.Generator, things: Sequence[str], place: str, effect: str) -> str:
    """Say what a clip shows: names of `things` and `place` as their assets call them, then the effect."""
    names = list(dict.fromkeys(name for name in map(plain_name, things) if name))
    where = plain_name(place)
    return with_effect(_scene(rng, _listed(names), where), effect, rng)


def with_effect(scene: str, effect: str, rng: np.random.Generator) -> str:
    """A scene's caption with the effect named in it, in one of its phrases."""
    if effect == NONE:
        return scene
    phrases = BY_NAME[effect].phrases
    return joined(scene, phrases[int(rng.integers(len(phrases)))])


def joined(scene: str, phrase: str) -> str:
    """A scene's caption with one phrase more."""
    return f"{scene}, {phrase}" if scene else phrase


def ways_to_say(effect: str) -> tuple[str, ...]:
    """Phrases that captions use for an effect, and other words for it."""
    return BY_NAME[effect].phrases + BY_NAME[effect].synonyms


def phrases_of_effects() -> tuple[str, ...]:
    """What tells of an effect: every way to say one, as a whole.

    Not the words that it is made of: a scene, too, may hold something black and something white, and "is" and "the" are
    in any sentence.
    """
    said = [way for effect in BY_NAME for way in ways_to_say(effect)]
    return tuple(dict.fromkeys(" ".join(words_of(way)) for way in said))


def plain_name(text: str) -> str:
    """A short name out of an asset's caption: no brackets, one sentence; "" if it holds a number or no word."""
    name = re.split(r"[.!?](?:\s|$)", re.sub(r"\([^)]*\)", "", text))[0]
    name = " ".join(name.split())
    if not re.search(r"[a-zA-Z]{2}", name) or re.search(r"\d", name) or len(name) > LONGEST_NAME:
        return ""
    return re.sub(r"^a (?=[aeio]|u(?!k|ni))", "an ", name[0].lower() + name[1:])


def _scene(rng: np.random.Generator, things: str, where: str) -> str:
    if not things or not where:
        return things or where
    joint = ("in front of", "and", "before", "over")[int(rng.integers(4))]
    return things if rng.random() < 0.15 else f"{things} {joint} {where}"


def _listed(names: Sequence[str]) -> str:
    if len(names) < 2:
        return "".join(names)
    return f"{', '.join(names[:-1])} and {names[-1]}"
