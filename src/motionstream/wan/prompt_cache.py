"""Encoded prompts on disk: a cached prompt needs neither Transformers nor the text encoder's weights.

One safetensors file a prompt, named by the SHA-256 of (the encoder's identity, its token limit, the prompt); the prompt
itself is not in it. Files are written under another name and then renamed, so that several processes can share a
folder. The prompt of a damaged file is encoded again, with a warning. Beyond the size limit the least recently used
files are removed.

Legend: n real tokens of a prompt, D channels.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import time
import uuid
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from motionstream.conditioning.prompt import EncodedPrompts, PromptEncoder

LIMIT_BYTES = 1 << 30
"""About 500 prompts of 512 tokens, thousands of usual ones."""
STALE_SECONDS = 3600.0
"""A file that is still incomplete after so long was left by a process that died."""
TOKENS, DIGEST = "tokens", "sha256"

_log = logging.getLogger(__name__)


def default_folder() -> Path:
    """The user's cache: motionstream/prompts in $XDG_CACHE_HOME, or in ~/.cache."""
    root = os.environ.get("XDG_CACHE_HOME")
    return (Path(root) if root else Path.home() / ".cache") / "motionstream" / "prompts"


def key_of(identity: str, max_tokens: int, prompt: str) -> str:
    """The name of a prompt's file, for an encoder of this identity."""
    return hashlib.sha256(json.dumps([identity, max_tokens, prompt]).encode()).hexdigest()


class PromptCache:
    """A folder of encoded prompts. limit_bytes: of all files together."""

    def __init__(self, folder: Path | str, limit_bytes: int = LIMIT_BYTES) -> None:
        self.folder, self.limit_bytes = Path(folder), limit_bytes

    def find(self, key: str) -> Tensor | None:
        """The tokens (n, D) cached under this key; None if there are none, or only damaged ones."""
        file = self._file(key)
        try:
            tokens = _checked(file.read_bytes())
            os.utime(file)
        except FileNotFoundError:
            return None
        except (OSError, SafetensorError, ValueError, KeyError, TypeError) as error:
            _log.warning("prompt cache: %s is damaged (%s); the prompt is encoded again", file, error)
            return None
        return tokens

    def keep(self, key: str, tokens: Tensor) -> None:
        """Write the tokens (n, D) of a prompt, then enforce the size limit. Where that fails (disk full) it warns."""
        plain = tokens.detach().cpu().contiguous()
        data = save({TOKENS: plain}, metadata={DIGEST: _digest(plain)})
        if len(data) > self.limit_bytes:
            return
        aside = self.folder / f".{key}.{uuid.uuid4().hex}"
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            aside.write_bytes(data)
            aside.replace(self._file(key))
        except OSError as error:
            _log.warning("prompt cache: cannot write to %s (%s)", self.folder, error)
            _remove(aside)
            return
        self._make_room(key)

    def _make_room(self, newest: str) -> None:
        """Remove what a dead process left, then the least recently used files; never the newest."""
        cached: list[tuple[float, int, Path]] = []
        for file in self.folder.iterdir():
            try:
                stat = file.stat()
            except FileNotFoundError:  # removed by another process
                continue
            if file.name.startswith("."):
                if time.time() - stat.st_mtime > STALE_SECONDS:
                    _remove(file)
            elif file.suffix == ".safetensors":
                cached.append((stat.st_mtime, stat.st_size, file))
        total = sum(size for _, size, _ in cached)
        for _, size, file in sorted(cached):
            if total <= self.limit_bytes:
                return
            if file.stem != newest:
                _remove(file)
                total -= size

    def _file(self, key: str) -> Path:
        return self.folder / f"{key}.safetensors"


class CachedEncoder:
    """A `PromptEncoder` that runs another one only for prompts that are not in the cache.

    identity: a name for the encoder's weights. max_tokens: where it cuts a prompt.
    """

    def __init__(self, encoder: PromptEncoder, cache: PromptCache, identity: str, max_tokens: int) -> None:
        self.encoder, self.cache, self.identity, self.max_tokens = encoder, cache, identity, max_tokens

    def encode(self, prompts: list[str]) -> EncodedPrompts:
        """The encoder's outputs: cached ones from disk, the others encoded in one batch, then cached."""
        keys = {prompt: key_of(self.identity, self.max_tokens, prompt) for prompt in prompts}
        rows = {prompt: self.cache.find(key) for prompt, key in keys.items()}
        missing = [prompt for prompt, row in rows.items() if row is None]
        if missing:
            encoded = self.encoder.encode(missing)
            for index, prompt in enumerate(missing):
                rows[prompt] = row = encoded.row(index)
                self.cache.keep(keys[prompt], row)
        return EncodedPrompts.of([found for prompt in prompts if (found := rows[prompt]) is not None])


def _checked(data: bytes) -> Tensor:
    """The tokens in a file's bytes. Raises an error of several types unless they are as they were written."""
    tokens = load(data)[TOKENS]
    header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
    if header["__metadata__"][DIGEST] != _digest(tokens):
        raise ValueError("another digest")
    return tokens


def _digest(tokens: Tensor) -> str:
    """SHA-256 of shape, dtype and bytes."""
    digest = hashlib.sha256(f"{tuple(tokens.shape)} {tokens.dtype}".encode())
    digest.update(tokens.reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def _remove(file: Path) -> None:
    try:
        file.unlink(missing_ok=True)
    except OSError as error:
        _log.warning("prompt cache: %s cannot be removed (%s)", file, error)
