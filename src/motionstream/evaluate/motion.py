"""Does a model follow its tracks? Motion transfer on clips whose tracks are known (paper, protocol).

A model is given the first frame, the caption and tracks, and its video is scored (`scores.py`). The tracks are those of
the controls (`controls.py`). Beside the model stand two baselines: the repeated first frame, and the first frame warped
by the tracks.

An item is a clip under one control.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

from motionstream.evaluate.baselines import Generate, generated, still, warp
from motionstream.evaluate.clips import Source
from motionstream.evaluate.controls import CONTROLS, DENSE, checked
from motionstream.evaluate.harness import Item, Results, Unusable, mean, means, measure, ratio, stamp, table
from motionstream.evaluate.metrics import Follow
from motionstream.evaluate.pictures.sheets import Example
from motionstream.evaluate.scores import Reference, figures_of, measured_at
from motionstream.lpips import LpipsNetwork
from motionstream.trackers.lucas_kanade import track

STILL = "still"
GENERATORS = ("model", "warp", STILL)
EXAMPLES = 6

Key = tuple[str, str]
"""A control and a clip's name."""


def evaluate_motion(
    generate: Generate,
    sources: Sequence[Source],
    seed: int = 0,
    controls: Iterable[str] = CONTROLS,
    lpips: LpipsNetwork | None = None,
    results: Results | None = None,
    follow: Follow = track,
    tracker_on: Sequence[Source] = (),
    watch: Callable[[Iterable[Item]], Iterable[Item]] = iter,
) -> dict[str, Any]:
    """Measure a generator, JSON-ready.

    sources: each is loaded only when one of its items is not in the results yet. follow: the tracker. tracker_on: clips
    with exact tracks on which its own error is measured when the sources have none. watch: iterates over the items, one
    for each source and control, for a progress bar. Raises ValueError on an unknown control, repeated names, no clip
    that can be used, or a video of another shape than the clip's.
    """
    chosen, results = checked(controls), results or Results()
    if len({source.name for source in sources}) < len(sources):
        raise ValueError("two clips have one name: every source needs its own")
    measured = measure(watch(_items(generate, sources, seed, chosen, lpips, follow)), results)
    skipped, rows, clips = [], {}, {}
    for source in sources:
        for control in chosen:
            if (name := _item_name(source, control)) in measured.rows:
                clips[source.name] = measured.rows[name]["clip"]
                rows[control, source.name] = measured.rows[name]
        names = [_item_name(source, control) for control in chosen]
        reasons = [measured.skipped[name] for name in names if name in measured.skipped]
        skipped += [{"name": source.name, "reason": reason} for reason in reasons[:1]]
        skipped += clips[source.name]["skipped"] if source.name in clips else []
    if not clips:
        why = f" ({skipped[0]['name']}: {skipped[0]['reason']})" if skipped else ""
        raise ValueError(f"no clips: motion is measured on at least one{why}")
    tracker = _tracker(clips.values()) or _tracker(_about(tracker_on, follow, results))
    return {
        **_summary(clips, seed),
        "skipped": skipped,
        "missing": [] if lpips else ["lpips"],
        "tracker": tracker,
        **_by_control(rows, chosen),
        **stamp(),
    }


def _items(
    generate: Generate,
    sources: Iterable[Source],
    seed: int,
    controls: Iterable[str],
    lpips: LpipsNetwork | None,
    follow: Follow,
) -> Iterator[Item]:
    for source in sources:
        reference = Reference(source, follow, lpips)
        for control in controls:
            yield Item(_item_name(source, control), partial(_row, generate, reference, control, seed))


def _item_name(source: Source, control: str) -> str:
    return f"{source.name} {control}"


def _row(generate: Generate, reference: Reference, control: str, seed: int) -> dict[str, Any]:
    """The clip, the number of points given, and each generator's sums; the latter only where there are points."""
    points = reference.points(control, seed)
    row = {"clip": reference.about(), "points": len(points)}
    if len(points) == 0:
        return row
    clip = reference.clip
    given = clip.tracks.select(points)
    for name, one in zip(GENERATORS, (generate, warp, still), strict=True):
        video = generated(one, clip.video[0], given, clip.caption, seed)
        row[name] = reference.score(video, points, is_still=name == STILL)
    return row


def _about(sources: Iterable[Source], follow: Follow, results: Results) -> Iterable[Mapping[str, Any]]:
    items = (Item(f"tracker {source.name}", Reference(source, follow).about) for source in sources)
    return measure(items, results).rows.values()


def _tracker(clips: Iterable[Mapping[str, Any]]) -> dict[str, Any] | None:
    """The tracker's own error over clips with exact tracks; None without such."""
    exact = [clip["tracker"] for clip in clips if "tracker" in clip]
    found = means(table(dict(enumerate(exact))))
    return {"clips": len(exact), **found} if found and None not in found.values() else None


def _summary(clips: Mapping[str, Mapping[str, Any]], seed: int) -> dict[str, Any]:
    lengths = [clip["frames"] for clip in clips.values()]
    size = next(iter(clips.values()))["size"]
    return {
        "clips": len(clips),
        "frames": max(lengths),
        "frames_least": min(lengths),
        "size": "x".join(map(str, size)),
        "metrics_size": "x".join(map(str, measured_at(size))),
        "seed": seed,
    }


def _by_control(rows: Mapping[Key, Mapping[str, Any]], controls: Iterable[str]) -> dict[str, Any]:
    """Figures by control, over the clips that have points of that control, and of each clip."""
    figures: dict[str, Any] = {}
    per_clip = []
    for control in controls:
        used = {key: row for key, row in rows.items() if key[0] == control and row["points"]}
        found = table({key: {name: row[name] for name in ("points", *GENERATORS)} for key, row in used.items()})
        by_generator = {name: figures_of(found, name) for name in GENERATORS}
        still_ratio = ratio(by_generator[STILL]["epe_moving_px"], by_generator["model"]["epe_moving_px"])
        figures[control] = {"clips": len(used), "points": mean(found, "points"), **by_generator}
        figures[control]["still_ratio"] = still_ratio
        for key in used:
            line = found.loc[[key]]
            own = {name: {one: mean(line, f"{name}.{one}") for one in ("epe_px", "psnr_db")} for name in GENERATORS}
            per_clip.append({"name": key[1], "control": control, **own})
    return {**figures, "per_clip": per_clip}


def examples(
    generate: Generate, sources: Iterable[Source], seed: int = 0, control: str = DENSE, follow: Follow = track
) -> Iterator[Example]:
    """True clip, model and warp of each source under one control, as measured; a source without it is left out."""
    for source in sources:
        reference = Reference(source, follow)
        try:
            points = reference.points(control, seed)
        except Unusable:
            continue
        if len(points):
            clip = reference.clip
            given = clip.tracks.select(points)
            makers = {"model": generate, "warp": warp}
            made = {name: generated(one, clip.video[0], given, clip.caption, seed) for name, one in makers.items()}
            yield Example({"true": clip.video, **made}, given, clip.caption, source.name)


def worst(figures: Mapping[str, Any], count: int, control: str) -> list[str]:
    """Names of the clips on which the model's EPE is largest, the worst first."""
    rows = [row for row in figures["per_clip"] if row["control"] == control and row["model"]["epe_px"] is not None]
    ordered = sorted(rows, key=lambda row: (-row["model"]["epe_px"], row["name"]))
    return [str(row["name"]) for row in ordered[:count]]
