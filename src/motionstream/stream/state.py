"""The state of one stream between two steps, as one object that can be saved and loaded.

No module holds any of it: two viewers are two states.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from motionstream.conditioning import AnyConditioner, Conditioning
from motionstream.dit import RollingCache
from motionstream.sampling import RolloutConfig
from motionstream.stream.finisher import AnyFinisher
from motionstream.stream.sink import FIXED
from motionstream.vae import Memory

FORMAT = 2
DAMAGED = "this is not a snapshot of a stream, or it is damaged: take another one"


@dataclass(frozen=True)
class CommittedChunk:
    """A finished chunk: its clean latents and conditioning; needed again when the prompt or the sink changes.

    index: of the chunk in the stream. skipped: latents cut off its beginning.
    """

    clean: Tensor
    conditioning: Conditioning
    index: int
    skipped: int = 0

    def latest(self, latents: int) -> CommittedChunk:
        """Its last `latents` latents, all of it if it has no more."""
        whole = self.clean.shape[1]
        cut = whole - latents
        if cut <= 0:
            return self
        part = self.conditioning.slice(cut, whole)
        return CommittedChunk(self.clean[:, cut:], part, self.index, self.skipped + cut)


def latest(chunks: list[CommittedChunk], latents: int) -> list[CommittedChunk]:
    """The last `latents` latents of chunks, old to new; all there are if there are no more."""
    kept: list[CommittedChunk] = []
    for chunk in reversed(chunks):
        if latents <= 0:
            break
        kept.append(chunk.latest(latents))
        latents -= chunk.clean.shape[1]
    return kept[::-1]


@dataclass
class StreamState:
    """cache: keys and values of the past. conditioner, finisher: what those carry. decoder: the VAE's memory.

    first: latent of the given picture (1, 1, C, h, w). frame: the last frame restored (1, 3, H, W). source: (W, H) of
    the given picture before it was fitted. recent: the latest committed chunks, old to new, as many as the sink's
    policy keeps. pending: the chunk that was shown and is not yet committed. chunks, latents: done so far. image_tokens
    (1, L, D): the first picture's where the network reads such. sink: its policy's name (`sink.py`). left: latents done
    when the view left the scene that the sink still holds; None: it has not.
    """

    seed: int
    prompt: str
    cache: RollingCache
    conditioner: Any
    finisher: Any
    first: Tensor
    frame: Tensor
    source: tuple[int, int]
    decoder: Memory | None = None
    recent: list[CommittedChunk] = field(default_factory=list)
    pending: CommittedChunk | None = None
    chunks: int = 0
    latents: int = 0
    image_tokens: Tensor | None = None
    sink: str = FIXED
    left: int | None = None

    @property
    def since_left(self) -> int | None:
        """Latents made since the view left the scene."""
        return None if self.left is None else self.latents - self.left


@dataclass(frozen=True)
class Snapshots:
    """Saves and loads the states of one model's streams. device: where tensors are loaded to."""

    model_hash: str
    rollout_config: RolloutConfig
    finisher: AnyFinisher
    device: torch.device

    def to_bytes(self, state: StreamState, conditioner: AnyConditioner) -> bytes:
        """A safetensors file: every tensor, and the rest as JSON in its header. The chunk must be committed."""
        if state.pending is not None:
            raise ValueError("commit the pending chunk before the state is saved")
        tensors, counts = _tensors(state, conditioner)
        plain = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}
        header = {
            "format": FORMAT,
            "model": self.model_hash,
            "dtype": str(state.frame.dtype),
            "rollout": _rollout(self.rollout_config),
            "source": state.source,
            "seed": state.seed,
            "prompt": state.prompt,
            "chunks": state.chunks,
            "latents": state.latents,
            "finisher": self.finisher.pack(state.finisher),
            "decoder": None if state.decoder is None else len(state.decoder),
            "recent": [[chunk.index, chunk.skipped] for chunk in state.recent],
            "sink": state.sink,
            "left": state.left,
            "cache": counts,
            "sha256": _digest(plain),
        }
        return save(plain, metadata={"motionstream": json.dumps(header)})

    def seed_of(self, data: bytes) -> int:
        """The seed of the stream that was saved. Raises ValueError as `from_bytes`."""
        try:
            return int(self._header(data)["seed"])
        except (KeyError, TypeError) as error:
            raise ValueError(DAMAGED) from error

    def from_bytes(self, data: bytes, cache: RollingCache, conditioner: AnyConditioner) -> StreamState:
        """The state saved by `to_bytes`. cache: an empty one of the same sizes.

        Raises ValueError if it is damaged, of another format, another model's, or of another rollout.
        """
        header = self._header(data)
        if header["dtype"] != str(cache.keys.dtype):
            raise ValueError(
                f"the snapshot runs in {header['dtype']}, the model in {cache.keys.dtype}: load it in that"
            )
        try:
            tensors = load(data)
            if _digest(tensors) != header["sha256"]:
                raise ValueError(DAMAGED)
            moved = {name: tensor.to(self.device) for name, tensor in tensors.items()}
            finisher = self.finisher.unpack(header["finisher"], header["prompt"], header["seed"])
            return _state(header, moved, cache, conditioner, finisher)
        except (SafetensorError, KeyError, TypeError) as error:
            raise ValueError(DAMAGED) from error

    def _header(self, data: bytes) -> dict[str, Any]:
        """Of a snapshot of this model's and this rollout's."""
        header = _read_header(data)
        if header.get("format") != FORMAT:
            raise ValueError(f"snapshot of format {header.get('format')!r}: this version reads {FORMAT}")
        if header["model"] != self.model_hash:
            raise ValueError("this snapshot was taken with another model: load that one to go on")
        own = _rollout(self.rollout_config)
        if header.get("rollout") != own:
            raise ValueError(
                f"the snapshot was taken with {header.get('rollout')}, the model runs {own}: set model.rollout_config "
                "to those to go on"
            )
        return header


