"""A tracker's own error: followed points of synthetic worlds against their exact tracks.

Every figure that a tracker measures on a generated video stands on it, so it is reported beside them. Points are
followed from where and when they are first visible; what counts are the later frames. Distances are pixels of the
frame over places where the point is truly visible, whether the tracker finds it visible or not. Beside them stand the
figures of TAP-Vid (Doersch et al., NeurIPS 2022, queried first): at the scale of a 256 × 256 frame, a mean over clips.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Annotated, Any

import numpy as np
import numpy.typing as npt
import typer

from motionstream import console
from motionstream.cli import options
from motionstream.data.assets import AssetLibrary
from motionstream.data.synthetic import Clip, SyntheticWorlds
from motionstream.evaluate.harness import Item, Results, Row, means, measure, stamp, table, total
from motionstream.evaluate.metrics import Floats, Mask, after_birth, births, distance
from motionstream.trackers.registry import PointTracker
from motionstream.tracks import Tracks

WITHIN = (1, 2, 4, 8)  # pixels of the frame
SPEEDS = {
    "0-0.5_px_a_frame": (0.0, 0.5),
    "0.5-2_px_a_frame": (0.5, 2.0),
    "2-4_px_a_frame": (2.0, 4.0),
    "4-8_px_a_frame": (4.0, 8.0),
    "from_8_px_a_frame": (8.0, np.inf),
}
"""Pixels that a point truly moves into a frame: from, to."""
THRESHOLDS = (1, 2, 4, 8, 16)  # pixels of a frame of SCALE × SCALE
SCALE = 256
EDGES = np.concatenate([[0.0], np.geomspace(1e-3, 1e4, 1613), [np.inf]])  # of errors, 1 % apart: for the median


def own_error(
    tracker: PointTracker, sample: Callable[[int], Clip], clips: Iterable[int], results: Results | None = None
) -> dict[str, Any]:
    """Measure a tracker on the clips of these numbers, JSON-ready.

    sample: makes a clip by number; not called for one that the results have. Raises ValueError without clips, or
    when none has a place that could be measured.
    """

    def measured(number: int) -> Row:
        return measure_clip(tracker, sample(number))

    rows = measure((Item(f"clip {n}", partial(measured, n)) for n in clips), results or Results()).rows
    if not any(row["epe_px"][1] for row in rows.values()):
        raise ValueError("no clip with a visible point after its first frame: measure on at least one")
    return {**summary(rows), **stamp()}


def measure_clip(tracker: PointTracker, clip: Clip) -> dict[str, Any]:
    """One clip's sums, and a histogram of the errors. See `summary` for what becomes of them."""
    given = clip.tracks.select(clip.tracks.visible.any(0))
    begun = time.perf_counter()
    found = tracker.track(clip.video, given.xy[births(given), np.arange(given.points)], births(given))
    milliseconds = 1000 * (time.perf_counter() - begun)
    seen = after_birth(given)
    apart, speed = distance(given, found)[seen], _speed(given)[seen]
    near, size = apart <= WITHIN[0], clip.video.shape[2:0:-1]
    moved = {name: (speed >= low) & (speed < high) for name, (low, high) in SPEEDS.items()}
    return {
        "size": "{}x{}".format(*size),
        "frames": given.frames,
        "points": given.points,
        "epe_px": [float(apart.sum()), apart.size],
        **{f"within_{limit}px": [int((apart <= limit).sum()), apart.size] for limit in WITHIN},
        "by_speed": [
            {
                "share": [int(here.sum()), apart.size],
                "epe_px": [float(apart[here].sum()), int(here.sum())],
                "within_1px": [int(near[here].sum()), int(here.sum())],
            }
            for here in moved.values()
        ],
        "tap_vid_256": tap_vid(given, found, size),
        "frame_ms": [milliseconds, given.frames],
        "histogram": np.histogram(apart, EDGES)[0].tolist(),
    }


