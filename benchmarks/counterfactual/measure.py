"""All figures of one clip: what a generator made of every variant, held against given and not given tracks."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from benchmarks.counterfactual.found import WITHIN, Whole, followable, found_in, same_place
from benchmarks.counterfactual.task import APART, ClipAt, Places, Task, controlled
from benchmarks.counterfactual.variants import (
    STOPPED,
    TRUE,
    donor_of,
    nearest,
    occluded,
    pinned,
    released,
    variants,
)
from motionstream.evaluate.baselines import Generate, still, warp
from motionstream.evaluate.metrics import Mask, Video, after_birth, distance, moving, turned
from motionstream.evaluate.tally import Tally
from motionstream.trackers.lucas_kanade import track
from motionstream.tracks import Tracks

OUTSIDE = 24.0  # pixels from every point given, from which on a movement is leakage


@dataclass(frozen=True)
class Measure:
    """All figures of one clip."""

    generate: Generate
    let_go: Generate
    clip_at: ClipAt
    number: int
    count: int
    control: str
    seed: int

    def clip(self) -> dict[str, Any] | None:
        """JSON-ready; None where the clip has no object that moves."""
        clip = self.clip_at(self.number)
        task = controlled(clip, self.control, np.random.default_rng([self.seed, self.number]))
        if task is None:
            return None
        tally = Tally()
        donor = donor_of(self.clip_at, self.number, self.count, self.control, self.seed)
        steady = task.resting[followable(task.first, task.resting)] if len(task.resting) else task.resting
        for name, given in variants(task, donor).items():
            whole = Whole.of(self._videos(self.generate, task, given), given, steady)
            self._variant(tally, name, task, given, steady, whole)
            if name == TRUE:
                self._occluded(tally, task, whole)
                self._released(tally, task, whole.trusted)
                self._pinned(tally, task, whole, steady)
        return {"shape": list(clip.video.shape[:3]), "means": tally.written()}

    def _videos(self, generate: Generate, task: Task, given: Tracks) -> dict[str, Video]:
        """What every generator makes of these tracks."""
        return {
            "model": made(generate, task, given, self.seed),
            "warp": warp(task.first, given),
            "still": still(task.first, given),
        }

    def _variant(
        self,
        tally: Tally,
        variant: str,
        task: Task,
        given: Tracks,
        steady: Places,
        whole: Whole,
    ) -> None:
        other = turned(task.true) if variant == TRUE else task.true
        moves = moving(task.true if variant == STOPPED else given, APART)
        shown = after_birth(given)
        wanted = shown & moves & (distance(given, other) >= APART)
        counted = wanted & whole.trusted
        travel = np.linalg.norm(given.xy - given.xy[:1], axis=-1)[shown]
        outside = nearest(steady, given) >= OUTSIDE
        tally.add(f"tracker.{variant}", whole.trusted[shown])
        tally.add(f"{variant}.travel", travel)
        for name, everything in whole.found.items():
            points = everything.select(np.arange(given.points))
            tally.add(f"{name}.{variant}.given", distance(given, points)[counted])
            tally.add(f"{name}.{variant}.not_given", distance(other, points)[counted])
            tally.add(f"{name}.{variant}.given_all", distance(given, points)[wanted])
            tally.add(f"{name}.{variant}.not_given_all", distance(other, points)[wanted])
            leaked = np.linalg.norm(everything.xy[1:, given.points :] - steady, axis=-1)[:, outside]
            tally.add(f"{name}.{variant}.leaked", leaked)

    def _occluded(self, tally: Tally, task: Task, whole: Whole) -> None:
        """Is what should be there there, by comparison with the same frames of the clip without a gap?"""
        given, gap = occluded(task.true)
        moves = whole.trusted & moving(task.true, APART)
        for name, video in self._videos(self.generate, task, given).items():
            there = distance(task.true, whole.found[name].select(np.arange(given.points))) <= APART
            for when, frames in (("hidden", range(gap.start, gap.stop)), ("back", range(gap.stop, given.frames))):
                for frame in frames:
                    counted = np.flatnonzero(moves[frame])
                    places = given.xy[frame, counted]
                    again = same_place(whole.videos[name][frame], video[frame], places)
                    tally.add(f"{name}.occluded.{when}", again & there[frame, counted])

    def _released(self, tally: Tally, task: Task, trusted: Mask) -> None:
        """Is what was moved still where it was left, or back where it came from?"""
        given, last = released(task.true)
        moved = np.flatnonzero(trusted[last] & moving(task.true, APART)[last])
        left, home = given.xy[last, moved], given.xy[0, moved]
        for name, video in self._videos(self.let_go, task, given).items():
            held = np.linalg.norm(track(video[: last + 1], home).xy[last] - left, axis=-1) <= APART
            for frame in range(last + 1, given.frames):
                tally.add(f"{name}.released.stayed", held & same_place(video[last], video[frame], left))
                tally.add(f"{name}.released.home", same_place(video[0], video[frame], home))

    def _pinned(self, tally: Tally, task: Task, free: Whole, steady: Places) -> None:
        given = pinned(replace(task, resting=steady))
        if given is None:
            return
        own = np.arange(task.true.points)
        pins = np.arange(len(own), given.points)
        which = [int(np.linalg.norm(steady - place, axis=-1).argmin()) for place in given.xy[0, pins]]
        unpinned = len(own) + np.array(which)
        found = found_in(self._videos(self.generate, task, given), given.xy[0])
        close = distance(task.true, found["warp"].select(own)) <= WITHIN
        counted = after_birth(task.true) & close & moving(task.true, APART)
        for name, points in found.items():
            tally.add(f"{name}.pinned.pins", distance(given, points)[1:, pins])
            unheld = free.found[name].xy[:, unpinned]
            tally.add(f"{name}.pinned.free", np.linalg.norm(unheld[1:] - unheld[:1], axis=-1))
            tally.add(f"{name}.pinned.dragged", distance(task.true, points.select(own))[counted])


def made(generate: Generate, task: Task, given: Tracks, seed: int) -> Video:
    """(F, H, W, 3) what a generator makes of these tracks. Raises ValueError where it sends something else."""
    video = generate(task.first, given, task.caption, seed)
    shape = (given.frames, *task.first.shape)
    if video.shape != shape or video.dtype != np.uint8:
        raise ValueError(f"generated {video.dtype} of shape {video.shape}: send uint8 of shape {shape}")
    return video
