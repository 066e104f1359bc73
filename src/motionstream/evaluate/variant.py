"""The same weights run in another way: other sizes of the rollout, or without part of what steers them."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any, cast

import torch

from motionstream import model_folder, zoo
from motionstream.conditioning import AnyConditioner, Conditioning, TrackBatch
from motionstream.sampling import RolloutConfig
from motionstream.stream.model import StreamingModel
from motionstream.tiny.conditioner import AnchoredConditioning
from motionstream.tiny.finisher import PhotoFinisher

_SIZES = re.compile(r"c(\d+)s(\d+)w(\d+)")


class Variant(StreamingModel):
    """A model that shares everything with the one given, but for its rollout sizes and its network's conditioning.

    identity: whether the network gets the points' identity codes. anchor: whether it gets the warped anchor.
    """

    def __init__(
        self, model: StreamingModel, rollout_config: RolloutConfig, identity: bool = True, anchor: bool = True
    ) -> None:
        self.__dict__.update(vars(model))
        self.rollout_config, self.identity, self.anchor = rollout_config, identity, anchor
        if not anchor and isinstance(model.finisher, PhotoFinisher):
            self.finisher = model.finisher.without("detail")  # it reads the warped anchor too

    def conditioner(self, seed: int) -> AnyConditioner:
        return cast(AnyConditioner, _Partial(super().conditioner(seed), self.identity, self.anchor))


class _Partial:
    """A conditioner that leaves some conditioning out."""

    def __init__(self, whole: AnyConditioner, identity: bool, anchor: bool) -> None:
        self.whole, self.identity, self.anchor = whole, identity, anchor

    def __getattr__(self, name: str) -> Any:
        return getattr(self.whole, name)

    def step(self, state: Any, tracks: TrackBatch, shown: torch.Tensor) -> tuple[Conditioning, Any]:
        conditioning, following = self.whole.step(state, tracks, shown)
        if not self.identity:
            conditioning = replace(conditioning, volume=torch.zeros_like(conditioning.volume))
        if not self.anchor and isinstance(conditioning, AnchoredConditioning):
            everyone = torch.ones(len(conditioning.anchor), dtype=torch.bool, device=conditioning.anchor.device)
            conditioning = conditioning.without_anchor(everyone)
        return conditioning, following


def sizes_name(rollout_config: RolloutConfig) -> str:
    """Chunk, sink and window in latents: "c3s3w3" (the paper, which counts in chunks, writes c3s1w1 for that)."""
    return f"c{rollout_config.chunk}s{rollout_config.sink}w{rollout_config.window}"


def with_sizes(rollout_config: RolloutConfig, text: str) -> RolloutConfig:
    """The rollout with the sizes of a name such as "c1s0w3". Raises ValueError on anything else."""
    found = _SIZES.fullmatch(text.strip())
    if found is None or int(found[1]) == 0:
        raise ValueError(f"variant {text!r}: write chunk, sink and window in latents, such as c1s3w3")
    chunk, sink, window = (int(number) for number in found.groups())
    return replace(rollout_config, chunk=chunk, sink=sink, window=window)


def resized(
    rollout_config: RolloutConfig, chunk: int | None = None, sink: int | None = None, window: int | None = None
) -> RolloutConfig:
    """The rollout with those sizes, in latents, that are given."""
    return replace(
        rollout_config,
        chunk=rollout_config.chunk if chunk is None else chunk,
        sink=rollout_config.sink if sink is None else sink,
        window=rollout_config.window if window is None else window,
    )


def shift_of(model: str) -> float:
    """Shift of the student's times, of a zoo name or a folder of weights: with it, other numbers of calls are timed."""
    return float(model_folder.read_header(zoo.folder_of(model))["live"]["shift"])
