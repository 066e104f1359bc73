"""Training clips encoded once and read in every epoch: latents, tracks and prompts in safetensors files.

A folder of safetensors files of some clips each, and `index.json`, written last, so that a folder with it is whole:

    shard-00000.safetensors    by clip number: 000000.latents, .xy, .visible, .text, and .seen where it is wanted
    null_prompt.safetensors    text: the empty prompt's encoding, which guidance needs
    index.json                 kind of VAE, frame size, frames, and the clips of each file

Legend: F frames, T latents, C channels, h w latent cells, N points, n tokens of a prompt, L tokens of a picture.
"""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from motionstream.geometry import Geometry
from motionstream.stream.video import replacing
from motionstream.tracks import Tracks

FORMAT = 1
INDEX, NULL_PROMPT = "index.json", "null_prompt.safetensors"
OLDER_NULL_PROMPT = "unsaid.safetensors"
"""What folders written before call the same file."""
CLIPS_A_SHARD = 64
"""About 300 MB of clips of 81 frames at 832×480."""


@dataclass(frozen=True)
class EncodedClip:
    """latents (T, C, h, w), normalised; the causal VAE's first one is the first picture's own. tracks: of all F frames,
    with every point, to draw from. text (n, D): the caption's real tokens. seen (L, D'): CLIP tokens of the first
    picture, for networks that read them. caption: for people."""

    latents: Tensor
    tracks: Tracks
    text: Tensor
    seen: Tensor | None = None
    caption: str = ""


@dataclass(frozen=True)
class Prepared:
    """What all clips of a folder have in common. vae: "wan2.1" or "wan2.2". size: (W, H) in pixels. frames: of a clip.
    latent_channels, text_dim, image_dim: channels of latents, prompts and picture tokens (0: there are none)."""

    vae: str
    size: tuple[int, int]
    frames: int
    latent_channels: int
    text_dim: int
    image_dim: int = 0

    @property
    def latents(self) -> int:
        """Of a clip."""
        return Geometry(*self.size, spatial_stride=1, patch=1).latents(self.frames)


class ClipShardWriter:
    """Writes a new folder of clips, a shard at a time; `close`, or the end of a with block, makes it whole.

    null_prompt (n, D): the empty prompt's real tokens.
    """

    def __init__(
        self, folder: Path | str, prepared: Prepared, null_prompt: Tensor, clips_a_shard: int = CLIPS_A_SHARD
    ) -> None:
        self.folder, self.prepared, self.clips_a_shard = Path(folder), prepared, clips_a_shard
        if (self.folder / INDEX).exists():
            raise ValueError(f"{folder} holds prepared clips already: name another folder")
        self.folder.mkdir(parents=True, exist_ok=True)
        self._waiting: list[EncodedClip] = []
        self._shards: list[tuple[str, int]] = []
        self._captions: list[str] = []
        _write({"text": null_prompt.to(torch.bfloat16)}, self.folder / NULL_PROMPT)

    def add(self, clip: EncodedClip) -> None:
        """Raises ValueError for a clip that is not of the folder's sizes."""
        about, tracks = self.prepared, clip.tracks
        wanted = (about.latents, about.latent_channels)
        if tuple(clip.latents.shape[:2]) != wanted or tracks.frames != about.frames:
            raise ValueError(
                f"clip {len(self._captions)}: latents {tuple(clip.latents.shape)}, tracks of {tracks.frames} frames; "
                f"these shards hold {wanted[0]} latents of {wanted[1]} channels and {about.frames} frames"
            )
        if clip.text.shape[-1] != about.text_dim or (clip.seen is None) != (about.image_dim == 0):
            raise ValueError(f"clip {len(self._captions)}: its text or picture tokens are not those of {about}")
        self._waiting.append(clip)
        self._captions.append(clip.caption)
        if len(self._waiting) == self.clips_a_shard:
            self._flush()

    def close(self) -> None:
        """Write what waits, and the index."""
        self._flush()
        index = {
            "format": FORMAT,
            **dataclasses.asdict(self.prepared),
            "shards": self._shards,
            "captions": self._captions,
        }
        with replacing(self.folder / INDEX) as part:
            part.write_text(json.dumps(index, ensure_ascii=False) + "\n", encoding="utf-8")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:
            self.close()

    def _flush(self) -> None:
        if not self._waiting:
            return
        tensors: dict[str, Tensor] = {}
        for number, clip in enumerate(self._waiting):
            parts = {
                "latents": clip.latents.to(torch.bfloat16),
                "xy": torch.tensor(clip.tracks.xy),
                "visible": torch.tensor(clip.tracks.visible),
                "text": clip.text.to(torch.bfloat16),
                **({} if clip.seen is None else {"seen": clip.seen.to(torch.bfloat16)}),
            }
            tensors |= {f"{number:06d}.{part}": value for part, value in parts.items()}
        name = f"shard-{len(self._shards):05d}.safetensors"
        _write(tensors, self.folder / name)
        self._shards.append((name, len(self._waiting)))
        self._waiting = []


