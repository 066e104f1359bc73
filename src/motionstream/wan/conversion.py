"""Published Wan weights, and how they become the start of a model that follows tracks.

A track model reads more input channels than what it starts from (`conditioning/conditioner.py` states their order), so
one weight changes: the patch embedding, whose columns are moved, slot by slot, from where the publisher's channels are
to where ours are. All others are taken as they are. A control video's columns become the track head's: the
head's gradient is then not zero from the first step. Columns without a source start at zero. A zero column gives the
head no gradient, but gets one itself (what the head says times what the tokens want), so that the head learns from the
second step on; `track_init` draws them small instead.

The paper's teachers start from VideoX-Fun's Wan variants. Channel orders are those of the publishers' pipelines: Wan
2.1 and 2.2, VideoX-Fun (control and inpaint; V1.0 and V1.1 differ in a reference embedding), Self-Forcing and its kind.
"""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from motionstream.conditioning import ConditioningConfig, TrackHead
from motionstream.dit.config import CONFIGS, DiTConfig
from motionstream.dit.model import VideoDiT
from motionstream.wan.weight_files import Stored, open_stored, write_shards
from motionstream.wan.weights import PATCH, check_names, check_shapes, fill, in_wan_names, shapes_of

NETWORK_FILE = "network.json"
"""Beside converted weights: sizes, where they come from, which channels went where, hashes."""

Slot = Literal["noise", "mask", "first", "control", "tracks", "anchor", "support"]
"""What an input channel carries: noisy latents; where the first frame is known (1) or not; latents of the first frame;
of a control video; the track head's output; latents of the warped anchor; where tracks speak and an anchor is."""
Slots = tuple[tuple[Slot, int], ...]
"""(what, how many channels), in the order in which they are concatenated."""


@dataclass(frozen=True)
class Family:
    """A kind of published weights.

    slots: its input channels. image: with the cross-attention to CLIP tokens. student: the causal student of a training
    run, in a .pt. apart: weights (patterns) that it may have and a track model has no place for, with the reason.
    """

    slots: Slots
    publisher: str
    licence: str = "Apache-2.0"
    image: bool = False
    student: bool = False
    apart: tuple[tuple[str, str], ...] = ()

    @property
    def channels(self) -> int:
        return sum(count for _, count in self.slots)

    @property
    def latent_channels(self) -> int:
        return dict(self.slots)["noise"]


_REFERENCE = (("ref_conv.*", "embeds a reference picture as tokens; our reference is the first frame"),)
_UNUSED = (("blocks.*.attn2.norm_added_q.*", "in some Diffusers files; Diffusers' own class ignores it"),)

FAMILIES: dict[str, Family] = {
    "wan2.1-t2v": Family((("noise", 16),), "Wan-AI"),
    "wan2.1-i2v": Family((("noise", 16), ("mask", 4), ("first", 16)), "Wan-AI", image=True),
    "wan2.1-fun-inp": Family((("noise", 16), ("mask", 4), ("first", 16)), "alibaba-pai", image=True),
    "wan2.1-fun-control": Family(
        (("noise", 16), ("control", 16), ("first", 16)), "alibaba-pai", image=True, apart=_REFERENCE
    ),
    "wan2.2-ti2v": Family((("noise", 48),), "Wan-AI"),
    "wan2.2-fun-inp": Family((("noise", 48), ("mask", 4), ("first", 48)), "alibaba-pai"),
    "wan2.2-fun-control": Family(
        (("noise", 48), ("control", 48), ("mask", 4), ("first", 48)), "alibaba-pai", apart=_REFERENCE
    ),
    "self-forcing": Family(
        (("noise", 16),), "the student's authors", "Apache-2.0 for Self-Forcing and Causal-Forcing", student=True
    ),
}
"""Source family → its channels in order. `auto` takes the first that fits; 1.3B weights with 36 channels can only be
VideoX-Fun's, whose channels are those of Wan's image-to-video."""

_PATCH_CELLS = 4
"""Latent cells in a token of every Wan."""
_BECOMES: dict[Slot, Slot] = {"noise": "noise", "mask": "mask", "first": "first", "control": "tracks"}


