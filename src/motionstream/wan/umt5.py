"""UMT5-XXL, the text encoder of Wan, through Transformers, from a folder on this machine.

The folder has Diffusers' layout: `text_encoder/` (config.json, safetensors) and `tokenizer/` (tokenizer.json). Nothing
is downloaded and nothing unpickled.

The tokenizer is what tokenizer.json says, read by the tokenizers library itself: Transformers from version 5 on builds
T5's tokenizer anew from the vocabulary, which need not be the published one.

Legend: B prompts, L tokens of the longest, D = text_dim channels (4096).
"""

from __future__ import annotations

import hashlib
import html
import json
import re
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from motionstream.conditioning.prompt import EncodedPrompts
from motionstream.wan.resident import Keep, Resident

TEXT_ENCODER, TOKENIZER = "text_encoder", "tokenizer"
MAX_TOKENS = 512
"""Tokens that Wan's models were trained with: longer prompts are cut there, shorter ones padded with zeros."""
SAMPLES, SAMPLE_BYTES = 64, 4096
_SPACES = re.compile(r"\s+")


def clean(prompt: str) -> str:
    """What Wan does to a prompt: HTML entities resolved twice, runs of white space made one space.

    Wan's own code first repairs broken encodings with ftfy where that is installed; we never do, so that a prompt means
    the same on every machine. Prompts that it would change: mis-decoded text, curly quotes.
    """
    return _SPACES.sub(" ", html.unescape(html.unescape(prompt))).strip()


class UMT5Encoder:
    """Prompts → the last hidden state of UMT5's encoder: a `PromptEncoder`.

    folder: has text_encoder/ and tokenizer/. device, dtype: it computes there, in that. keep: where the weights
    (10.6 GiB in bfloat16) live between prompts. max_tokens: where a prompt is cut. identity: what to call these
    weights; with it the folder need not be there until a prompt must be encoded (see prompt_cache.py).

    Nothing is read before the first use, which raises FileNotFoundError or ValueError saying what is missing.
    """

    def __init__(
        self,
        folder: Path | str,
        *,
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.bfloat16,
        keep: Keep = "device",
        max_tokens: int = MAX_TOKENS,
        identity: str | None = None,
    ) -> None:
        if max_tokens < 1:
            raise ValueError(f"max_tokens {max_tokens}: a prompt has at least one token")
        self.folder, self.dtype, self.max_tokens = Path(folder), dtype, max_tokens
        self.resident: Resident[nn.Module] = Resident(self._load, device, keep)
        self._tokenizer: Any = None
        self._identity = identity
        self._text_dim: int | None = None

    @property
    def text_dim(self) -> int:
        """Channels of a token."""
        if self._text_dim is None:
            self._text_dim = int(_config(self.folder)["d_model"])
        return self._text_dim

    @property
    def identity(self) -> str:
        """Names weights, tokenizer and dtype: other ones have another name."""
        if self._identity is None:
            self._identity = identity_of(self.folder, self.dtype)
        return self._identity

    def encode(self, prompts: list[str]) -> EncodedPrompts:
        """The real tokens of each prompt, end-of-text included, on the CPU.

        An empty prompt is the end of text alone. Prompts that are encoded together are padded to the longest of them
        and masked, which changes nothing but rounding.
        """
        if not prompts:
            raise ValueError("no prompt to encode: send at least one, which may be empty")
        numbers = self.tokenize(prompts)
        lengths = [len(row) for row in numbers]
        ids_BL = torch.zeros(len(numbers), max(lengths), dtype=torch.long)
        mask_BL = torch.zeros_like(ids_BL)
        for index, row in enumerate(numbers):
            ids_BL[index, : len(row)] = torch.tensor(row)
            mask_BL[index, : len(row)] = 1
        with self.resident.ready() as network:
            device = self.resident.device
            output: Tensor = network(input_ids=ids_BL.to(device), attention_mask=mask_BL.to(device)).last_hidden_state
            hidden_BLD = output.cpu()
        return EncodedPrompts.of([row[:length] for row, length in zip(hidden_BLD, lengths, strict=True)])

    def tokenize(self, prompts: list[str]) -> list[list[int]]:
        """Numbers of the tokens of each prompt, cleaned and cut."""
        if self._tokenizer is None:
            self._tokenizer = _tokenizer(self.folder, self.max_tokens)
        encoded = self._tokenizer.encode_batch([clean(prompt) for prompt in prompts])
        return [[int(number) for number in row.ids] for row in encoded]

    def _load(self) -> nn.Module:
        from transformers import UMT5EncoderModel

        _weight_files(self.folder)
        folder = str(self.folder / TEXT_ENCODER)
        network: nn.Module = UMT5EncoderModel.from_pretrained(
            folder, dtype=self.dtype, local_files_only=True, use_safetensors=True
        )
        return network.to(self.dtype)


def identity_of(folder: Path, dtype: torch.dtype) -> str:
    """A SHA-256 that tells one text encoder from another, made in milliseconds.

    It covers the tokenizer, the configuration, the dtype, and of each file of weights its name, size, header, and
    samples spread over its data. Raises FileNotFoundError naming what is missing.
    """
    digest = hashlib.sha256(str(dtype).encode())
    for file in (_required(folder / TEXT_ENCODER / "config.json"), _required(folder / TOKENIZER / "tokenizer.json")):
        digest.update(hashlib.sha256(file.read_bytes()).digest())
    for file in _weight_files(folder):
        size = file.stat().st_size
        digest.update(f"{file.name} {size}".encode())
        with file.open("rb") as opened:
            header = opened.read(8)
            digest.update(header + opened.read(min(int.from_bytes(header, "little"), size)))
            for place in range(SAMPLES):
                opened.seek(max(0, size - SAMPLE_BYTES) * place // (SAMPLES - 1))
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


def _config(folder: Path) -> dict[str, Any]:
    file = _required(folder / TEXT_ENCODER / "config.json")
    try:
        config = json.loads(file.read_text(encoding="utf-8"))
    except ValueError:
        raise ValueError(f"{file}: not JSON; download it again") from None
    if not isinstance(config, dict) or config.get("model_type") != "umt5":
        raise ValueError(f"{file}: not the configuration of a UMT5; name a folder with Wan's text_encoder/")
    return config


def _weight_files(folder: Path) -> list[Path]:
    files = sorted((folder / TEXT_ENCODER).glob("*.safetensors"))
    if not files:
        raise FileNotFoundError(
            f"no safetensors in {folder / TEXT_ENCODER}: name a folder of Wan in Diffusers' layout, "
            f"with {TEXT_ENCODER}/ and {TOKENIZER}/"
        )
    return files


def _required(file: Path) -> Path:
    if not file.is_file():
        raise FileNotFoundError(
            f"no {file}: name a folder of Wan in Diffusers' layout, with {TEXT_ENCODER}/ and {TOKENIZER}/"
        )
    return file