class ClipShards:
    """The clips of a prepared folder, by number. Files are opened when a clip of theirs is asked for."""

    def __init__(self, folder: Path | str) -> None:
        self.folder = Path(folder)
        index = _read_index(self.folder)
        try:
            fields = {field.name: index[field.name] for field in dataclasses.fields(Prepared)}
            self.prepared = Prepared(**{**fields, "size": tuple(fields["size"])})
            self.captions = [str(caption) for caption in index["captions"]]
            self._places = [(str(name), n) for name, clips in index["shards"] for n in range(clips)]
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(f"{self.folder / INDEX} is incomplete ({error}): prepare the clips again") from None
        if not self._places:
            raise ValueError(f"{self.folder} holds no clip: prepare some with motionstream data encode")
        older = self.folder / OLDER_NULL_PROMPT
        null_prompt = older if older.is_file() else self.folder / NULL_PROMPT
        self.null_prompt = _read(null_prompt, ("text",), "")["text"]

    def __len__(self) -> int:
        return len(self._places)

    def __getitem__(self, number: int) -> EncodedClip:
        """Raises ValueError or FileNotFoundError naming the file that is damaged or gone."""
        name, place = self._places[number]
        parts = ("latents", "xy", "visible", "text", *(("seen",) if self.prepared.image_dim else ()))
        read = _read(self.folder / name, parts, f"{place:06d}.")
        tracks = Tracks(read["xy"].numpy(), read["visible"].numpy().astype(np.bool_))
        return EncodedClip(read["latents"], tracks, read["text"], read.get("seen"), self.captions[number])


def _read_index(folder: Path) -> dict[str, Any]:
    path = folder / INDEX
    if not path.is_file():
        raise FileNotFoundError(f"{folder} holds no prepared clips: {INDEX} is missing; see motionstream data encode")
    try:
        index: Any = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path} is not JSON: {error}") from None
    if not isinstance(index, dict) or index.get("format") != FORMAT:
        raise ValueError(f"{path}: this version reads prepared clips of format {FORMAT}")
    return index


def _read(path: Path, parts: tuple[str, ...], prefix: str) -> dict[str, Tensor]:
    if not path.is_file():
        raise FileNotFoundError(f"{path} is missing: prepare the clips again, or copy the whole folder")
    try:
        with safe_open(path, framework="pt") as opened:
            return {part: opened.get_tensor(f"{prefix}{part}") for part in parts}
    except SafetensorError as error:
        raise ValueError(f"{path} is damaged ({error})") from None


def _write(tensors: dict[str, Tensor], path: Path) -> None:
    """Whole or not at all."""
    with replacing(path) as part:
        save_file({name: value.detach().cpu().contiguous() for name, value in tensors.items()}, part)