@dataclass(frozen=True)
class Columns:
    """Input channels [begin, end) of the track model and those of the source that their weights come from, if any."""

    slot: Slot
    target: tuple[int, int]
    source: tuple[int, int] | None


@dataclass(frozen=True)
class Plan:
    """What becomes of every weight of a source.

    dit: sizes of the track model's DiT. dropped: name → why. track_init: standard deviation of the tracks' columns
    where the source has no control; 0 leaves them zero.
    """

    stored: Stored
    name: str
    family: Family
    dit: DiTConfig
    conditioning: ConditioningConfig
    columns: tuple[Columns, ...]
    dropped: dict[str, str]
    track_init: float

    def layout(self) -> dict[str, tuple[int, ...]]:
        """Shapes of what `converted` gives, by name, in its order: those of `sampling.MotionModel` without text."""
        with torch.device("meta"):
            dit, head = VideoDiT(self.dit), TrackHead(self.conditioning.track_channels)
        names = {f"dit.{name}": shape for name, shape in shapes_of(dit).items()}
        return names | {f"track_head.{name}": shape for name, shape in shapes_of(head).items()}

    def new(self) -> dict[str, str]:
        """What no weight of the source gives → how it starts."""
        without = {
            f"dit.{PATCH}[:, {columns.target[0]}:{columns.target[1]}]": f"{columns.slot}: {self.starts(columns)}"
            for columns in self.columns
            if columns.source is None
        }
        return {**without, "track_head.project.weight": "drawn", "track_head.project.bias": "zero"}

    def starts(self, columns: Columns) -> str:
        """How columns without a source start."""
        return f"drawn, {self.track_init:g}" if columns.slot == "tracks" and self.track_init else "zero"

    def network(self) -> dict[str, Any]:
        """Sizes of the network, as `zoo.header.network_of` reads them."""
        return {
            "dit": dataclasses.asdict(self.dit),
            "conditioning": dataclasses.asdict(self.conditioning),
        }

    def accounting(self) -> dict[str, Any]:
        """Everything that is to be said of it, for people and for JSON."""
        layout = self.layout()
        return {
            "family": self.name,
            "publisher": self.family.publisher,
            "licence": f"{self.family.licence}; check the page you took the weights from",
            "source": {file.name: file.stat().st_size for file in self.stored.files},
            **({"part": self.stored.part} if self.stored.part else {}),
            "parameters": sum(math.prod(shape) for shape in layout.values()),
            "weights": {
                "in_source": len(self.stored.shapes),
                "taken": len(self.stored.shapes) - len(self.dropped),
                "dropped": self.dropped,
                "new": self.new(),
            },
            "channels": [dataclasses.asdict(columns) for columns in self.columns],
        }


def plan(
    path: Path | str,
    family: str = "auto",
    track_channels: int | None = None,
    anchored: bool = False,
    track_init: float = 0.0,
    sizes: DiTConfig | None = None,
) -> Plan:
    """Account for every weight of a published file or folder, without reading any.

    family: a key of FAMILIES; "auto" goes by the number of channels. track_channels: of the track head, by default as
    many as a latent has. anchored: with channels for the warped anchor. track_init: see `Plan`. sizes: of the source's
    DiT, by default the row of CONFIGS that fits. Raises FileNotFoundError, or ValueError that names what is missing,
    not known, or of another shape, and the families there are.
    """
    if not 0 <= track_init < math.inf:
        raise ValueError(f"track_init {track_init}: a standard deviation, 0 or more")
    stored = in_wan_names(open_stored(path))
    _check_wan(stored)
    name, source = _family(stored, family)
    base = replace(sizes or _sizes(stored), in_channels=source.channels)
    conditioning = ConditioningConfig(source.latent_channels, track_channels or source.latent_channels, anchored)
    dropped = _dropped(stored, source)
    _check(stored, base, dropped)
    target = replace(base, in_channels=base.out_channels + conditioning.channels)
    return Plan(stored, name, source, target, conditioning, channel_map(source, conditioning), dropped, track_init)


