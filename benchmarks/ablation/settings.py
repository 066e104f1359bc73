"""The student's tables: which settings are run, and the model run so."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, cast

import torch

from motionstream.conditioning import AnyConditioner, Conditioning, TrackBatch
from motionstream.diffusion import few_step_times
from motionstream.evaluate.variant import sizes_name
from motionstream.sampling import RolloutConfig
from motionstream.stream.model import StreamingModel
from motionstream.tiny.conditioner import AnchoredConditioning
from motionstream.tiny.finisher import PhotoFinisher

UNIT = 3
"""Latents of the paper's chunk, in which it counts sinks and windows."""
SINKS, WINDOWS, CHUNKS, STEPS = (0, 1), (1, 2, 6), (1, 3), (1, 2, 3, 4)
"""Sinks and windows in units, chunks in latents, denoising calls."""
GUIDANCE = "guidance"
ROLLOUT = ("sink", "window", "chunk", "steps")
RECIPES: dict[str, tuple[str, ...]] = {
    "all": (*ROLLOUT, "tracks", GUIDANCE),
    "rollout": ROLLOUT,
    **{name: (name,) for name in (*ROLLOUT, "tracks", GUIDANCE)},
}
"""Name on the command line → tables."""


@dataclass(frozen=True)
class Setting:
    """One way to run a student: latents, calls a chunk, and whether its network has track identities and the anchor."""

    chunk: int
    sink: int
    window: int
    steps: int
    identity: bool = True
    anchor: bool = True

    @classmethod
    def of(cls, model: StreamingModel) -> Setting:
        """As the model comes."""
        rollout_config = model.rollout_config
        return cls(rollout_config.chunk, rollout_config.sink, rollout_config.window, len(rollout_config.times))

    @property
    def name(self) -> str:
        """Such as "c3s3w3, 2 steps, no anchor"."""
        sizes = sizes_name(RolloutConfig(self.chunk, self.sink, self.window, ()))
        without = [f"no {part}" for part in ("identity", "anchor") if not getattr(self, part)]
        return ", ".join([sizes, f"{self.steps} step{'s' * (self.steps > 1)}", *without])

    def applied(self, model: StreamingModel, shift: float) -> StreamingModel:
        """The model run so. shift: of the student's times."""
        times = tuple(few_step_times(self.steps, shift).tolist())
        own = model.rollout_config
        changed = replace(own, times=times, chunk=self.chunk, sink=self.sink, window=self.window)
        return Withheld(model, changed, self.identity, self.anchor)


class Withheld(StreamingModel):
    """A model whose network is given only part of its tracks.

    identity: whether points come with their identity codes. anchor: whether the network sees the warped anchor.
    """

    def __init__(
        self, model: StreamingModel, rollout_config: RolloutConfig, identity: bool = True, anchor: bool = True
    ) -> None:
        self.__dict__.update(vars(model))
        self.rollout_config, self.identity, self.anchor = rollout_config, identity, anchor
        if not anchor and isinstance(model.finisher, PhotoFinisher):
            self.finisher = model.finisher.without("detail")  # it reads the warped anchor too

    def conditioner(self, seed: int) -> AnyConditioner:
        return cast(AnyConditioner, _Withholding(super().conditioner(seed), self.identity, self.anchor))


class _Withholding:
    """A conditioner that keeps identity codes, the anchor or both back."""

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


def tables_of(base: Setting, anchored: bool = True) -> dict[str, list[Setting]]:
    """The student's tables. base: the setting that all of them vary. anchored: whether it has the warped anchor."""
    given = [(True, True), (False, True), (True, False), (False, False)]
    return {
        "sink": [replace(base, sink=UNIT * sink) for sink in SINKS],
        "window": [replace(base, window=UNIT * window) for window in WINDOWS],
        "chunk": [replace(base, chunk=chunk) for chunk in CHUNKS],
        "steps": [replace(base, steps=steps) for steps in STEPS],
        "tracks": [replace(base, identity=identity, anchor=anchor) for identity, anchor in given if anchor or anchored],
    }


def tables_of_recipe(recipe: str, with_teacher: bool) -> tuple[str, ...]:
    """The tables to be made. Raises ValueError on an unknown recipe, or one that has nothing without a teacher."""
    if recipe not in RECIPES:
        raise ValueError(f"recipe {recipe!r}: use one of {', '.join(RECIPES)}")
    tables = tuple(name for name in RECIPES[recipe] if name != GUIDANCE or with_teacher)
    if not tables:
        raise ValueError("guidance is measured on a teacher: give --runs, the folder of its training run")
    return tables


def student_settings(model: StreamingModel, tables: Sequence[str]) -> dict[str, list[Setting]]:
    """Those of the tables that are the student's, with their settings."""
    every = tables_of(Setting.of(model), model.network.config.conditioning.anchored)
    return {name: every[name] for name in tables if name in every}
