"""The families of published Wan weights: their input channels, how one is recognised, and what a track model ignores.

Channel orders are those of the publishers' pipelines: Wan 2.1 and 2.2, VideoX-Fun (control and inpaint; V1.0 and V1.1
differ in a reference embedding), Self-Forcing and its successors. The paper's teachers start from VideoX-Fun's.
"""

from __future__ import annotations

from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Literal

from motionstream.wan.weight_files import WeightFiles
from motionstream.wan.weights import PATCH

InputName = Literal["noise", "mask", "first", "control", "tracks"]
"""What an input channel carries: noisy latents; where the first frame is given (1) or not; latents of the first frame;
latents of a control video; the track head's output."""
Inputs = tuple[tuple[InputName, int], ...]
"""(name, how many channels), in the order in which they are concatenated."""
Signature = tuple[int, int, bool]
"""By which families are told apart: input channels, channels of a latent, whether it reads CLIP tokens."""


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

    @property
    def signature(self) -> Signature:
        return self.channels, self.latent_channels, self.image


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


def recognised(weights: WeightFiles, name: str) -> str:
    """The family of the weights: `name` if it fits, or with "auto" the first that fits (a student's for a student).

    Raises ValueError that names the families there are.
    """
    if name not in ("auto", *FAMILIES):
        raise ValueError(f"no family {name!r}: use auto or one of {', '.join(FAMILIES)}")
    _check_wan(weights)
    found = signature_of(weights)
    candidates = FAMILIES if name == "auto" else {name: FAMILIES[name]}
    fitting = [candidate for candidate, family in candidates.items() if family.signature == found]
    if not fitting:
        known = ", ".join(f"{candidate} {_described(family.signature)}" for candidate, family in candidates.items())
        raise ValueError(
            f"{weights.path} takes {_described(found)}: {'no family fits' if name == 'auto' else f'it is not {name}'} "
            f"({known}); other variants (camera, VACE, 14B pairs) have parts that a track model does not"
        )
    return next((fits for fits in fitting if FAMILIES[fits].student == bool(weights.student)), fitting[0])


def signature_of(weights: WeightFiles) -> Signature:
    """Of the shapes of a Wan DiT's weights."""
    outputs = weights.shapes["head.head.weight"][0]
    return weights.shapes[PATCH][1], outputs // _PATCH_CELLS, "img_emb.proj.1.weight" in weights.shapes


def _described(signature: Signature) -> str:
    channels, _, image = signature
    return f"{channels} input channels{' and CLIP tokens' * image}"


def ignored_weights(weights: WeightFiles, family: Family) -> dict[str, str]:
    """Name → why a track model does not take it."""
    patterns = (*family.ignored, *_UNUSED)
    why = {name: [reason for pattern, reason in patterns if fnmatchcase(name, pattern)] for name in weights.shapes}
    return {name: reasons[0] for name, reasons in why.items() if reasons}


def _check_wan(weights: WeightFiles) -> None:
    needed = (PATCH, "blocks.0.ffn.0.weight", "text_embedding.0.weight", "head.head.weight")
    missing = [name for name in needed if name not in weights.shapes]
    if missing:
        raise ValueError(
            f"{weights.path} holds no Wan DiT: {', '.join(missing)} missing; send its transformer's weights"
        )