def tap_vid(given: Tracks, found: Tracks, size: tuple[int, int]) -> dict[str, float] | None:
    """TAP-Vid's three figures of one clip of (W, H) pixels, each point queried where it is first visible.

    occlusion_accuracy: share of later places where the tracker is right about visible or not. delta_avg: share of
    visible places within 1, 2, 4, 8 and 16 pixels, averaged. average_jaccard: true positives over true positives,
    false positives and false negatives, where a positive is found visible and near enough; averaged likewise.
    None where nothing is visible after its query.
    """
    queried = births(given)
    later = (np.arange(given.frames)[:, None] > queried) & given.visible.any(0)
    true, found_visible = given.visible & later, found.visible & later
    if not true.any():
        return None
    apart = np.linalg.norm((given.xy.astype(np.float64) - found.xy) * (SCALE / np.array(size)), axis=-1)
    near = [apart < limit for limit in THRESHOLDS]
    return {
        "occlusion_accuracy": float((given.visible == found.visible)[later].mean()),
        "delta_avg": float(np.mean([close[true].mean() for close in near])),
        "average_jaccard": float(np.mean([_jaccard(true, found_visible, close) for close in near])),
    }


def _jaccard(true: Mask, found: Mask, close: Mask) -> float:
    hits = int((true & found & close).sum())
    false = int((found & ~(true & close)).sum())
    return hits / (int(true.sum()) + false)


def _speed(given: Tracks) -> Floats:
    """(T, N) pixels that a point moves into this frame; 0 in the first."""
    moved = np.linalg.norm(np.diff(given.xy.astype(np.float64), axis=0, prepend=given.xy[:1]), axis=-1)
    return np.asarray(moved, np.float64)


def summary(rows: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Figures of several clips: means over all places, TAP-Vid's over clips, the median to 1 %."""
    apart = ("by_speed", "histogram")
    sums = table({name: {key: value for key, value in row.items() if key not in apart} for name, row in rows.items()})
    first, figures = next(iter(rows.values())), means(sums)
    by_speed = {
        name: means(table({clip: row["by_speed"][number] for clip, row in rows.items()}))
        for number, name in enumerate(SPEEDS)
    }
    return {
        "clips": len(rows),
        "frames": first["frames"],
        "size": first["size"],
        "points": int(total(sums, "points")[0]),
        "places": total(sums, "epe_px")[1],
        "epe_px": figures["epe_px"],
        "epe_median_px": _median(np.sum([row["histogram"] for row in rows.values()], axis=0)),
        **{f"within_{limit}px": figures[f"within_{limit}px"] for limit in WITHIN},
        "by_speed": {name: one for name, one in by_speed.items() if one["share"]},
        "tap_vid_256": figures["tap_vid_256"],
        "frame_ms": figures["frame_ms"],
    }


def _median(counts: npt.NDArray[np.int64]) -> float:
    """The middle of counted errors, in pixels: the upper edge of the bin that it is in."""
    middle = int(np.searchsorted(np.cumsum(counts), counts.sum() / 2))
    return float(EDGES[min(middle + 1, len(EDGES) - 2)])


def tracker_command(
    assets: options.Assets,
    tracker: options.Tracker = "lucas-kanade",
    tracker_path: options.TrackerPath = None,
    download: options.Download = False,
    device: options.Device = "auto",
    clips: Annotated[int, typer.Option(help="Held-out worlds.", min=1)] = 16,
    frames: Annotated[int, typer.Option(help="1 + 4·n.", min=5, max=241)] = 45,
    size: options.Size = "256x144",
    points: Annotated[int, typer.Option(help="Tracks in each world.", min=16)] = 400,
    split: options.HeldOut = "heldout",
    seed: options.Seed = 0,
    resume_file: options.ResumeFile = None,
    json_out: options.JsonOut = None,
) -> None:
    """Measure a point tracker's own error on synthetic worlds, whose tracks are exact.

    [bold]python -m benchmarks tracker --assets pictures --clips 16 --json tracker.json[/]

    [bold]python -m benchmarks tracker --assets pictures --tracker tapir --tracker-path tapir.pt[/]

    Every distance that a tracker measures on a generated video is to be read beside this one (docs/trackers.md).
    """
    library = AssetLibrary(assets, split=split)
    worlds = SyntheticWorlds(library, size=options.size_of(size), frames=frames, seed=seed, points=points)
    opened = options.open_tracker(tracker, tracker_path, download, device)
    settings = {**options.weights_of(tracker, opened), "split": split, "seed": seed}
    key = {"evaluation": "tracker", **settings, "size": options.size_of(size), "frames": frames, "points": points}
    with console.progress("worlds", clips) as bar:
        figures = own_error(opened, worlds.sample, bar.over(range(clips)), Results(resume_file, key))
    console.report(f"{tracker}, own error", {**settings, **figures}, json_out)