def channel_map(family: Family, conditioning: ConditioningConfig) -> tuple[Columns, ...]:
    """The track model's input channels, in order, with the source's channels that their columns are taken from.

    Where a source has fewer channels for a slot than we (a wide track head), the rest has no source.
    """
    begins: dict[Slot, tuple[int, int]] = {}
    at = 0
    for slot, count in family.slots:
        begins[_BECOMES[slot]] = at, count
        at += count
    mapped: list[Columns] = []
    at = 0
    for slot, count in track_slots(conditioning):
        begin, available = begins.get(slot, (0, 0))
        shared = min(count, available)
        if shared:
            mapped.append(Columns(slot, (at, at + shared), (begin, begin + shared)))
        if shared < count:
            mapped.append(Columns(slot, (at + shared, at + count), None))
        at += count
    return tuple(mapped)


def track_slots(conditioning: ConditioningConfig) -> Slots:
    """Input channels of a track model in the order of `conditioning/conditioner.py`, noisy latents first."""
    latent, stride = conditioning.latent_channels, conditioning.temporal_stride
    slots: Slots = ("noise", latent), ("mask", stride), ("first", latent), ("tracks", conditioning.track_channels)
    return (*slots, ("anchor", latent), ("support", stride + 1)) if conditioning.anchored else slots


def converted(plan: Plan, seed: int = 0) -> Iterator[tuple[str, Tensor]]:
    """The track model's weights, one at a time, in the order of `plan.layout()` and the dtype of the source.

    seed: of what is drawn: the track head's weights, and the tracks' columns if the plan says so. The head's bias
    starts at zero: no track then says nothing, as an absent control video did.
    """
    random = torch.Generator().manual_seed(seed)
    head = _track_head(plan.conditioning.track_channels, random)
    for name in plan.layout():
        if name.startswith("track_head."):
            yield name, head[name.removeprefix("track_head.")]
        elif name == f"dit.{PATCH}":
            yield name, _moved(plan, random)
        else:
            yield name, plan.stored.read(name.removeprefix("dit."))


