"""All that one stream is between two steps, as one object that can be written down and read back.

Nothing of it is remembered by a module: two viewers are two states.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field, fields
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from motionstream.conditioning import ConditionerState, Conditioning
from motionstream.dit import RollingCache
from motionstream.stream.sink import FIXED
from motionstream.tiny.affinity import affinity
from motionstream.tiny.anchor import Anchor
from motionstream.vae import Memory

FORMAT = 1
DAMAGED = "this is not a snapshot of a stream, or it is damaged: take another one"


@dataclass(frozen=True)
class Chunk:
    """A finished chunk: its clean latents and what steered it; needed again when the prompt or the sink changes."""

    clean: Tensor
    conditioning: Conditioning

    def latest(self, latents: int) -> Chunk:
        """Its last `latents` latents, all of it if it has no more."""
        whole = self.clean.shape[1]
        if latents >= whole:
            return self
        return Chunk(self.clean[:, whole - latents :], self.conditioning.slice(whole - latents, whole))


def latest(chunks: list[Chunk], latents: int) -> list[Chunk]:
    """The last `latents` latents of chunks, old to new; all there are if there are no more."""
    kept: list[Chunk] = []
    for chunk in reversed(chunks):
        if latents <= 0:
            break
        kept.append(chunk.latest(latents))
        latents -= chunk.clean.shape[1]
    return kept[::-1]


@dataclass
class StreamState:
    """cache: keys and values of the past. conditioner: anchor and its encoder's memory. decoder: the VAE's memory.

    first: latent of the given picture (1, 1, C, h, w). frame: the last frame shown (1, 3, H, W). source: (W, H) of
    the given picture before it was fitted. recent: the latest committed chunks, old to new, as many as the sink's
    policy keeps. pending: the chunk that was shown and is not yet committed. chunks, latents: done so far. seen
    (1, L, D): the first picture's tokens where the network reads such. prompted: frames shown before this prompt came
    into force. sink: its policy's name (`sink.py`). left: latents done when the view left the scene that the sink still
    holds; None: it has not.
    """

    seed: int
    prompt: str
    cache: RollingCache
    conditioner: ConditionerState
    first: Tensor
    frame: Tensor
    source: tuple[int, int]
    decoder: Memory | None = None
    recent: list[Chunk] = field(default_factory=list)
    pending: Chunk | None = None
    chunks: int = 0
    latents: int = 0
    seen: Tensor | None = None
    prompted: int = 0
    sink: str = FIXED
    left: int | None = None


def to_bytes(state: StreamState, model_hash: str) -> bytes:
    """A safetensors file: every tensor, and the rest as JSON in its header. The chunk must be committed."""
    if state.pending is not None:
        raise ValueError("commit the pending chunk before the state is written down")
    tensors: dict[str, Tensor] = {"first": state.first, "frame": state.frame}
    tensors |= {} if state.seen is None else {"seen": state.seen}
    kept = state.cache.snapshot()
    counts = {key: value for key, value in kept.items() if isinstance(value, int)}
    tensors |= {f"cache.{key}": value for key, value in kept.items() if isinstance(value, Tensor)}
    tensors |= _numbered("anchor", _anchor_tensors(state.conditioner.anchor))
    tensors |= _numbered("encoder", state.conditioner.memory or ())
    tensors |= _numbered("decoder", state.decoder or ())
    for index, chunk in enumerate(state.recent):
        tensors |= _numbered(f"window.{index}", (chunk.clean, *_conditioning_tensors(chunk.conditioning)))
    plain = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}
    header = {
        "format": FORMAT,
        "model": model_hash,
        "dtype": str(state.frame.dtype),
        "source": state.source,
        "seed": state.seed,
        "prompt": state.prompt,
        "chunks": state.chunks,
        "latents": state.latents,
        "prompted": state.prompted,
        "sink": state.sink,
        "left": state.left,
        "cache": counts,
        "sha256": _digest(plain),
    }
    return save(plain, metadata={"motionstream": json.dumps(header)})


def from_bytes(data: bytes, model_hash: str, cache: RollingCache, device: torch.device | str) -> StreamState:
    """The state written by `to_bytes`. cache: an empty one of the same sizes.

    Raises ValueError if it is damaged, of another format, or another model's.
    """
    header = _header(data)
    if header.get("format") != FORMAT:
        raise ValueError(f"snapshot of format {header.get('format')!r}: this version reads {FORMAT}")
    if header["model"] != model_hash:
        raise ValueError("this snapshot was taken with another model: load that one to go on")
    if header["dtype"] != str(cache.keys.dtype):
        raise ValueError(f"the snapshot runs in {header['dtype']}, the model in {cache.keys.dtype}: load it in that")
    try:
        tensors = load(data)
        if _digest(tensors) != header["sha256"]:
            raise ValueError(DAMAGED)
        return _state(header, {name: tensor.to(device) for name, tensor in tensors.items()}, cache)
    except (SafetensorError, KeyError, TypeError) as error:
        raise ValueError(DAMAGED) from error


def _state(header: dict[str, Any], tensors: dict[str, Tensor], cache: RollingCache) -> StreamState:
    counts: dict[str, int] = header["cache"]
    cache.restore({**counts, "keys": tensors["cache.keys"], "values": tensors["cache.values"]})  # type: ignore[typeddict-item]
    recent: list[Chunk] = []
    while parts := _read(tensors, f"window.{len(recent)}"):
        recent.append(Chunk(parts[0], Conditioning(*parts[1:])))
    width, height = header["source"]
    return StreamState(
        seed=header["seed"],
        prompt=header["prompt"],
        cache=cache,
        conditioner=ConditionerState(_anchor(_read(tensors, "anchor")), _read(tensors, "encoder") or None),
        first=tensors["first"],
        frame=tensors["frame"],
        source=(width, height),
        decoder=_read(tensors, "decoder") or None,
        recent=recent,
        chunks=header["chunks"],
        latents=header["latents"],
        seen=tensors.get("seen"),
        prompted=header.get("prompted", 0),
        sink=header.get("sink", FIXED),
        left=header.get("left"),
    )


def _header(data: bytes) -> dict[str, Any]:
    try:
        size = int.from_bytes(data[:8], "little")
        raw = json.loads(data[8 : 8 + size])["__metadata__"]["motionstream"]
        header: dict[str, Any] = json.loads(raw)
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(DAMAGED) from error
    return header


def _digest(tensors: dict[str, Tensor]) -> str:
    """SHA-256 of all tensors (on the CPU), so that a snapshot with one wrong bit is refused, not played."""
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


def _anchor_tensors(anchor: Anchor) -> tuple[Tensor, ...]:
    """All but what follows from the picture."""
    return tuple(getattr(anchor, one.name) for one in fields(anchor) if one.name != "affinity")


def _anchor(tensors: tuple[Tensor, ...]) -> Anchor:
    names = [one.name for one in fields(Anchor) if one.name != "affinity"]
    return Anchor(affinity=affinity(tensors[0]), **dict(zip(names, tensors, strict=True)))


def _conditioning_tensors(conditioning: Conditioning) -> tuple[Tensor, ...]:
    return tuple(getattr(conditioning, one.name) for one in fields(conditioning))
