"""UMT5 from a local folder: Transformers' own answers for the real tokens, zeros after them, and memory given back."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest
import torch

from motionstream.wan.umt5 import TEXT_ENCODER, TOKENIZER, UMT5Encoder, clean, identity_of

pytest.importorskip("transformers")

WORDS = ["<pad>", "</s>", "<unk>", "a", "boat", "sails", "in", "the", "rain", "&", "it", "snows"]
LIMIT = 12
PROMPTS = ["a boat sails in the rain", "", "it snows"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random UMT5 and a tokenizer of a few words, in Diffusers' layout."""
    root = tmp_path_factory.mktemp("wan")
    save_tokenizer(root / TOKENIZER)
    save_encoder(root / TEXT_ENCODER, seed=0)
    return root


def save_tokenizer(folder: Path) -> None:
    from tokenizers import Tokenizer, models, pre_tokenizers, processors

    tokenizer = Tokenizer(models.WordLevel({word: number for number, word in enumerate(WORDS)}, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    folder.mkdir(parents=True)
    tokenizer.save(str(folder / "tokenizer.json"))


def save_encoder(folder: Path, seed: int) -> None:
    from transformers import UMT5Config, UMT5EncoderModel

    torch.manual_seed(seed)
    sizes = {"d_model": 32, "d_kv": 8, "d_ff": 64, "num_layers": 2, "num_heads": 4, "vocab_size": len(WORDS)}
    UMT5EncoderModel(UMT5Config(feed_forward_proj="gated-gelu", **sizes)).save_pretrained(folder)


def encoder(folder: Path, **options: Any) -> UMT5Encoder:
    made = UMT5Encoder(folder, **{"dtype": torch.float32, **options})
    made.max_tokens = LIMIT
    return made


def by_transformers(folder: Path, prompts: list[str]) -> torch.Tensor:
    """(B, LIMIT, 32) as Wan's pipelines make it: padded and masked to the limit, then zeros after the real tokens."""
    from transformers import PreTrainedTokenizerFast, UMT5EncoderModel

    tokenizer = PreTrainedTokenizerFast(tokenizer_file=str(folder / TOKENIZER / "tokenizer.json"), pad_token="<pad>")
    given = tokenizer(prompts, padding="max_length", max_length=LIMIT, truncation=True, return_tensors="pt")
    network = UMT5EncoderModel.from_pretrained(folder / TEXT_ENCODER, dtype=torch.float32).eval()
    with torch.no_grad():
        hidden = network(given.input_ids, given.attention_mask).last_hidden_state
    return hidden * given.attention_mask[..., None]


def test_it_equals_transformers_padded_with_zeros(folder: Path) -> None:
    encoded = encoder(folder).encode(PROMPTS)
    assert encoded.lengths == (7, 1, 3)  # the words and the end of text
    assert encoded.tokens.shape == (3, 7, 32)
    expected = by_transformers(folder, PROMPTS)
    assert expected.abs().max() > 0.1
    torch.testing.assert_close(encoded.padded(LIMIT), expected, atol=1e-5, rtol=1e-5)
    assert not encoded.padded(LIMIT)[2, 3:].any()


def test_a_prompt_alone_is_as_in_company(folder: Path) -> None:
    encode = encoder(folder)
    together = encode.encode(PROMPTS)
    for index, prompt in enumerate(PROMPTS):
        torch.testing.assert_close(encode.encode([prompt]).tokens[0], together.row(index), atol=1e-5, rtol=1e-5)


def test_a_long_prompt_is_cut_and_keeps_its_end(folder: Path) -> None:
    long = "boat " * 30
    encode = encoder(folder)
    assert encode.tokenize([long]) == [[WORDS.index("boat")] * (LIMIT - 1) + [WORDS.index("</s>")]]
    torch.testing.assert_close(
        encode.encode([long]).padded(LIMIT), by_transformers(folder, [long]), atol=1e-5, rtol=1e-5
    )


def test_more_tokens_than_the_model_reads_are_cut(folder: Path) -> None:
    encoded = encoder(folder).encode(PROMPTS)
    assert torch.equal(encoded.padded(2), encoded.tokens[:, :2])


@pytest.mark.parametrize(
    ("prompt", "means"),
    [
        ("  a\n\tboat  ", "a boat"),
        ("rain &amp; snow", "rain & snow"),
        ("rain &amp;amp; snow", "rain & snow"),
        ("&lt;b&gt;boat", "<b>boat"),
        ("&nbsp;a\u3000boat", "a boat"),
        ("", ""),
    ],
)
def test_prompts_are_cleaned_as_wan_does(prompt: str, means: str) -> None:
    assert clean(prompt) == means


def test_cleaning_reaches_the_tokens(folder: Path) -> None:
    encode = encoder(folder)
    assert encode.tokenize(["rain  &amp;\nsnows"]) == encode.tokenize(["rain & snows"])
    assert WORDS.index("&") in encode.tokenize(["rain &amp; snows"])[0]


def test_dtype_is_the_one_given(folder: Path) -> None:
    encoded = encoder(folder, dtype=torch.bfloat16).encode(["a boat"])
    assert encoded.tokens.dtype == torch.bfloat16
    exact = encoder(folder).encode(["a boat"]).tokens
    torch.testing.assert_close(encoded.tokens.float(), exact, atol=0.1, rtol=0.1)


def test_its_answers_can_be_trained_on(folder: Path) -> None:
    """Also those made within inference mode, as a stream does."""
    encode = encoder(folder)
    with torch.inference_mode():
        encode.encode(["a boat"])
    weight = torch.ones(32, requires_grad=True)
    (encode.encode(["a boat"]).tokens * weight).sum().backward()
    assert weight.grad is not None
    assert weight.grad.any()


def test_threads_take_turns(folder: Path) -> None:
    encode = encoder(folder, offload=True)
    expected = encoder(folder).encode(["it snows"]).tokens
    encoded: list[torch.Tensor] = []
    threads = [threading.Thread(target=lambda: encoded.append(encode.encode(["it snows"]).tokens)) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(encoded) == 3
    assert all(torch.equal(tokens, expected) for tokens in encoded)


def test_identity_tells_weights_tokenizer_and_dtype_apart(folder: Path, tmp_path: Path) -> None:
    save_encoder(tmp_path / "same" / TEXT_ENCODER, seed=0)
    save_tokenizer(tmp_path / "same" / TOKENIZER)
    save_encoder(tmp_path / "other" / TEXT_ENCODER, seed=1)
    save_tokenizer(tmp_path / "other" / TOKENIZER)
    mine = identity_of(folder, torch.float32)
    assert identity_of(tmp_path / "same", torch.float32) == mine
    assert identity_of(tmp_path / "other", torch.float32) != mine
    assert identity_of(folder, torch.bfloat16) != mine
    words = tmp_path / "same" / TOKENIZER / "tokenizer.json"
    words.write_text(words.read_text().replace("boat", "ship"))
    assert identity_of(tmp_path / "same", torch.float32) != mine


def test_what_is_missing_is_named(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"config\.json.*Diffusers' layout"):
        identity_of(tmp_path, torch.float32)
    with pytest.raises(FileNotFoundError, match=r"tokenizer\.json"):
        encoder(tmp_path).encode(["a boat"])
    save_tokenizer(tmp_path / TOKENIZER)
    with pytest.raises(FileNotFoundError, match=r"no config\.json and safetensors in .*text_encoder"):
        encoder(tmp_path).encode(["a boat"])


def test_what_is_wrong_is_named(folder: Path, tmp_path: Path) -> None:
    (tmp_path / TOKENIZER).mkdir()
    (tmp_path / TOKENIZER / "tokenizer.json").write_text("{")
    with pytest.raises(ValueError, match=r"tokenizer\.json: not a tokenizer"):
        encoder(tmp_path).encode(["a boat"])
    with pytest.raises(ValueError, match="no prompt"):
        encoder(folder).encode([])
