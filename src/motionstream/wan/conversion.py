"""Published Wan weights, and how they become the start of a model that follows tracks.

A track model has more input channels than the published network (`conditioning/conditioner.py` states their order), so
one weight changes: the patch embedding, whose input columns are moved from the published order of channels to ours. All
other weights are taken unchanged. The columns of a control video become those of the track head's output: the head's
gradient is then not zero from the first step. Columns without a source start at zero. A zero column gives the head no
gradient but gets one itself, so that the head learns from the second step on; `track_init` draws them small instead.

The paper's teachers start from VideoX-Fun's Wan variants. Channel orders are those of the publishers' pipelines: Wan
2.1 and 2.2, VideoX-Fun (control and inpaint; V1.0 and V1.1 differ in a reference embedding), Self-Forcing and its
successors.
"""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from itertools import accumulate
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from motionstream.conditioning import ConditioningConfig, TrackHead
from motionstream.dit.config import CONFIGS, DiTConfig
from motionstream.dit.model import VideoDiT
from motionstream.wan.weight_files import Shapes, WeightFiles, open_weights, write_weights
from motionstream.wan.weights import PATCH, check_weights, in_wan_names, shapes_of

NETWORK_FILE = "network.json"
"""Beside converted weights: sizes, where they come from, the channel mapping, hashes."""

InputName = Literal["noise", "mask", "first", "control", "tracks"]
"""What an input channel carries: noisy latents; where the first frame is given (1) or not; latents of the first frame;
latents of a control video; the track head's output."""
Inputs = tuple[tuple[InputName, int], ...]
"""(name, how many channels), in the order in which they are concatenated."""


@dataclass(frozen=True)
class Family:
    """A kind of published weights.

    inputs: its input channels. image: with cross-attention to CLIP tokens. student: the causal student of a training
    run, in a .pt. ignored: weights (patterns) that it may have and a track model does not, with the reason.
    """

    inputs: Inputs
    publisher: str
    licence: str = "Apache-2.0"
    image: bool = False
    student: bool = False
    ignored: tuple[tuple[str, str], ...] = ()

    @property
    def channels(self) -> int:
        return sum(count for _, count in self.inputs)

    @property
    def latent_channels(self) -> int:
        return dict(self.inputs)["noise"]


_REFERENCE = (("ref_conv.*", "embeds a reference picture as tokens; our reference is the first frame"),)
_UNUSED = (("blocks.*.attn2.norm_added_q.*", "in some Diffusers files; Diffusers' own class ignores it"),)

FAMILIES: dict[str, Family] = {
    "wan2.1-t2v": Family((("noise", 16),), "Wan-AI"),
    "wan2.1-i2v": Family((("noise", 16), ("mask", 4), ("first", 16)), "Wan-AI", image=True),
    "wan2.1-fun-inp": Family((("noise", 16), ("mask", 4), ("first", 16)), "alibaba-pai", image=True),
    "wan2.1-fun-control": Family(
        (("noise", 16), ("control", 16), ("first", 16)), "alibaba-pai", image=True, ignored=_REFERENCE
    ),
    "wan2.2-ti2v": Family((("noise", 48),), "Wan-AI"),
    "wan2.2-fun-inp": Family((("noise", 48), ("mask", 4), ("first", 48)), "alibaba-pai"),
    "wan2.2-fun-control": Family(
        (("noise", 48), ("control", 48), ("mask", 4), ("first", 48)), "alibaba-pai", ignored=_REFERENCE
    ),
    "self-forcing": Family(
        (("noise", 16),), "the student's authors", "Apache-2.0 for Self-Forcing and Causal-Forcing", student=True
    ),
}
"""Source family → its channels in order. `auto` takes the first that fits; 1.3B weights with 36 channels can only be
VideoX-Fun's, whose channels are those of Wan's image-to-video."""

