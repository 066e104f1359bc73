"""Phrases in a prompt: words in a row, such as "black and white"."""

from __future__ import annotations

from collections.abc import Sequence

from motionstream.conditioning.text_encoder import words_of

LONGEST_RUN = 4
"""Words in a row that are a phrase at most."""


def phrase_numbers(prompt: str, phrases: Sequence[str]) -> list[int]:
    """Which of the phrases, numbered from 1, a prompt contains, each once and in their order.

    Capitals and punctuation do not count: "A horse, black-and-white" contains "black and white".
    """
    contained = {phrase for run in range(1, LONGEST_RUN + 1) for phrase in runs(prompt, run)}
    return [number for number, phrase in enumerate(phrases, 1) if phrase in contained]


def runs(text: str, length: int) -> list[str]:
    """All runs of `length` words, in order."""
    words = words_of(text)
    return [" ".join(words[begin : begin + length]) for begin in range(len(words) - length + 1)]
