"""Endless training batches in a fixed order, made by background processes, from any position on.

Batch n has clips n·B … n·B + B − 1, so the order depends neither on the number of workers nor on where training was
interrupted.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol, TypedDict

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from motionstream.data.assets import AssetLibrary
from motionstream.data.synthetic import Batch, SyntheticWorlds

PROBE_FIRST = 1_000_000_000
"""Number of the first clip for contact sheets: training never gets there."""
PREFETCH = 2  # batches each worker is ahead


class Arrays(TypedDict):
    """video (B, F, 3, H, W) uint8, xy (B, F, N, 2) float32, visible (B, F, N) bool, object_of (B, N), captions."""

    video: Tensor
    xy: Tensor
    visible: Tensor
    object_of: Tensor
    captions: list[str]


class Wanted(Protocol):
    """What a recipe gives about its data."""

    @property
    def size(self) -> tuple[int, int]: ...
    @property
    def frames(self) -> int: ...
    @property
    def batch(self) -> int: ...
    @property
    def seed(self) -> int: ...
    @property
    def device(self) -> str: ...
    @property
    def effect_share(self) -> float: ...
    @property
    def variety(self) -> float: ...


class PlannedBatch(Protocol):
    """A batch before it is drawn."""

    def draw(self, device: torch.device | str) -> Batch: ...


class Worlds(Protocol):
    """Clips by number. device: where they are drawn; on any but the CPU by the caller, of a `PlannedBatch`."""

    @property
    def device(self) -> torch.device: ...

    def plan(self, indices: Sequence[int]) -> PlannedBatch: ...

    def batch(self, indices: Sequence[int]) -> Batch: ...


def loader(recipe: Wanted, assets: str | Path, split: str = "train", workers: int | None = None) -> Loader:
    """The batches of a recipe. workers: as in `Loader`; by default one, and up to eight for a GPU."""
    device = torch.device(recipe.device)
    library = AssetLibrary(assets, split)
    worlds = SyntheticWorlds(
        library, recipe.size, recipe.frames, recipe.seed, recipe.effect_share, device=device, variety=recipe.variety
    )
    if workers is None:
        workers = 1 if device.type == "cpu" else min(8, max(1, (os.cpu_count() or 2) - 1))
    return Loader(worlds, recipe.batch, workers=workers)


class Loader:
    """An endless iterator of `Arrays` over `worlds`, `batch` clips at a time.

    workers: background processes, started by "spawn", one thread each; 0 makes batches in the caller. Clips of
    worlds on a GPU are planned by the workers and drawn by the caller, on that GPU.
    """

    def __init__(self, worlds: Worlds, batch: int, workers: int = 1) -> None:
        if batch < 1:
            raise ValueError(f"a batch of {batch} clips: ask for at least 1")
        self.worlds, self.batch, self.workers = worlds, batch, workers
        self._next = 0
        self._source: Iterator[PlannedBatch | Batch] | None = None

    def __iter__(self) -> Loader:
        return self

    def __next__(self) -> Arrays:
        if self._source is None:
            self._source = self._start()
        made = next(self._source)
        self._next += 1
        return _arrays(made if isinstance(made, Batch) else made.draw(self.worlds.device))

    def probe(self, clips: int) -> Arrays:
        """The same few clips every time, from outside the training order, for contact sheets."""
        return _arrays(self.worlds.batch(range(PROBE_FIRST, PROBE_FIRST + clips)))

    def state_dict(self) -> dict[str, int]:
        """Where the next batch comes from."""
        return {"next_batch": self._next}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue exactly there; batches made ahead are dropped."""
        self._next = int(state["next_batch"])
        self._source = None

    def _start(self) -> Iterator[PlannedBatch | Batch]:
        return iter(
            DataLoader(
                _Batches(self.worlds, self.batch),
                batch_size=None,
                sampler=_From(self._next),
                num_workers=self.workers,
                multiprocessing_context="spawn" if self.workers else None,
                prefetch_factor=PREFETCH if self.workers else None,
                generator=torch.Generator(),  # its seed for the workers must not be drawn from the global generator
            )
        )


class _Batches(Dataset[PlannedBatch | Batch]):
    """Batch n, drawn if that is done on the CPU."""

    def __init__(self, worlds: Worlds, batch: int) -> None:
        self.worlds, self.batch = worlds, batch

    def __getitem__(self, number: int) -> PlannedBatch | Batch:
        planned = self.worlds.plan(range(number * self.batch, (number + 1) * self.batch))
        return planned.draw("cpu") if self.worlds.device.type == "cpu" else planned


class _From(Sampler[int]):
    """first, first + 1, … without end."""

    def __init__(self, first: int) -> None:
        self.first = first

    def __iter__(self) -> Iterator[int]:
        return itertools.count(self.first)


def _arrays(batch: Batch) -> Arrays:
    return {
        "video": batch.video,
        "xy": batch.xy,
        "visible": batch.visible,
        "object_of": batch.object_of,
        "captions": batch.captions,
    }
