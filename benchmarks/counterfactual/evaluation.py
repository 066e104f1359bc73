"""The evaluation as a whole: figures of a generator over many clips, and a sheet of examples."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from benchmarks.counterfactual.measure import Measure, made
from benchmarks.counterfactual.scores import counted_on, score_of
from benchmarks.counterfactual.task import ClipAt, checked_control, controlled
from benchmarks.counterfactual.variants import donor_of, variants
from motionstream.evaluate import machine
from motionstream.evaluate.baselines import Generate, warp
from motionstream.evaluate.journal import Journal
from motionstream.evaluate.motion import Example
from motionstream.evaluate.tally import Tally


def evaluate_counterfactual(
    generate: Generate,
    clip_at: ClipAt,
    count: int,
    control: str = "object",
    seed: int = 0,
    let_go: Generate | None = None,
    journal: Journal | None = None,
    over: Callable[[Iterable[int]], Iterable[int]] = lambda numbers: numbers,
) -> dict[str, Any]:
    """Measure a generator on the clips 0 … count − 1, JSON-ready.

    clip_at: the clip of a number, the same whenever it is asked for. let_go: the generator for tracks that are
    released, where it has a way of its own to say so (`letting_go`). over: wraps the numbers, for a progress bar.
    Raises ValueError on an unknown control, a video of another shape than asked for, or when no clip can be used.
    """
    checked_control(control)
    journal = journal or Journal(None, {})
    tally, used, shape = Tally(), 0, (0, 0, 0)
    for number in over(range(count)):
        measure = Measure(generate, let_go or generate, clip_at, number, count, control, seed)
        figures = journal.measured(f"clip {number}", measure.clip)
        if figures is not None:
            used, shape = used + 1, figures["shape"]
            tally.take(figures["means"])
    if not used:
        raise ValueError(f"none of {count} clips has an object that moves: use more clips, or the control dense")
    return {
        "clips": used,
        "clips_without_moved_object": count - used,
        "frames": shape[0],
        "size": f"{shape[2]}x{shape[1]}",
        "seed": seed,
        "control": control,
        "tracker": counted_on(tally),
        "scores": {name: score_of(tally, name, control) for name in ("model", "warp", "still")},
        "machine": machine.describe(),
        "date": machine.today(),
    }


def examples(
    generate: Generate, clip_at: ClipAt, count: int, control: str = "object", seed: int = 0, most: int = 2
) -> list[Example]:
    """Every variant of the first clips that can be used, with the tracks given, for `sheets.draw`."""
    shown: list[Example] = []
    for number in range(count):
        task = controlled(clip_at(number), control, np.random.default_rng([seed, number]))
        if task is None:
            continue
        for name, given in variants(task, donor_of(clip_at, number, count, control, seed)).items():
            videos = {"model": made(generate, task, given, seed), "warp": warp(task.first, given)}
            shown.append(Example(videos, given, f"{name}: {task.caption}"))
        most -= 1
        if most == 0:
            break
    return shown
