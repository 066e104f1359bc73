"""`PhotoFinisher`: the embedded model's finishing of frames: detail of the photograph, then the prompt filter."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import groupby
from typing import Any

import torch
from torch import Tensor

from motionstream.stream.model import StreamingModel
from motionstream.tiny.conditioner import AnchoredState, Warped
from motionstream.tiny.detail import Detail
from motionstream.tiny.particles import Particles
from motionstream.tiny.prompt_filter import PromptFilter, shown


@dataclass(frozen=True)
class FilterState:
    """since: phrase of the prompt, by number → first frame it is in force. particles: of the stream's seed."""

    since: dict[int, int]
    particles: Particles | None


class PhotoFinisher:
    """A `Finisher`. detail, prompt_filter: either may be missing. size: (W, H) of the frames."""

    def __init__(
        self, detail: Detail | None, prompt_filter: PromptFilter | None, size: tuple[int, int], device: torch.device
    ) -> None:
        self.detail = None if detail is None else detail.eval().requires_grad_(False)
        self.prompt_filter = None if prompt_filter is None else prompt_filter.eval().requires_grad_(False)
        self.size, self.device = size, device

    def without(self, *parts: str) -> PhotoFinisher:
        """The same without "detail", "prompt_filter" or both."""
        kept = {name: None if name in parts else getattr(self, name) for name in ("detail", "prompt_filter")}
        return PhotoFinisher(**kept, size=self.size, device=self.device)

    def open(self, prompt: str, seed: int) -> FilterState:
        particles = None if self.prompt_filter is None else Particles.of(seed, self.size, self.device)
        return FilterState(dict.fromkeys(self._phrases(prompt), 0), particles)

    def prompted(self, state: FilterState, prompt: str, frame: int) -> FilterState:
        """Phrases that were in force stay so; only new ones begin."""
        return replace(state, since={number: state.since.get(number, frame) for number in self._phrases(prompt)})

    def restored(self, video: Tensor, conditioner_state: Any) -> Tensor:
        """Decoded frames (1, F, 3, H, W) with the warped anchor's texture."""
        warped = conditioner_state.warped if isinstance(conditioner_state, AnchoredState) else None
        return video if warped is None else self.detailed(video, warped)

    def detailed(self, video: Tensor, warped: Warped) -> Tensor:
        """Decoded frames (B, F, 3, H, W) with the texture of this warp, where the model has a detail network."""
        if self.detail is None:
            return video
        sharp: Tensor = self.detail(video, warped.frames, warped.support)
        return sharp

    def shown(self, video: Tensor, state: FilterState, frame: int) -> Tensor:
        """Frames under the prompt filter and with its particles."""
        if self.prompt_filter is None or state.particles is None or not state.since:
            return video
        numbers = range(frame, frame + video.shape[1])
        curve, laid = self._parameters(self.prompt_filter, state.since, numbers)
        return shown(video, curve, laid, state.particles.at(numbers)[None])

    def pack(self, state: FilterState) -> dict[str, Any]:
        return {"since": [[number, frame] for number, frame in state.since.items()]}

    def unpack(self, values: dict[str, Any], prompt: str, seed: int) -> FilterState:
        since = {int(number): int(frame) for number, frame in values["since"]}
        return replace(self.open(prompt, seed), since=since)

    def _phrases(self, prompt: str) -> list[int]:
        """Numbers of the phrases that a prompt contains."""
        return [] if self.prompt_filter is None else self.prompt_filter.config.numbers_in(prompt)

    def _parameters(self, network: PromptFilter, since: dict[int, int], numbers: range) -> tuple[Tensor, Tensor]:
        """The filter's parameters (1, F, P) and those of its particles: sums over the phrases, each at its own age."""
        total: list[tuple[Tensor, Tensor]] = []
        for begin, group in groupby(sorted(since.items(), key=lambda item: (item[1], item[0])), lambda item: item[1]):
            phrases = torch.tensor([[number for number, _ in group]], device=self.device)
            age = torch.arange(numbers.start - begin, numbers.stop - begin, device=self.device)[None]
            total.append(network.parameters_of(phrases, age))
        curves, laid = zip(*total, strict=True)
        return torch.stack(curves).sum(0), torch.stack(laid).sum(0)


def finisher_of(model: StreamingModel) -> PhotoFinisher:
    """A model's finisher; of one that has none, an empty one."""
    if isinstance(model.finisher, PhotoFinisher):
        return model.finisher
    return PhotoFinisher(None, None, model.size, model.device)
