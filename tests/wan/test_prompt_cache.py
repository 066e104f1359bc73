"""Prompts on disk: read without the encoder, encoded again when damaged, and no more than the limit."""

from __future__ import annotations

import logging
import os
import sys
import threading
import time
from pathlib import Path

import pytest
import torch

from motionstream.conditioning.prompt import EncodedPrompts
from motionstream.wan.prompt_cache import (
    STALE_SECONDS,
    CachedEncoder,
    PromptCache,
    default_folder,
    key_of,
)
from motionstream.wan.umt5 import UMT5Encoder


class Fake:
    """Encodes a prompt as its letters' numbers, in bfloat16, and records the prompts it was given."""

    def __init__(self, identity: str = "weights", max_tokens: int = 8) -> None:
        self.identity, self.max_tokens = identity, max_tokens
        self.encoded_prompts: list[list[str]] = []

    def encode(self, prompts: list[str]) -> EncodedPrompts:
        self.encoded_prompts.append(prompts)
        return EncodedPrompts.of([tokens_of(prompt) for prompt in prompts])


class Absent(Fake):
    """An encoder whose weights are gone."""

    def encode(self, prompts: list[str]) -> EncodedPrompts:
        raise AssertionError(f"encode() of {prompts}")


def tokens_of(prompt: str) -> torch.Tensor:
    return torch.tensor([[ord(c), 1 / (1 + ord(c))] for c in f"{prompt}."[:8]], dtype=torch.bfloat16)


def cached(folder: Path, encoder: Fake, limit: int = 1 << 20) -> CachedEncoder:
    return CachedEncoder(encoder, PromptCache(folder, limit), encoder.identity, encoder.max_tokens)


def files(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.safetensors"))


def only_file(folder: Path) -> Path:
    (file,) = files(folder)
    return file


def test_a_prompt_met_before_needs_no_encoder(tmp_path: Path) -> None:
    first = cached(tmp_path, Fake()).encode(["boat", ""])
    again = cached(tmp_path, Absent()).encode(["", "boat"])
    assert again.lengths == (1, 5)
    assert again.tokens.dtype == torch.bfloat16
    assert torch.equal(again.row(0), first.row(1))
    assert torch.equal(again.row(1), tokens_of("boat"))


def test_it_needs_neither_transformers_nor_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gone = CachedEncoder(UMT5Encoder(tmp_path / "gone"), PromptCache(tmp_path), "weights", 8)
    cached(tmp_path, Fake()).encode(["boat"])
    for name in ("transformers", "tokenizers"):
        monkeypatch.setitem(sys.modules, name, None)
    assert torch.equal(gone.encode(["boat"]).tokens[0], tokens_of("boat"))
    with pytest.raises(ModuleNotFoundError, match="transformers"):
        gone.encode(["ship"])


def test_only_uncached_prompts_are_encoded_once_and_in_one_batch(tmp_path: Path) -> None:
    encoder = Fake()
    encode = cached(tmp_path, encoder)
    encode.encode(["boat"])
    encoded = encode.encode(["ship", "boat", "car", "ship"])
    assert encoder.encoded_prompts == [["boat"], ["ship", "car"]]
    assert [encoded.row(index)[0, 0] for index in range(4)] == [ord("s"), ord("b"), ord("c"), ord("s")]


@pytest.mark.parametrize("other", [Fake("other weights"), Fake(max_tokens=4)])
def test_another_encoder_has_its_own(tmp_path: Path, other: Fake) -> None:
    cached(tmp_path, Fake()).encode(["boat"])
    cached(tmp_path, other).encode(["boat"])
    assert other.encoded_prompts == [["boat"]]
    assert len(files(tmp_path)) == 2


def test_names_cannot_be_confused() -> None:
    assert key_of("a", 1, "2b") != key_of("a", 12, "b")
    assert key_of("a", 1, "x") == key_of("a", 1, "x")


def test_the_prompt_is_not_in_its_file(tmp_path: Path) -> None:
    cached(tmp_path, Fake()).encode(["a secret plan"])
    assert b"secret" not in only_file(tmp_path).read_bytes()


@pytest.mark.parametrize("harm", ["cut", "flipped", "emptied", "nonsense", "another"])
def test_a_damaged_file_is_encoded_again_with_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, harm: str
) -> None:
    cached(tmp_path, Fake()).encode(["boat"])
    file = only_file(tmp_path)
    data = file.read_bytes()
    flipped = data[:-3] + bytes([data[-3] ^ 1]) + data[-2:]
    other = data.replace(b"tokens", b"tokenz")
    file.write_bytes(
        {"cut": data[:-4], "flipped": flipped, "emptied": b"", "nonsense": b"x" * 99, "another": other}[harm]
    )
    encoder = Fake()
    with caplog.at_level(logging.WARNING):
        assert torch.equal(cached(tmp_path, encoder).encode(["boat"]).tokens[0], tokens_of("boat"))
    assert encoder.encoded_prompts == [["boat"]]
    assert "damaged" in caplog.text
    assert file.name in caplog.text
    assert file.read_bytes() == data
    cached(tmp_path, Absent()).encode(["boat"])


