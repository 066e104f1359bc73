"""The same weights run with other sizes of the rollout."""

from __future__ import annotations

import copy
import re
from dataclasses import replace

from motionstream.sampling import RolloutConfig
from motionstream.stream.model import StreamingModel


def variant(model: StreamingModel, rollout_config: RolloutConfig) -> StreamingModel:
    """A model that shares everything with the one given, but for its rolling sizes."""
    made = copy.copy(model)
    made.rollout_config = rollout_config
    return made


def sizes_name(rollout_config: RolloutConfig) -> str:
    """Chunk, sink and window in latents: "c3s3w3" (the paper, which counts in chunks, writes c3s1w1 for that)."""
    return f"c{rollout_config.chunk}s{rollout_config.sink}w{rollout_config.window}"


def with_sizes(rollout_config: RolloutConfig, text: str) -> RolloutConfig:
    """The rollout with the sizes of a name such as "c1s0w3". Raises ValueError on anything else."""
    found = re.fullmatch(r"c(\d+)s(\d+)w(\d+)", text.strip())
    if found is None or int(found[1]) == 0:
        raise ValueError(f"variant {text!r}: write chunk, sink and window in latents, such as c1s3w3")
    chunk, sink, window = (int(number) for number in found.groups())
    return replace(rollout_config, chunk=chunk, sink=sink, window=window)