_PATCH_CELLS = 4
"""Latent cells in a token of every Wan."""
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

    dit: sizes of the track model's DiT. dropped: name → why. track_init: standard deviation of the tracks' columns
    where the source has no control video; 0 leaves them zero.
    """

    weights: WeightFiles
    family_name: str
    family: Family
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
            "family": self.family_name,
            "publisher": self.family.publisher,
            "licence": f"{self.family.licence}; check the page you took the weights from",
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
    path: Path | str,
    family: str = "auto",
    track_channels: int | None = None,
    track_init: float = 0.0,
    sizes: DiTConfig | None = None,
) -> Conversion:
    """Account for every weight of a published file or folder, without reading any.

    family: a key of FAMILIES; "auto" goes by the number of channels. track_channels: of the track head, by default as
    many as a latent has. track_init: see `Conversion`. sizes: of the source's DiT, by default the row of CONFIGS that
    fits. Raises FileNotFoundError, or ValueError that names what is missing, unknown or of another shape, and the
    families there are.
    """
    if not 0 <= track_init < math.inf:
        raise ValueError(f"track_init {track_init}: a standard deviation, 0 or more")
    weights = in_wan_names(open_weights(path))
    _check_wan(weights)
    name, found = _family(weights, family)
    base = replace(sizes or _sizes(weights), in_channels=found.channels)
    conditioning = ConditioningConfig(found.latent_channels, track_channels or found.latent_channels, anchored=False)
    dropped = _dropped(weights, found)
    with torch.device("meta"):
        expected = _shapes(VideoDiT(base))
    check_weights({n: shape for n, shape in weights.shapes.items() if n not in dropped}, expected, weights.path)
    dit = replace(base, in_channels=base.out_channels + conditioning.channels)
    return Conversion(weights, name, found, dit, conditioning, channel_map(found, conditioning), dropped, track_init)


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
    metadata = {"family": conversion.family_name}
    hashes = write_weights(folder, conversion.layout(), over(tensors) if over else tensors, dtype, metadata)
    header = {
        "format": 1,
        "network": {  # as `model_folder.network_of` reads it
            "dit": dataclasses.asdict(conversion.dit),
            "conditioning": dataclasses.asdict(conversion.conditioning),
            "parameterization": "velocity",
        },
        "dtype": str(dtype).removeprefix("torch."),
        **conversion.report(),
        "seed": seed,
        "track_init": conversion.track_init,
        "sha256": hashes,
    }
    (folder / NETWORK_FILE).write_text(json.dumps(header, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    return header


def _check_wan(weights: WeightFiles) -> None:
    needed = (PATCH, "blocks.0.ffn.0.weight", "text_embedding.0.weight", "head.head.weight")
    missing = [name for name in needed if name not in weights.shapes]
    if missing:
        raise ValueError(
            f"{weights.path} holds no Wan DiT: {', '.join(missing)} missing; send its transformer's weights"
        )


def _family(weights: WeightFiles, name: str) -> tuple[str, Family]:
    """The family of this name, or with "auto" the first that fits; a student's where the weights are one."""
    if name == "auto":
        fitting = [(known, family) for known, family in FAMILIES.items() if _fits(weights, family)]
        if fitting:
            return next((found for found in fitting if found[1].student == bool(weights.student)), fitting[0])
        known = ", ".join(f"{name} {_channels(family.channels, family.image)}" for name, family in FAMILIES.items())
        raise ValueError(
            f"{weights.path} takes {_source_channels(weights)}: no family fits ({known}); "
            "other variants (camera, VACE, 14B pairs) have parts that a track model does not"
        )
    if name not in FAMILIES:
        raise ValueError(f"no family {name!r}: use auto or one of {', '.join(FAMILIES)}")
    family = FAMILIES[name]
    if not _fits(weights, family):
        raise ValueError(
            f"{weights.path} is not {name}: it takes {_source_channels(weights)}, that family "
            f"{_channels(family.channels, family.image)}; use auto, or the family it is"
        )
    return name, family


def _fits(weights: WeightFiles, family: Family) -> bool:
    outputs = weights.shapes["head.head.weight"][0]
    channels, image = weights.shapes[PATCH][1], _has_image(weights)
    return (channels, image, outputs) == (family.channels, family.image, _PATCH_CELLS * family.latent_channels)


def _source_channels(weights: WeightFiles) -> str:
    return _channels(weights.shapes[PATCH][1], _has_image(weights))


def _channels(count: int, image: bool) -> str:
    return f"{count} input channels{' and CLIP tokens' if image else ''}"


def _has_image(weights: WeightFiles) -> bool:
    return "img_emb.proj.1.weight" in weights.shapes


def _sizes(weights: WeightFiles) -> DiTConfig:
    """The row of CONFIGS whose sizes the weights have."""
    width, ffn = weights.shapes[PATCH][0], weights.shapes["blocks.0.ffn.0.weight"][0]
    layers = 1 + max(int(name.split(".")[1]) for name in weights.shapes if name.startswith("blocks."))
    sizes = width, layers, ffn, weights.shapes["head.head.weight"][0], _has_image(weights)
    for row in CONFIGS.values():
        outputs = math.prod(row.patch) * row.out_channels
        if sizes == (row.width, row.layers, row.ffn, outputs, row.image_dim is not None):
            return row
    raise ValueError(
        f"{weights.path} is of width {width}, {layers} layers, feed-forward {ffn}: no model of these sizes is known "
        f"({', '.join(CONFIGS)})"
    )


def _dropped(weights: WeightFiles, family: Family) -> dict[str, str]:
    patterns = (*family.ignored, *_UNUSED)
    why = {name: [reason for pattern, reason in patterns if fnmatchcase(name, pattern)] for name in weights.shapes}
    return {name: reasons[0] for name, reasons in why.items() if reasons}


def _shapes(module: nn.Module) -> Shapes:
    return shapes_of(module.state_dict())


def _track_head(channels: int, random: torch.Generator) -> dict[str, Tensor]:
    with torch.device("meta"):
        shapes = _shapes(TrackHead(channels))
    bound = shapes["project.weight"][1] ** -0.5  # as nn.Linear draws it
    weight = torch.empty(shapes["project.weight"]).uniform_(-bound, bound, generator=random)
    return {"project.weight": weight, "project.bias": torch.zeros(shapes["project.bias"])}
