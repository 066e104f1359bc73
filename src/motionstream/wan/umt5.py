"""UMT5-XXL, the text encoder of Wan, through Transformers, from a local folder.

The folder has Diffusers' layout: `text_encoder/` (config.json, safetensors) and `tokenizer/` (tokenizer.json).

tokenizer.json is read by the tokenizers library itself: from version 5 on Transformers builds T5's tokenizer anew from
the vocabulary, which need not give the published one.

Legend: B prompts, L tokens of the longest, D channels of a token (4096).
"""

from __future__ import annotations

import hashlib
import html
import re
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from motionstream.conditioning.prompt import EncodedPrompts
from motionstream.wan.lazy_encoder import LazyEncoder

TEXT_ENCODER, TOKENIZER = "text_encoder", "tokenizer"
MAX_TOKENS = 512
"""Tokens that Wan's models were trained with: longer prompts are cut there, shorter ones padded with zeros."""
SAMPLES, SAMPLE_BYTES = 64, 4096
"""Of each file of weights, what `identity_of` reads."""
_WHITE_SPACE = re.compile(r"\s+")


def clean(prompt: str) -> str:
    """Wan's cleaning of prompts: HTML entities resolved twice, runs of white space made one space.

    Wan's own code first repairs broken encodings with ftfy where that is installed; we never do, so that a prompt means
    the same on every machine. Prompts that it would change: mis-decoded text, curly quotes.
    """
    return _WHITE_SPACE.sub(" ", html.unescape(html.unescape(prompt))).strip()


class UMT5Encoder(LazyEncoder):
    """Prompts → the last hidden state of UMT5's encoder: a `PromptEncoder`. The weights take 10.6 GiB in bfloat16.

    See `LazyEncoder` for the arguments.
    """

    transformers_class, subfolder = "UMT5EncoderModel", TEXT_ENCODER
    max_tokens = MAX_TOKENS

    def encode(self, prompts: list[str]) -> EncodedPrompts:
        """The real tokens of each prompt, end-of-text included, on the CPU. An empty prompt is the end of text alone.

        Raises ValueError without prompts, and FileNotFoundError or ValueError that say what is missing in the folder.
        """
        if not prompts:
            raise ValueError("no prompt to encode: send at least one, which may be empty")
        rows = [torch.tensor(row) for row in self.tokenize(prompts)]
        ids_BL = nn.utils.rnn.pad_sequence(rows, batch_first=True)
        mask_BL = nn.utils.rnn.pad_sequence([torch.ones_like(row) for row in rows], batch_first=True)
        with self.network() as network:
            output = network(input_ids=ids_BL.to(self.device), attention_mask=mask_BL.to(self.device))
            hidden_BLD: Tensor = output.last_hidden_state.cpu()
        return EncodedPrompts.of([hidden[: len(row)] for hidden, row in zip(hidden_BLD, rows, strict=True)])

    def tokenize(self, prompts: list[str]) -> list[list[int]]:
        """Token ids of each prompt, cleaned and cut."""
        encoded = self._tokenizer.encode_batch([clean(prompt) for prompt in prompts])
        return [list(row.ids) for row in encoded]

    @cached_property
    def _tokenizer(self) -> Any:
        return _tokenizer(self.folder, self.max_tokens)


def identity_of(folder: Path, dtype: torch.dtype) -> str:
    """A SHA-256 that tells one text encoder from another, made in milliseconds.

    It covers the tokenizer, the configuration, the dtype, and of each file of weights its name, size, header, and
    samples spread over its data. Raises FileNotFoundError naming what is missing.
    """
    digest = hashlib.sha256(str(dtype).encode())
    for file in (_required(folder / TEXT_ENCODER / "config.json"), _required(folder / TOKENIZER / "tokenizer.json")):
        digest.update(hashlib.sha256(file.read_bytes()).digest())
    weight_files = sorted((folder / TEXT_ENCODER).glob("*.safetensors"))
    for file in weight_files or [_required(folder / TEXT_ENCODER / "model.safetensors")]:
        size = file.stat().st_size
        digest.update(f"{file.name} {size}".encode())
        with file.open("rb") as opened:
            header = opened.read(8)
            digest.update(header + opened.read(min(int.from_bytes(header, "little"), size)))
            for sample in range(SAMPLES):
                opened.seek(max(0, size - SAMPLE_BYTES) * sample // (SAMPLES - 1))
                digest.update(opened.read(SAMPLE_BYTES))
    return digest.hexdigest()


def _tokenizer(folder: Path, max_tokens: int) -> Any:
    import transformers  # noqa: F401  # tokenizers comes with it: where both are missing, this is the one to name
    from tokenizers import Tokenizer

    file = _required(folder / TOKENIZER / "tokenizer.json")
    try:
        tokenizer = Tokenizer.from_file(str(file))
    except Exception as error:  # the library raises a bare Exception
        raise ValueError(f"{file}: not a tokenizer that can be read ({error}); download it again") from None
    tokenizer.no_padding()
    tokenizer.enable_truncation(max_tokens)
    return tokenizer


def _required(file: Path) -> Path:
    if not file.is_file():
        raise FileNotFoundError(
            f"no {file}: name a folder of Wan in Diffusers' layout, with {TEXT_ENCODER}/ and {TOKENIZER}/"
        )
    return file
