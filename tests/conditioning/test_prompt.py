"""The small text encoder: words by number, padded, in order."""

from __future__ import annotations

import pytest
import torch

from motionstream.conditioning.text_encoder import PAD, TextEncoder, word_numbers

BUCKETS = 4096


def encoder() -> TextEncoder:
    torch.manual_seed(0)
    return TextEncoder(16, 6).eval()


def test_words_are_numbered_the_same_for_ever() -> None:
    """These numbers are in the trained weights: they may never change."""
    assert word_numbers("a red kite", 5, BUCKETS) == [2728, 1696, 1657, PAD, PAD]


def test_case_and_punctuation_do_not_count_and_other_scripts_do() -> None:
    assert word_numbers("Snow, snow; SNOW!", 3, BUCKETS) == [word_numbers("snow", 1, BUCKETS)[0]] * 3
    assert PAD not in word_numbers("снег 雪 neige", 3, BUCKETS)


@pytest.mark.parametrize("prompt", ["", "   ", "… — !", "_"])
def test_a_prompt_without_words_is_the_null_prompt(prompt: str) -> None:
    assert word_numbers(prompt, 4, BUCKETS) == [PAD] * 4
    assert torch.equal(encoder()([prompt]), encoder()([""]))


def test_what_exceeds_the_length_is_cut() -> None:
    long = " ".join(f"word{n}" for n in range(50))
    assert len(word_numbers(long, 6, BUCKETS)) == 6
    assert torch.equal(encoder()([long]), encoder()([long + " more"]))


def test_a_word_never_met_is_a_word_like_any_other() -> None:
    unknown = [word_numbers(word, 1, BUCKETS)[0] for word in ("xyzzy", "plugh", "qwertz")]
    assert len(set(unknown)) == 3
    assert all(0 < number < BUCKETS for number in unknown)
    assert not torch.allclose(encoder()(["xyzzy"]), encoder()([""]))


def test_numbers_stay_within_the_buckets() -> None:
    numbers = word_numbers(" ".join(f"w{n}" for n in range(500)), 500, 7)
    assert set(numbers) == set(range(1, 7))


def test_order_matters() -> None:
    encode = encoder()
    a, b = encode(["cat chases dog"]), encode(["dog chases cat"])
    assert not torch.allclose(a, b, atol=1e-3)
    assert not torch.allclose(a.mean(1), b.mean(1), atol=1e-4)


def test_each_prompt_of_a_batch_is_encoded_alone() -> None:
    encode = encoder()
    both = encode(["a boat", "heavy rain over a city"])
    assert both.shape == (2, 6, 16)
    torch.testing.assert_close(both[:1], encode(["a boat"]))
    torch.testing.assert_close(both[1:], encode(["heavy rain over a city"]))


def test_all_of_it_learns() -> None:
    encode = encoder()
    encode(["a boat"]).square().sum().backward()
    assert all(weight.grad is not None and weight.grad.any() for weight in encode.parameters())
