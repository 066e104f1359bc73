"""Look answers phrases it has learned, and no others; a frame depends on the phrases' age alone."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from motionstream.tiny.particles import KINDS, Particles
from motionstream.tiny.prompt_filter import CURVE, PARTICLE, PromptFilter, PromptFilterConfig, shown

SIZE = (48, 36)
CONFIG = PromptFilterConfig(("dusk", "boat", "and"))
DUSK, BOAT = torch.tensor([[1, 3, 0]]), torch.tensor([[2, 3, 0]])


def frames(count: int = 12, clips: int = 1) -> Tensor:
    return torch.rand(clips, count, 3, SIZE[1], SIZE[0], generator=torch.Generator().manual_seed(1)) * 2 - 1


def ages(count: int = 12, begin: int = 0) -> Tensor:
    return torch.arange(begin, begin + count)[None]


def over(prompt_filter: PromptFilter, video: Tensor, words: Tensor, begin: int = 0) -> Tensor:
    """Frames numbered from `begin`, of a stream with seed 0 whose prompt has been in force from its start."""
    count = video.shape[1]
    age, specks = ages(count, begin).expand(len(video), -1), Particles.of(0, SIZE).at(range(begin, begin + count))
    shown: Tensor = prompt_filter(video, words, age, specks.expand(len(video), *specks.shape))
    return shown


@pytest.fixture
def prompt_filter() -> PromptFilter:
    """One that has learned "dusk" alone."""
    torch.manual_seed(0)
    made = PromptFilter(CONFIG)
    with torch.no_grad():
        made.amounts.weight[1].normal_(std=0.05)
    return made.requires_grad_(False)


def test_untrained_it_changes_nothing() -> None:
    shown = over(PromptFilter(CONFIG), frames(), DUSK)
    torch.testing.assert_close(shown, frames(), atol=1e-6, rtol=0)


def test_phrases_it_has_not_learned_change_nothing(prompt_filter: PromptFilter) -> None:
    torch.testing.assert_close(over(prompt_filter, frames(), BOAT), frames(), atol=1e-6, rtol=0)


def test_a_phrase_comes_into_force_over_the_first_second_and_then_stays(prompt_filter: PromptFilter) -> None:
    asked = torch.cat(prompt_filter.parameters_of(DUSK, ages(48)), -1)[0]
    change = asked.diff(dim=0).abs().sum(1)
    assert asked[0].abs().sum() < 0.5 * asked[24].abs().sum()
    assert not change[24:].any()


@pytest.mark.parametrize("cut", [1, 5, 8])
def test_parts_are_the_whole(prompt_filter: PromptFilter, cut: int) -> None:
    video = frames()
    whole = over(prompt_filter, video, DUSK)
    assert (whole - video).abs().mean() > 0.01
    parts = [over(prompt_filter, video[:, :cut], DUSK), over(prompt_filter, video[:, cut:], DUSK, cut)]
    torch.testing.assert_close(torch.cat(parts, 1), whole, atol=1e-6, rtol=0)


def test_phrases_said_together_add_up(prompt_filter: PromptFilter) -> None:
    with torch.no_grad():
        prompt_filter.amounts.weight[2].normal_(std=0.05)
    alone = [prompt_filter.parameters_of(torch.tensor([[phrase]]), ages()) for phrase in (1, 2)]
    both = prompt_filter.parameters_of(torch.tensor([[1, 2]]), ages())
    for part, (one, other) in zip(both, zip(*alone, strict=True), strict=True):
        torch.testing.assert_close(part, one + other)


def test_clips_of_a_batch_are_looked_at_alone(prompt_filter: PromptFilter) -> None:
    video, words = frames(clips=2), torch.cat([DUSK, BOAT])
    both = over(prompt_filter, video, words)
    for clip in range(2):
        alone = over(prompt_filter, video[clip : clip + 1], words[clip : clip + 1])
        torch.testing.assert_close(both[clip : clip + 1], alone, atol=1e-6, rtol=0)


def test_it_learns_what_a_phrase_does_to_colour_and_leaves_others_alone() -> None:
    made = PromptFilter(CONFIG)
    optimizer = torch.optim.Adam(made.parameters(), 2e-3)
    video = frames()
    light = (video + 1) / 2
    darker = 2 * light * torch.tensor([0.3, 0.4, 0.7])[:, None, None] - 1
    late, specks = slice(8, 12), torch.zeros(1, 12, KINDS + 1, SIZE[1], SIZE[0])
    for _ in range(150):
        shown = [made(video, words, ages() + 30, specks) for words in (DUSK, BOAT)]
        loss = (shown[0] - darker).square().mean() + (shown[1] - video).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    before = (darker - video)[:, late].square().mean()
    assert (shown[0] - darker)[:, late].square().mean() < 0.05 * before
    assert (shown[1] - video).square().mean() < 0.05 * before


def test_an_effect_is_thicker_where_the_veil_is() -> None:
    prompt_filter, video = PromptFilter(CONFIG), frames()
    whitens, uneven = torch.zeros(2, 1, 12, sum(CURVE)), torch.zeros(1, 12, sum(PARTICLE))
    whitens[1, ..., 12:15] = 0.2  # the shift
    uneven[..., -1] = 2.0
    specks = Particles.of(0, SIZE).at(range(12))[None]
    even, thicker = (shown(video * 0.5, curve, uneven, specks) for curve in whitens)
    torch.testing.assert_close(even, video * 0.5)
    torch.testing.assert_close(thicker - even, (0.2 * (1 + 2 * specks[:, :, -1:])).expand_as(video), atol=1e-5, rtol=0)
    assert prompt_filter.parameters_of(DUSK, ages())[1][..., -1].min() > 0, "all phrases agree on what is thick"


def test_phrases_are_found_by_their_words_alone() -> None:
    config = PromptFilterConfig(("fog", "white", "black and white", "heavy rain"))
    assert config.numbers_in("A horse, BLACK-and-white!") == [2, 3]
    assert config.numbers_in("fog, thick fog") == [1], "each counts once"
    assert config.numbers_in("a white and black horse in foggy weather") == [2]
    assert config.numbers_in("Heavy, rain") == [4]
    assert config.numbers_in("") == []
