"""The same weights run in another way: other sizes of the rollout, or without part of what steers them."""

from __future__ import annotations

import re
from dataclasses import replace

import torch

from motionstream import model_folder, zoo
from motionstream.conditioning import Conditioner, ConditionerState, Conditioning, TrackBatch, Warped
from motionstream.sampling import RolloutConfig
from motionstream.stream.model import StreamingModel

_SIZES = re.compile(r"c(\d+)s(\d+)w(\d+)")


class Variant(StreamingModel):
    """A model that shares everything with the one given, but for its rolling sizes and what its network is told.

    identity: whether points say where they are by their codes. anchor: whether the network sees the warped anchor.
    """

    def __init__(
        self, model: StreamingModel, rollout_config: RolloutConfig, identity: bool = True, anchor: bool = True
    ) -> None:
        self.__dict__.update(vars(model))
        self.rollout_config, self.identity, self.anchor = rollout_config, identity, anchor
        if not anchor:
            self.detail = None  # it would bring the anchor's texture in by another door

    def conditioner(self, seed: int) -> Conditioner:
        return _Partial(super().conditioner(seed), self.identity, self.anchor)


class _Partial(Conditioner):
    """A conditioner that keeps something back."""

    def __init__(self, whole: Conditioner, identity: bool, anchor: bool) -> None:
        super().__init__(whole.vae, whole.geometry, whole.seed, whole.anchored)
        self.identity, self.anchor = identity, anchor

    def step(
        self, state: ConditionerState, tracks: TrackBatch, warped: Warped | None = None
    ) -> tuple[Conditioning, ConditionerState]:
        conditioning, following = super().step(state, tracks, warped)
        if not self.identity:
            conditioning = replace(conditioning, volume=torch.zeros_like(conditioning.volume))
        if not self.anchor:
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