def convert(
    plan: Plan,
    folder: Path,
    dtype: torch.dtype = torch.bfloat16,
    seed: int = 0,
    over: Callable[[Iterable[tuple[str, Tensor]]], Iterable[tuple[str, Tensor]]] | None = None,
) -> dict[str, Any]:
    """Write a converted network: network*.safetensors and `network.json`, whose contents come back.

    One tensor at a time is in main memory. over: wraps the tensors as they pass, for a progress bar. Raises ValueError
    if the folder has weights already.
    """
    tensors = converted(plan, seed)
    hashes = write_shards(
        folder, "network", plan.layout(), over(tensors) if over else tensors, dtype, {"family": plan.name}
    )
    header = {
        "format": 1,
        "network": plan.network(),
        "dtype": str(dtype).removeprefix("torch."),
        **plan.accounting(),
        "seed": seed,
        "track_init": plan.track_init,
        "sha256": hashes,
    }
    (folder / NETWORK_FILE).write_text(json.dumps(header, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    return header


def load_published(
    config: DiTConfig, path: Path | str, device: torch.device | str = "cpu", dtype: torch.dtype = torch.bfloat16
) -> VideoDiT:
    """A published DiT as it is, its input channels in its publisher's order.

    Every tensor goes from its file straight to its device and dtype, so that main memory holds no second copy.
    Raises FileNotFoundError, and ValueError unless every name and shape fits `config`; weights that a family of
    FAMILIES is known to have beside the DiT's are left out.
    """
    stored = in_wan_names(open_stored(path))
    dropped = {name for family in FAMILIES.values() for name in _dropped(stored, family)}
    _check(stored, config, dropped)
    with torch.device("meta"):
        model = VideoDiT(config)
    fill(model, ((name, stored.read(name)) for name in stored.shapes if name not in dropped), device, dtype)
    return model


def _check_wan(stored: Stored) -> None:
    needed = (PATCH, "blocks.0.ffn.0.weight", "text_embedding.0.weight", "head.head.weight")
    missing = [name for name in needed if name not in stored.shapes]
    if missing:
        raise ValueError(
            f"{stored.path} holds no Wan DiT: {', '.join(missing)} missing; send its transformer's weights"
        )


def _family(stored: Stored, name: str) -> tuple[str, Family]:
    if name != "auto":
        if name not in FAMILIES:
            raise ValueError(f"no family {name!r}: use auto or one of {', '.join(FAMILIES)}")
        if not _fits(stored, FAMILIES[name]):
            raise ValueError(f"{stored.path} is not {name}: {_difference(stored, FAMILIES[name])}")
        return name, FAMILIES[name]
    fitting = [(name, family) for name, family in FAMILIES.items() if _fits(stored, family)]
    if fitting:
        return next((found for found in fitting if found[1].student == bool(stored.part)), fitting[0])
    known = ", ".join(f"{name} {family.channels}{' + CLIP' * family.image}" for name, family in FAMILIES.items())
    raise ValueError(
        f"{stored.path} takes {stored.shapes[PATCH][1]} input channels{' and CLIP tokens' * _has_image(stored)}: "
        f"no family fits ({known}); other variants (camera, VACE, 14B pairs) have parts that a track model does not"
    )


def _fits(stored: Stored, family: Family) -> bool:
    outputs = stored.shapes["head.head.weight"][0]
    channels, image = stored.shapes[PATCH][1], _has_image(stored)
    return (channels, image, outputs) == (family.channels, family.image, _PATCH_CELLS * family.latent_channels)


def _difference(stored: Stored, family: Family) -> str:
    return (
        f"it takes {stored.shapes[PATCH][1]} input channels {'with' if _has_image(stored) else 'without'} CLIP tokens, "
        f"that family {family.channels} {'with' if family.image else 'without'}; use auto, or the family it is"
    )


def _has_image(stored: Stored) -> bool:
    return "img_emb.proj.1.weight" in stored.shapes


def _sizes(stored: Stored) -> DiTConfig:
    """The row of CONFIGS whose sizes the weights have."""
    width, ffn = stored.shapes[PATCH][0], stored.shapes["blocks.0.ffn.0.weight"][0]
    layers = 1 + max(int(name.split(".")[1]) for name in stored.shapes if name.startswith("blocks."))
    outputs = stored.shapes["head.head.weight"][0]
    for row in CONFIGS.values():
        same = (row.width, row.layers, row.ffn) == (width, layers, ffn)
        alike = (row.image_dim is not None) == _has_image(stored) and math.prod(row.patch) * row.out_channels == outputs
        if same and alike:
            return row
    raise ValueError(
        f"{stored.path} is of width {width}, {layers} layers, feed-forward {ffn}: no model of these sizes is known "
        f"({', '.join(CONFIGS)})"
    )


def _dropped(stored: Stored, family: Family) -> dict[str, str]:
    patterns = (*family.apart, *_UNUSED)
    why = {name: [reason for pattern, reason in patterns if fnmatchcase(name, pattern)] for name in stored.shapes}
    return {name: reasons[0] for name, reasons in why.items() if reasons}


def _check(stored: Stored, config: DiTConfig, dropped: Iterable[str]) -> None:
    with torch.device("meta"):
        wanted = shapes_of(VideoDiT(config))
    found = {name: shape for name, shape in stored.shapes.items() if name not in set(dropped)}
    try:
        check_names(found, wanted)
        check_shapes(found, wanted)
    except ValueError as error:
        raise ValueError(f"{stored.path}: {error}") from None


def _track_head(channels: int, random: torch.Generator) -> dict[str, Tensor]:
    with torch.device("meta"):
        shapes = shapes_of(TrackHead(channels))
    bound = shapes["project.weight"][1] ** -0.5  # as nn.Linear draws it
    weight = torch.empty(shapes["project.weight"]).uniform_(-bound, bound, generator=random)
    return {"project.weight": weight, "project.bias": torch.zeros(shapes["project.bias"])}


def _moved(plan: Plan, random: torch.Generator) -> Tensor:
    """The patch embedding (width, channels, 1, 2, 2) with its columns where the track model has them."""
    weight = plan.stored.read(PATCH)
    wide = weight.new_zeros(weight.shape[0], plan.dit.in_channels, *weight.shape[2:])
    for columns in plan.columns:
        part = wide[:, slice(*columns.target)]
        if columns.source is not None:
            part.copy_(weight[:, slice(*columns.source)])
        elif columns.slot == "tracks":
            part.copy_(torch.empty(part.shape).normal_(0, plan.track_init, generator=random))
    return wide
