"""What one stage of training is to the loop: something with weights, optimisers, a step and a picture to show.

The loop owns time, saving and reporting; the stage owns what is learned. Everything that decides the next step
must be in the weights, the optimisers, `state_dict()` or the global random generators: only that is restored.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from motionstream.train.optim import Optimizer, Updater
from motionstream.train.recipe import Recipe
from motionstream.train.serialise import Tree

Image = npt.NDArray[np.uint8]


class Stateful(Protocol):
    """Anything saved and restored by a tree of numbers and tensors, such as a source of clips."""

    def state_dict(self) -> dict[str, Tree]: ...

    def load_state_dict(self, state: dict[str, Any], /) -> Any: ...


class Stage(ABC):
    """One stage of training, driven by `loop.run`: networks that updaters train, by the name of the network's file.

    One updater has an average, which is saved as "ema".
    """

    updaters: Mapping[str, Updater]

    def modules(self) -> dict[str, nn.Module]:
        """What a checkpoint holds, by file name: trained networks and their average."""
        average = next(updater.ema for updater in self.updaters.values() if updater.ema is not None)
        return {**{name: updater.module for name, updater in self.updaters.items()}, "ema": average}

    def optimizers(self) -> dict[str, Optimizer]:
        return {name: updater.optimizer for name, updater in self.updaters.items()}

    @abstractmethod
    def step(self, step: int, progress: float) -> dict[str, float]:
        """One whole training step, data to changed weights; returns scalars for the log.

        step: steps done before this one. progress: how far the whole run is, 0 … 1 (for `optim.Schedule`).
        A scalar named "loss" is the one shown; a true "skipped" or a number that is not finite counts as a bad step.
        """

    @abstractmethod
    def sheet(self) -> Image | None:
        """(H, W, 3) contact sheet of the present weights, or None. It may draw from its own generators only."""

    @abstractmethod
    def state_dict(self) -> dict[str, Tree]:
        """Data position and the stage's own generators: numbers, strings, lists, dicts, arrays, tensors."""

    @abstractmethod
    def load_state_dict(self, state: dict[str, Any], /) -> None: ...


class DrawingStage(Stage):
    """One that draws clips from `data` and noise and times from `random`, and resumes by both."""

    def __init__(self, recipe: Recipe, data: Stateful, seed: int) -> None:
        self.recipe, self.data = recipe, data
        self.random = torch.Generator().manual_seed(seed)

    def state_dict(self) -> dict[str, Tree]:
        return {"data": self.data.state_dict(), "random": self.random.get_state()}

    def load_state_dict(self, state: dict[str, Any], /) -> None:
        self.data.load_state_dict(state["data"])
        self.random.set_state(torch.as_tensor(state["random"], dtype=torch.uint8))


def autocast(recipe: Recipe) -> torch.autocast:
    """Mixed precision as a recipe wants it; with dtype = "float32" everything is computed as the weights are."""
    return torch.autocast(torch.device(recipe.device).type, torch.bfloat16, enabled=recipe.dtype == "bfloat16")


def contact_sheet(videos: Sequence[Tensor]) -> Image:
    """Clips (F, 3, H, W) uint8 of one size → one picture, a clip a row. Shorter rows are filled with black."""
    most = max(video.shape[0] for video in videos)
    lines = []
    for video in videos:
        frames = rearrange(video.cpu().numpy(), "f c h w -> h f w c")
        padded = np.pad(frames, ((0, 0), (0, most - frames.shape[1]), (0, 0), (0, 0)))
        lines.append(rearrange(padded, "h f w c -> h (f w) c"))
    sheet: Image = np.concatenate(lines)
    return sheet


def psnr(made: Tensor, true: Tensor) -> Tensor:
    """Peak signal-to-noise ratio in dB of pixels in [−1, 1]."""
    return 10 * torch.log10(4 / F.mse_loss(made.clamp(-1, 1), true).clamp(min=1e-9))
