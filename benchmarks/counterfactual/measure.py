"""All figures of one clip: what a generator made of every variant, held against given and not given tracks.

The videos are those of the model, of the warped first frame and of standing still; where points went in them is found
by the tracker, and counts where the tracker can be trusted.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from benchmarks.counterfactual import tasks
from benchmarks.counterfactual.tasks import STOPPED, TRUE, ClipAt, Places, Task
from motionstream.evaluate.baselines import Generate, generated, still, warp
from motionstream.evaluate.controls import MOVED
from motionstream.evaluate.harness import Sums
from motionstream.evaluate.metrics import Mask, Video, after_birth, distance, moving, turned
from motionstream.trackers.lucas_kanade import track
from motionstream.tracks import Tracks

WITHIN = 1.5  # pixels that the tracker may be off on the warped first frame
OUTSIDE = 24.0  # pixels from every point given, from which on a movement is leakage


@dataclass(frozen=True)
class Measure:
    """All figures of the clip of a number. release: the generator for tracks that are released."""

    generate: Generate
    release: Generate
    clip_at: ClipAt
    count: int
    control: str
    seed: int

    def clip(self, number: int) -> dict[str, Any] | None:
        """Sums by name, and the video's shape; None where the clip has no object that moves."""
        task = tasks.task_at(self.clip_at, number, self.control, self.seed)
        if task is None:
            return None
        donor = tasks.donor_of(self.clip_at, number, self.count, self.control, self.seed)
        steady = task.resting[followable(task.first, task.resting)] if len(task.resting) else task.resting
        sums = Sums()
        for name, given in tasks.variants(task, donor).items():
            videos = self.videos(self.generate, task, given)
            found = found_in(videos, np.concatenate([given.xy[0], steady]))
            on_warp = found["warp"].select(np.arange(given.points))
            trusted = after_birth(given) & (distance(given, on_warp) <= WITHIN)
            _add_variant(sums, name, task, given, steady, found, trusted)
            if name == TRUE:
                self._add_occluded(sums, task, videos, found, trusted)
                self._add_released(sums, task, trusted)
                self._add_pinned(sums, task, found, steady)
        return {"shape": "x".join(map(str, self.clip_at(number).video.shape[:3])), **sums}

    def videos(self, generate: Generate, task: Task, given: Tracks) -> dict[str, Video]:
        """What every generator makes of these tracks."""
        model = generated(generate, task.first, given, task.caption, self.seed)
        return {"model": model, "warp": warp(task.first, given), "still": still(task.first, given)}

    def _add_occluded(
        self, sums: Sums, task: Task, whole: dict[str, Video], found: dict[str, Tracks], trusted: Mask
    ) -> None:
        """Is what should be there there, by comparison with the same frames of the clip without a gap?"""
        given, gap = tasks.occluded(task.true)
        moves = trusted & moving(task.true, MOVED)
        for name, video in self.videos(self.generate, task, given).items():
            there = distance(task.true, found[name].select(np.arange(given.points))) <= MOVED
            for when, frames in (("hidden", range(gap.start, gap.stop)), ("back", range(gap.stop, given.frames))):
                for frame in frames:
                    counted = np.flatnonzero(moves[frame])
                    again = same_place(whole[name][frame], video[frame], given.xy[frame, counted])
                    sums.add(f"{name}.occluded.{when}", again & there[frame, counted])

    def _add_released(self, sums: Sums, task: Task, trusted: Mask) -> None:
        """Is what was moved still where it was left, or back where it came from?"""
        given, last = tasks.released(task.true)
        moved = np.flatnonzero(trusted[last] & moving(task.true, MOVED)[last])
        left, home = given.xy[last, moved], given.xy[0, moved]
        for name, video in self.videos(self.release, task, given).items():
            held = np.linalg.norm(track(video[: last + 1], home).xy[last] - left, axis=-1) <= MOVED
            for frame in range(last + 1, given.frames):
                sums.add(f"{name}.released.stayed", held & same_place(video[last], video[frame], left))
                sums.add(f"{name}.released.home", same_place(video[0], video[frame], home))

    def _add_pinned(self, sums: Sums, task: Task, unpinned: dict[str, Tracks], steady: Places) -> None:
        """Do pins hold, where the same places moved without them, and does the drag still reach its goal?"""
        given = tasks.pinned(task.true, steady)
        if given is None:
            return
        own = np.arange(task.true.points)
        pins = np.arange(len(own), given.points)
        same = len(own) + np.array([np.linalg.norm(steady - place, axis=-1).argmin() for place in given.xy[0, pins]])
        found = found_in(self.videos(self.generate, task, given), given.xy[0])
        close = distance(task.true, found["warp"].select(own)) <= WITHIN
        counted = after_birth(task.true) & close & moving(task.true, MOVED)
        for name, points in found.items():
            free = unpinned[name].xy[:, same]
            sums.add(f"{name}.pinned.pins", distance(given, points)[1:, pins])
            sums.add(f"{name}.pinned.free", np.linalg.norm(free[1:] - free[:1], axis=-1))
            sums.add(f"{name}.pinned.dragged", distance(task.true, points.select(own))[counted])


