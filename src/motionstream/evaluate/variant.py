"""The same weights run with other sizes of the rollout."""

from __future__ import annotations

import re
from dataclasses import replace

from motionstream import model_folder, zoo
from motionstream.sampling import RolloutConfig
from motionstream.stream.model import StreamingModel

_SIZES = re.compile(r"c(\d+)s(\d+)w(\d+)")


class Variant(StreamingModel):
    """A model that shares everything with the one given, but for its rolling sizes."""

    def __init__(self, model: StreamingModel, rollout_config: RolloutConfig) -> None:
        self.__dict__.update(vars(model))
        self.rollout_config = rollout_config


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
