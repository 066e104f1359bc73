"""Published Wan weights, and how they become the start of a model that follows tracks.

A track model has more input channels than the published network (`conditioning/conditioner.py` states their order), so
one weight changes: the patch embedding, whose input columns are moved from the published order of channels to ours. All
other weights are taken unchanged. The columns of a control video become those of the track head's output: the head's
gradient is then not zero from the first step. Columns without a source start at zero. A zero column gives the head no
gradient but gets one itself, so that the head learns from the second step on; `track_init` draws them small instead.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import accumulate
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from motionstream.conditioning import ConditioningConfig, TrackHead
from motionstream.dit.config import CONFIGS, DiTConfig
from motionstream.dit.model import VideoDiT
from motionstream.model_folder import write_json
from motionstream.wan.families import FAMILIES, Family, InputName, Inputs, ignored_weights, recognised, signature_of
from motionstream.wan.weight_files import Shapes, WeightFiles, open_weights, write_weights
from motionstream.wan.weights import PATCH, check_weights, in_wan_names, shapes_of

NETWORK_FILE = "network.json"
"""Beside converted weights: sizes, where they come from, the channel mapping, hashes."""

_BECOMES: dict[InputName, InputName] = {"control": "tracks"}
"""Input of the published network → that of the track model, where they differ."""


@dataclass(frozen=True)
class ChannelMapping:
    """Input channels [begin, end) of the track model, and the published ones that their weights come from, if any."""

    input: InputName
    target: tuple[int, int]
    source: tuple[int, int] | None


@dataclass(frozen=True)
class Conversion:
    """What becomes of every weight of a published network.

    family: key of FAMILIES. dit: sizes of the track model's DiT. dropped: name → why. track_init: standard deviation of
    the tracks' columns where the source has no control video; 0 leaves them zero.
    """

    weights: WeightFiles
    family: str
    dit: DiTConfig
    conditioning: ConditioningConfig
    channels: tuple[ChannelMapping, ...]
    dropped: dict[str, str]
    track_init: float

    def layout(self) -> Shapes:
        """Shapes of what `tensors` gives, by name, in its order: those of `sampling.MotionModel` without text."""
        with torch.device("meta"):
            dit, head = VideoDiT(self.dit), TrackHead(self.conditioning.track_channels)
        named = (("dit", dit), ("track_head", head))
        return {f"{part}.{name}": shape for part, module in named for name, shape in _shapes(module).items()}

    def tensors(self, seed: int = 0) -> Iterator[tuple[str, Tensor]]:
        """The track model's weights, one at a time, in the order of `layout` and the dtype of the source.

        seed: for what is drawn: the track head's weights, and with `track_init` the tracks' columns. The head's bias
        starts at zero: where there is no track its output is zero, as an absent control video was.
        """
        random = torch.Generator().manual_seed(seed)
        head = _track_head(self.conditioning.track_channels, random)
        for name in self.layout():
            if name.startswith("track_head."):
                yield name, head[name.removeprefix("track_head.")]
            elif name == f"dit.{PATCH}":
                yield name, self._patch_embedding(random)
            else:
                yield name, self.weights.read(name.removeprefix("dit."))

    def start_of(self, mapping: ChannelMapping) -> str:
        """How columns without a source start."""
        return f"drawn, {self.track_init:g}" if mapping.input == "tracks" and self.track_init else "zero"

    def report(self) -> dict[str, Any]:
        """Source, channels, and which weights are taken, dropped or new, for people and for JSON."""
        new = {
            f"dit.{PATCH}[:, {mapping.target[0]}:{mapping.target[1]}]": f"{mapping.input}: {self.start_of(mapping)}"
            for mapping in self.channels
            if mapping.source is None
        }
        return {
            "family": self.family,
            "publisher": FAMILIES[self.family].publisher,
            "licence": f"{FAMILIES[self.family].licence}; check the page you took the weights from",
            "source": {file.name: file.stat().st_size for file in self.weights.files},
            **({"part": self.weights.student} if self.weights.student else {}),
            "parameters": sum(math.prod(shape) for shape in self.layout().values()),
            "weights": {
                "in_source": len(self.weights.shapes),
                "taken": len(self.weights.shapes) - len(self.dropped),
                "dropped": self.dropped,
                "new": {**new, "track_head.project.weight": "drawn", "track_head.project.bias": "zero"},
            },
            "channels": [dataclasses.asdict(mapping) for mapping in self.channels],
        }

    def _patch_embedding(self, random: torch.Generator) -> Tensor:
        """(width, channels, 1, 2, 2), its columns where the track model has them."""
        published = self.weights.read(PATCH)
        weight = published.new_zeros(published.shape[0], self.dit.in_channels, *published.shape[2:])
        for mapping in self.channels:
            columns = weight[:, slice(*mapping.target)]
            if mapping.source is not None:
                columns.copy_(published[:, slice(*mapping.source)])
            elif mapping.input == "tracks":
                columns.copy_(torch.empty(columns.shape).normal_(0, self.track_init, generator=random))
        return weight


def plan_conversion(
    path: Path | str, family: str = "auto", track_channels: int | None = None, track_init: float = 0.0
) -> Conversion:
    """Account for every weight of a published file or folder, without reading any.

    family: a key of FAMILIES; "auto" goes by the number of channels. track_channels: of the track head, by default as
    many as a latent has. track_init: see `Conversion`. Raises FileNotFoundError, or ValueError that names what is
    missing, unknown or of another shape, and the families there are.
    """
    if not 0 <= track_init < math.inf:
        raise ValueError(f"track_init {track_init}: a standard deviation, 0 or more")
    weights = in_wan_names(open_weights(path))
    name = recognised(weights, family)
    found = FAMILIES[name]
    base = replace(_sizes(weights), in_channels=found.channels)
    conditioning = ConditioningConfig(found.latent_channels, track_channels or found.latent_channels)
    dropped = ignored_weights(weights, found)
    with torch.device("meta"):
        expected = _shapes(VideoDiT(base))
    check_weights({n: shape for n, shape in weights.shapes.items() if n not in dropped}, expected, weights.path)
    dit = replace(base, in_channels=base.out_channels + conditioning.channels)
    return Conversion(weights, name, dit, conditioning, channel_map(found, conditioning), dropped, track_init)


def channel_map(family: Family, conditioning: ConditioningConfig) -> tuple[ChannelMapping, ...]:
    """The track model's input channels, in order, with the published channels that their columns are taken from.

    Where the source has fewer channels of an input than we (a wide track head), the rest has no source.
    """
    published = {_BECOMES.get(name, name): (begin, count) for name, begin, count in _positions(family.inputs)}
    mappings: list[ChannelMapping] = []
    for name, at, count in _positions(track_model_inputs(conditioning)):
        begin, available = published.get(name, (0, 0))
        shared = min(count, available)
        if shared:
            mappings.append(ChannelMapping(name, (at, at + shared), (begin, begin + shared)))
        if shared < count:
            mappings.append(ChannelMapping(name, (at + shared, at + count), None))
    return tuple(mappings)


def _positions(inputs: Inputs) -> Iterator[tuple[InputName, int, int]]:
    """(name, first channel, how many)."""
    for (name, count), end in zip(inputs, accumulate(count for _, count in inputs), strict=True):
        yield name, end - count, count


def track_model_inputs(conditioning: ConditioningConfig) -> Inputs:
    """Input channels of a track model in the order of `conditioning/conditioner.py`, noisy latents first."""
    latent, tracks = conditioning.latent_channels, conditioning.track_channels
    return ("noise", latent), ("mask", conditioning.temporal_stride), ("first", latent), ("tracks", tracks)


def convert(
    conversion: Conversion,
    folder: Path,
    dtype: torch.dtype = torch.bfloat16,
    seed: int = 0,
    over: Callable[[Iterable[tuple[str, Tensor]]], Iterable[tuple[str, Tensor]]] | None = None,
) -> dict[str, Any]:
    """Write a converted network: network*.safetensors and `network.json`, whose contents are returned.

    One tensor at a time is in main memory. over: wraps the tensors as they pass, for a progress bar. Raises ValueError
    if the folder has weights already.
    """
    tensors = conversion.tensors(seed)
    hashes = write_weights(folder, conversion.layout(), over(tensors) if over else tensors, dtype)
    header = {
        "format": 1,
        "network": {  # as `model_folder.network_of` reads it
            "dit": dataclasses.asdict(conversion.dit),
            "conditioning": dataclasses.asdict(conversion.conditioning),
        },
        "dtype": str(dtype).removeprefix("torch."),
        **conversion.report(),
        "seed": seed,
        "track_init": conversion.track_init,
        "sha256": hashes,
    }
    write_json(folder / NETWORK_FILE, header)
    return header


def _sizes(weights: WeightFiles) -> DiTConfig:
    """The row of CONFIGS whose sizes the weights have."""
    width, ffn = weights.shapes[PATCH][0], weights.shapes["blocks.0.ffn.0.weight"][0]
    layers = 1 + max(int(name.split(".")[1]) for name in weights.shapes if name.startswith("blocks."))
    _, latent_channels, image = signature_of(weights)
    sizes = width, layers, ffn, latent_channels, image
    for row in CONFIGS.values():
        if sizes == (row.width, row.layers, row.ffn, row.out_channels, row.image_dim is not None):
            return row
    raise ValueError(
        f"{weights.path} is of width {width}, {layers} layers, feed-forward {ffn}: no model of these sizes is known "
        f"({', '.join(CONFIGS)})"
    )


def _shapes(module: nn.Module) -> Shapes:
    return shapes_of(module.state_dict())


def _track_head(channels: int, random: torch.Generator) -> dict[str, Tensor]:
    with torch.device("meta"):
        shapes = _shapes(TrackHead(channels))
    bound = shapes["project.weight"][1] ** -0.5  # as nn.Linear draws it
    weight = torch.empty(shapes["project.weight"]).uniform_(-bound, bound, generator=random)
    return {"project.weight": weight, "project.bias": torch.zeros(shapes["project.bias"])}
