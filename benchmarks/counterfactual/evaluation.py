"""The evaluation as a whole: figures of a generator over many clips, and a sheet of examples."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from typing import TYPE_CHECKING, Any

from benchmarks.counterfactual import tasks
from benchmarks.counterfactual.measure import WITHIN, Measure
from benchmarks.counterfactual.tasks import AS_FAST, DELAYED, STOPPED, SWAPPED, TRUE, VARIANTS, ClipAt
from motionstream.evaluate.baselines import Generate, generated, warp
from motionstream.evaluate.harness import Item, Results, mean, measure, ratio, stamp, table, total
from motionstream.evaluate.pictures.sheets import Example

if TYPE_CHECKING:
    import pandas as pd


def evaluate_counterfactual(
    generate: Generate,
    clip_at: ClipAt,
    count: int,
    control: str = "object",
    seed: int = 0,
    release: Generate | None = None,
    results: Results | None = None,
    over: Callable[[Iterable[int]], Iterable[int]] = lambda numbers: numbers,
) -> dict[str, Any]:
    """Measure a generator on the clips 0 … count − 1, JSON-ready.

    clip_at: the clip of a number, the same whenever it is asked for. release: the generator for tracks that are
    released, where it has a way of its own for them (`release`). over: wraps the numbers, for a progress bar.
    Raises ValueError on an unknown control, a video of another shape than asked for, or when no clip can be used.
    """
    one = Measure(generate, release or generate, clip_at, count, tasks.checked_control(control), seed)
    items = (Item(f"clip {number}", partial(one.clip, number)) for number in over(range(count)))
    rows = {name: row for name, row in measure(items, results or Results()).rows.items() if row is not None}
    if not rows:
        raise ValueError(f"none of {count} clips has an object that moves: use more clips, or the control dense")
    sums = table(rows)
    frames, height, width = next(iter(rows.values()))["shape"].split("x")
    return {
        "clips": len(rows),
        "clips_without_moved_object": count - len(rows),
        "frames": int(frames),
        "size": f"{width}x{height}",
        "seed": seed,
        "control": control,
        "tracker": _counted_on(sums),
        "scores": {name: _score(sums, name, control) for name in ("model", "warp", "still")},
        **stamp(),
    }


def examples(
    generate: Generate, clip_at: ClipAt, count: int, control: str = "object", seed: int = 0, most: int = 2
) -> list[Example]:
    """Every variant of the first clips that can be used, with the tracks given, for `sheets.draw`."""
    usable = [number for number in range(count) if tasks.task_at(clip_at, number, control, seed) is not None]
    shown: list[Example] = []
    for number in usable[:most]:
        task = tasks.task_at(clip_at, number, control, seed)
        assert task is not None
        for name, given in tasks.variants(task, tasks.donor_of(clip_at, number, count, control, seed)).items():
            videos = {
                "model": generated(generate, task.first, given, task.caption, seed),
                "warp": warp(task.first, given),
            }
            shown.append(Example(videos, given, f"{name}: {task.caption}"))
    return shown


def _counted_on(sums: pd.DataFrame) -> dict[str, Any]:
    """How much of the tracks given could be counted on, over all variants and each."""
    kept, places = total(sums, *(f"tracker.{variant}" for variant in VARIANTS))
    return {
        "within_px": WITHIN,
        "kept": int(kept),
        "kept_share": ratio(kept, places),
        "kept_share_by_variant": {variant: mean(sums, f"tracker.{variant}") for variant in VARIANTS},
    }


def _score(sums: pd.DataFrame, name: str, control: str) -> dict[str, Any]:
    """One generator: the headline over mirrored and turned, then every variant, and sensitivity."""
    sensitivity = {
        "occluded": {"in_place_while_hidden_share": "hidden", "in_place_when_back_share": "back"},
        "released": {"stayed_where_left_share": "stayed", "went_home_share": "home"},
        "pinned": {"pins_moved_px": "pins", "same_unpinned_moved_px": "free", "dragged_epe_px": "dragged"},
    }
    moving = (TRUE, *AS_FAST, DELAYED, SWAPPED)
    return {
        **_against(sums, name, *AS_FAST),
        "variants": {one: {**_against(sums, name, one), **_leakage(sums, name, one)} for one in VARIANTS},
        **({} if control == "dense" else {"leakage": _leakage(sums, name, *moving)}),
        "sensitivity": {
            kind: {figure: mean(sums, f"{name}.{kind}.{part}") for figure, part in parts.items()}
            for kind, parts in sensitivity.items()
        },
    }


def _against(sums: pd.DataFrame, name: str, *some: str) -> dict[str, Any]:
    """Distances to given and not given tracks over some variants: where the tracker can be trusted, then everywhere."""
    figures: dict[str, Any] = {}
    for places in ("", "_all"):
        given, other = (
            mean(sums, *(f"{name}.{variant}.{which}{places}" for variant in some)) for which in ("given", "not_given")
        )
        figures |= {f"epe_given{places}_px": given, f"epe_not_given{places}_px": other}
        if some != (STOPPED,):  # to stand still when nothing is to move is no feat: no ratio
            figures[f"control_ratio{places}"] = ratio(other, given)
    counted, everywhere = (total(sums, *(f"{name}.{one}.given{places}" for one in some))[1] for places in ("", "_all"))
    return {**figures, "counted": counted, "counted_share": ratio(counted, everywhere)}


def _leakage(sums: pd.DataFrame, name: str, *some: str) -> dict[str, Any]:
    leaked = mean(sums, *(f"{name}.{variant}.leaked" for variant in some))
    travel = mean(sums, *(f"{variant}.travel" for variant in some))
    return {"leakage_px": leaked, "leakage_share": ratio(leaked, travel)}
