"""Endless training batches in a fixed order, made by background processes, from any position on.

Batch n has clips n·B … n·B + B − 1, so the order depends neither on the number of workers nor on where training was
interrupted.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol

import torch
from torch.utils.data import DataLoader, Dataset, Sampler

from motionstream.data.assets import AssetLibrary
from motionstream.data.synthetic import Batch, PlannedWorlds, SyntheticWorlds
from motionstream.data.video_crops import VideoCrops

PROBE_FIRST = 1_000_000_000
"""Number of the first clip for contact sheets: training never gets there."""
PREFETCH = 2  # batches each worker is ahead


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
    """An endless iterator of `Batch` over `worlds`, `batch` clips at a time.

    workers: background processes, started by "spawn", one thread each; 0 makes batches in the caller. Clips of
    worlds on a GPU are planned by the workers and drawn by the caller, on that GPU.
    """

    def __init__(self, worlds: SyntheticWorlds | VideoCrops, batch: int, workers: int = 1) -> None:
        if batch < 1:
            raise ValueError(f"a batch of {batch} clips: ask for at least 1")
        self.worlds, self.batch, self.workers = worlds, batch, workers
        self._next = 0
        self._source: Iterator[PlannedWorlds | Batch] | None = None

    def __iter__(self) -> Loader:
        return self

    def __next__(self) -> Batch:
        if self._source is None:
            self._source = self._start()
        made = next(self._source)
        self._next += 1
        return made.draw(self.worlds.device) if isinstance(made, PlannedWorlds) else made

    def probe(self, clips: int) -> Batch:
        """The same few clips every time, from outside the training order, for contact sheets."""
        return self.worlds.batch(range(PROBE_FIRST, PROBE_FIRST + clips))

    def state_dict(self) -> dict[str, int]:
        """Where the next batch comes from."""
        return {"next_batch": self._next}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue exactly there; batches made ahead are dropped."""
        self._next = int(state["next_batch"])
        self._source = None

    def _start(self) -> Iterator[PlannedWorlds | Batch]:
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


class _Batches(Dataset[PlannedWorlds | Batch]):
    """Batch n, drawn if that is done on the CPU."""

    def __init__(self, worlds: SyntheticWorlds | VideoCrops, batch: int) -> None:
        self.worlds, self.batch = worlds, batch

    def __getitem__(self, number: int) -> PlannedWorlds | Batch:
        clips = range(number * self.batch, (number + 1) * self.batch)
        if isinstance(self.worlds, SyntheticWorlds) and self.worlds.device.type != "cpu":
            return self.worlds.plan(clips)
        return self.worlds.batch(clips)


class _From(Sampler[int]):
    """first, first + 1, … without end."""

    def __init__(self, first: int) -> None:
        self.first = first

    def __iter__(self) -> Iterator[int]:
        return itertools.count(self.first)