def test_the_unused_ones_go_first(tmp_path: Path) -> None:
    encode = cached(tmp_path, Fake())
    encode.encode(["one"])
    size = only_file(tmp_path).stat().st_size
    encode.encode(["two", "six"])
    for age, prompt in ((300, "one"), (200, "two"), (100, "six")):
        file = tmp_path / f"{key_of('weights', 8, prompt)}.safetensors"
        os.utime(file, (time.time() - age, time.time() - age))
    encode.encode(["one"])  # used again: now the youngest
    small = cached(tmp_path, Fake(), limit=3 * size)
    small.encode(["ten"])
    assert len(files(tmp_path)) == 3
    cached(tmp_path, Absent()).encode(["one", "six", "ten"])
    with pytest.raises(AssertionError, match="two"):
        cached(tmp_path, Absent()).encode(["two"])


def test_what_is_larger_than_the_limit_is_not_kept(tmp_path: Path) -> None:
    encoded = cached(tmp_path, Fake(), limit=10).encode(["boat"])
    assert torch.equal(encoded.tokens[0], tokens_of("boat"))
    assert files(tmp_path) == []


def test_what_a_dead_process_left_is_removed(tmp_path: Path) -> None:
    dead, alive = tmp_path / ".dead", tmp_path / ".alive"
    for file in (dead, alive):
        file.write_bytes(b"half")
    long_ago = time.time() - STALE_SECONDS - 1
    os.utime(dead, (long_ago, long_ago))
    cached(tmp_path, Fake()).encode(["boat"])
    assert alive.exists()
    assert not dead.exists()


def test_many_writers_leave_whole_files_only(tmp_path: Path) -> None:
    """Threads stand for processes: nothing is shared but the folder. The limit makes them remove each other's files."""
    cached(tmp_path / "one", Fake()).encode(["p0"])
    size = only_file(tmp_path / "one").stat().st_size
    wrong: list[str] = []

    def work(seed: int) -> None:
        encode = cached(tmp_path / "many", Fake(), limit=3 * size)
        for turn in range(20):
            prompt = f"p{(turn * seed) % 7}"
            if not torch.equal(encode.encode([prompt]).tokens[0], tokens_of(prompt)):
                wrong.append(prompt)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in (1, 2, 3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
    left = list((tmp_path / "many").iterdir())
    assert left
    assert all(file.suffix == ".safetensors" for file in left)
    cache = PromptCache(tmp_path / "many")
    assert all(cache.find(file.stem) is not None for file in left)


def test_a_folder_that_cannot_be_written_is_a_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("in the way")
    with caplog.at_level(logging.WARNING):
        encoded = cached(blocked, Fake()).encode(["boat"])
    assert torch.equal(encoded.tokens[0], tokens_of("boat"))
    assert "cannot write to" in caplog.text


def test_no_prompt_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no prompt"):
        cached(tmp_path, Fake()).encode([])


def test_the_default_folder_follows_the_user(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert default_folder() == tmp_path / "motionstream" / "prompts"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert default_folder() == tmp_path / ".cache" / "motionstream" / "prompts"