def _add_variant(
    sums: Sums, variant: str, task: Task, given: Tracks, steady: Places, found: dict[str, Tracks], trusted: Mask
) -> None:
    """Distances to the tracks given and to those not given, where both differ; and what moved elsewhere."""
    other = turned(task.true) if variant == TRUE else task.true
    moves = moving(task.true if variant == STOPPED else given, MOVED)
    shown = after_birth(given)
    wanted = shown & moves & (distance(given, other) >= MOVED)
    outside = tasks.nearest(steady, given) >= OUTSIDE
    sums.add(f"tracker.{variant}", trusted[shown])
    sums.add(f"{variant}.travel", np.linalg.norm(given.xy - given.xy[:1], axis=-1)[shown])
    for name, everything in found.items():
        points = everything.select(np.arange(given.points))
        for which, tracks in (("given", given), ("not_given", other)):
            apart = distance(tracks, points)
            sums.add(f"{name}.{variant}.{which}", apart[wanted & trusted])
            sums.add(f"{name}.{variant}.{which}_all", apart[wanted])
        leaked = np.linalg.norm(everything.xy[1:, given.points :] - steady, axis=-1)
        sums.add(f"{name}.{variant}.leaked", leaked[:, outside])


def followable(first: Video, places: Places) -> Mask:
    """(M,) where the tracker is within 1.5 px as the whole picture slides by; not so where it shows too little."""
    frames, step, width = 5, 2, first.shape[1]
    wide = np.pad(first, ((0, 0), (step * frames, 0), (0, 0)), "edge")
    sliding = np.stack([wide[:, step * (frames - n) :][:, :width] for n in range(frames)])
    slide = np.arange(frames)[:, None, None] * np.array([step, 0])
    miss = np.linalg.norm(track(sliding, places).xy - places - slide, axis=-1)
    return np.asarray(miss.max(0) <= WITHIN)


def same_place(one: Video, other: Video, places: Places) -> Mask:
    """(N,) whether two frames (H, W, 3) show the same thing at a place, to 4 px. What jumps cannot be followed."""
    if len(places) == 0:
        return np.zeros(0, bool)
    found = track(np.stack([one, other]), places)
    return np.asarray(found.visible[1] & (np.linalg.norm(found.xy[1] - places, axis=-1) <= MOVED))


def found_in(videos: dict[str, Video], queries: Places) -> dict[str, Tracks]:
    """Points (K, 2) of frame 0, found in the videos of every generator."""
    rest = np.repeat(queries[None], len(videos["still"]), 0)
    return {
        "model": track(videos["model"], queries),
        "warp": track(videos["warp"], queries),
        "still": Tracks(rest, np.ones(rest.shape[:2], bool)),  # there is nothing to find
    }