def _rollout(config: RolloutConfig) -> dict[str, Any]:
    """What of a rollout must be the same when a stream is resumed; the cache checks sink and window."""
    return {"chunk": config.chunk, "times": list(config.times), "clean_pass": config.clean_pass}


def _tensors(state: StreamState, conditioner: AnyConditioner) -> tuple[dict[str, Tensor], dict[str, int]]:
    """Every tensor of a state by name, and the counts of its cache."""
    kept = state.cache.snapshot()
    tensors: dict[str, Tensor] = {"first": state.first, "frame": state.frame}
    tensors |= {} if state.image_tokens is None else {"image_tokens": state.image_tokens}
    tensors |= {f"cache.{key}": value for key, value in kept.items() if isinstance(value, Tensor)}
    tensors |= {f"conditioner.{name}": value for name, value in conditioner.pack(state.conditioner).items()}
    tensors |= _numbered("decoder", state.decoder or ())
    for index, chunk in enumerate(state.recent):
        tensors |= _numbered(f"recent.{index}", (chunk.clean, *chunk.conditioning.tensors()))
    return tensors, {key: value for key, value in kept.items() if isinstance(value, int)}


def _state(
    header: dict[str, Any],
    tensors: dict[str, Tensor],
    cache: RollingCache,
    conditioner: AnyConditioner,
    finisher: Any,
) -> StreamState:
    counts: dict[str, int] = header["cache"]
    cache.restore({**counts, "keys": tensors["cache.keys"], "values": tensors["cache.values"]})  # type: ignore[typeddict-item]
    recent: list[CommittedChunk] = []
    for number, (index, skipped) in enumerate(header["recent"]):
        clean, *parts = _read(tensors, f"recent.{number}")
        recent.append(CommittedChunk(clean, conditioner.conditioning(parts), index, skipped))
    width, height = header["source"]
    prefix = "conditioner."
    carried = {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}
    return StreamState(
        seed=header["seed"],
        prompt=header["prompt"],
        cache=cache,
        conditioner=conditioner.unpack(carried),
        finisher=finisher,
        first=tensors["first"],
        frame=tensors["frame"],
        source=(width, height),
        decoder=None if header["decoder"] is None else _read(tensors, "decoder"),
        recent=recent,
        chunks=header["chunks"],
        latents=header["latents"],
        image_tokens=tensors.get("image_tokens"),
        sink=header["sink"],
        left=header["left"],
    )


def _read_header(data: bytes) -> dict[str, Any]:
    try:
        size = int.from_bytes(data[:8], "little")
        raw = json.loads(data[8 : 8 + size])["__metadata__"]["motionstream"]
        header: dict[str, Any] = json.loads(raw)
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(DAMAGED) from error
    return header


def _digest(tensors: dict[str, Tensor]) -> str:
    """SHA-256 of all tensors (on the CPU), so that a damaged snapshot is refused."""
    digest = hashlib.sha256()
    for name in sorted(tensors):
        digest.update(name.encode())
        digest.update(tensors[name].flatten().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def _numbered(name: str, tensors: tuple[Tensor, ...]) -> dict[str, Tensor]:
    return {f"{name}.{index}": tensor for index, tensor in enumerate(tensors)}


def _read(tensors: dict[str, Tensor], name: str) -> tuple[Tensor, ...]:
    found: list[Tensor] = []
    while (key := f"{name}.{len(found)}") in tensors:
        found.append(tensors[key])
    return tuple(found)
