"""A tracker's own error: followed points of synthetic worlds against their exact tracks.

Every figure that a tracker measures on a generated video stands on it, so it is reported beside them. Points are
followed from where and when they are first visible; what counts are the later frames. Distances are pixels of the
frame over places where the point is truly visible, whether the tracker says so or not. Beside them stand the figures
of TAP-Vid (Doersch et al., NeurIPS 2022, queried first): at the scale of a 256 × 256 frame, a mean over clips.

What is kept of a clip (`measure`) are counts that add up, so that a journal can go on where it was cut.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from itertools import pairwise
from typing import Annotated, Any, Protocol

import numpy as np
import numpy.typing as npt
import typer

from motionstream import console
from motionstream.cli.options import (
    Assets,
    Device,
    Download,
    EvaluationJournal,
    HeldOut,
    JsonOut,
    Seed,
    Size,
    Tracker,
    TrackerPath,
    open_tracker,
    size_of,
    weights_of,
)
from motionstream.data.assets import AssetLibrary
from motionstream.data.synthetic import SyntheticWorlds
from motionstream.evaluate import machine
from motionstream.evaluate.journal import Journal
from motionstream.evaluate.metrics import Floats, Mask, Video, after_birth, births, distance
from motionstream.trackers.registry import PointTracker
from motionstream.tracks import Tracks

WITHIN = (1, 2, 4, 8)  # pixels of the frame
SPEEDS = (0.0, 0.5, 2.0, 4.0, 8.0, np.inf)  # pixels a frame that a point truly moves
THRESHOLDS = (1, 2, 4, 8, 16)  # pixels of a frame of SCALE × SCALE
SCALE = 256
EDGES = np.concatenate([[0.0], np.geomspace(1e-3, 1e4, 1613), [np.inf]])  # of errors, 1 % apart: for the median

Record = dict[str, Any]


class TrueClip(Protocol):
    """A (F, H, W, 3) uint8 video whose tracks are exact, such as data's `Clip`."""

    @property
    def video(self) -> Video: ...
    @property
    def tracks(self) -> Tracks: ...


def own_error(
    tracker: PointTracker, sample: Callable[[int], TrueClip], clips: Iterable[int], journal: Journal | None = None
) -> dict[str, Any]:
    """Measure a tracker on the clips of these numbers, JSON-ready.

    sample: makes a clip by number; not called for one that the journal has. Raises ValueError without clips, or
    when none has a place that could be measured.
    """
    kept = journal or Journal(None, {})
    records = [kept.measured(f"clip {number}", partial(_measured, tracker, sample, number)) for number in clips]
    if not records or not sum(record["places"] for record in records):
        raise ValueError("no clip with a visible point after its first frame: measure on at least one")
    return {**summary(records), "machine": machine.describe(), "date": machine.today()}


def _measured(tracker: PointTracker, sample: Callable[[int], TrueClip], number: int) -> Record:
    return measure(tracker, sample(number))


def measure(tracker: PointTracker, clip: TrueClip) -> Record:
    """One clip's counts and sums, JSON values. See `summary` for what becomes of them."""
    given = clip.tracks.select(clip.tracks.visible.any(0))
    begun = time.perf_counter()
    found = tracker.track(clip.video, given.xy[births(given), np.arange(given.points)], births(given))
    seconds = time.perf_counter() - begun
    seen = after_birth(given)
    apart, speed = distance(given, found)[seen], _speed(given)[seen]
    height, width = clip.video.shape[1:3]
    return {
        "frames": given.frames,
        "size": [width, height],
        "points": given.points,
        "places": apart.size,
        "total_px": float(apart.sum()),
        "within": [int((apart <= limit).sum()) for limit in WITHIN],
        "histogram": np.histogram(apart, EDGES)[0].tolist(),
        "speeds": [
            [int(here.sum()), float(apart[here].sum()), int((apart[here] <= WITHIN[0]).sum())]
            for here in ((speed >= low) & (speed < high) for low, high in pairwise(SPEEDS))
        ],
        "tap_vid": tap_vid(given, found, (width, height)),
        "seconds": seconds,
    }


def tap_vid(given: Tracks, found: Tracks, size: tuple[int, int]) -> dict[str, float] | None:
    """TAP-Vid's three figures of one clip of (W, H) pixels, each point queried where it is first visible.

    occlusion_accuracy: share of later places where the tracker is right about visible or not. delta_avg: share of
    visible places within 1, 2, 4, 8 and 16 pixels, averaged. average_jaccard: true positives over true positives,
    false positives and false negatives, where a positive is said to be visible and is near enough; averaged likewise.
    None where nothing is visible after its query.
    """
    queried = births(given)
    later = (np.arange(given.frames)[:, None] > queried) & given.visible.any(0)
    true, said = given.visible & later, found.visible & later
    if not true.any():
        return None
    apart = np.linalg.norm((given.xy.astype(np.float64) - found.xy) * (SCALE / np.array(size)), axis=-1)
    near = [apart < limit for limit in THRESHOLDS]
    return {
        "occlusion_accuracy": float((given.visible == found.visible)[later].mean()),
        "delta_avg": float(np.mean([close[true].mean() for close in near])),
        "average_jaccard": float(np.mean([_jaccard(true, said, close) for close in near])),
    }


def _jaccard(true: Mask, said: Mask, close: Mask) -> float:
    hits = int((true & said & close).sum())
    false = int((said & ~(true & close)).sum())
    return hits / (int(true.sum()) + false)


def _speed(given: Tracks) -> Floats:
    """(T, N) pixels that a point moves into this frame; 0 in the first."""
    moved = np.linalg.norm(np.diff(given.xy.astype(np.float64), axis=0, prepend=given.xy[:1]), axis=-1)
    return np.asarray(moved, np.float64)


def summary(records: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Figures of several clips: means over all places, TAP-Vid's over clips, the median to 1 %."""
    places = sum(record["places"] for record in records)
    within = np.sum([record["within"] for record in records], axis=0)
    frames = sum(record["frames"] for record in records)
    width, height = records[0]["size"]
    return {
        "clips": len(records),
        "frames": records[0]["frames"],
        "size": f"{width}x{height}",
        "points": sum(record["points"] for record in records),
        "places": places,
        "epe_px": sum(record["total_px"] for record in records) / places,
        "epe_median_px": _median(np.sum([record["histogram"] for record in records], axis=0)),
        **{f"within_{limit}px": float(count / places) for limit, count in zip(WITHIN, within, strict=True)},
        "by_speed": _by_speed(np.sum([record["speeds"] for record in records], axis=0), places),
        "tap_vid_256": _mean_tap_vid(records),
        "frame_ms": 1000 * sum(record["seconds"] for record in records) / frames,
    }


def _median(counts: npt.NDArray[np.int64]) -> float:
    """The middle of counted errors, in pixels: the upper edge of the bin that it is in."""
    middle = int(np.searchsorted(np.cumsum(counts), counts.sum() / 2))
    return float(EDGES[min(middle + 1, len(EDGES) - 2)])


def _by_speed(sums: npt.NDArray[np.float64], places: int) -> dict[str, Any]:
    """sums: (bins, 3) of places, pixels of error, places within a pixel. Empty bins are left out."""
    return {
        f"{low:g}-{high:g}_px_a_frame" if np.isfinite(high) else f"from_{low:g}_px_a_frame": {
            "share": float(count / places),
            "epe_px": float(total / count),
            "within_1px": float(near / count),
        }
        for (low, high), (count, total, near) in zip(pairwise(SPEEDS), sums, strict=True)
        if count
    }


def _mean_tap_vid(records: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    measured = [record["tap_vid"] for record in records if record["tap_vid"] is not None]
    return {name: float(np.mean([figures[name] for figures in measured])) for name in measured[0]}


def tracker_command(
    assets: Assets,
    tracker: Tracker = "lucas-kanade",
    tracker_path: TrackerPath = None,
    download: Download = False,
    device: Device = "auto",
    clips: Annotated[int, typer.Option(help="Held-out worlds.", min=1)] = 16,
    frames: Annotated[int, typer.Option(help="1 + 4·n.", min=5, max=241)] = 45,
    size: Size = "256x144",
    points: Annotated[int, typer.Option(help="Tracks in each world.", min=16)] = 400,
    split: HeldOut = "heldout",
    seed: Seed = 0,
    journal: EvaluationJournal = None,
    json_out: JsonOut = None,
) -> None:
    """Measure a point tracker's own error on synthetic worlds, whose tracks are exact.

    [bold]python -m benchmarks tracker --assets pictures --clips 16 --json tracker.json[/]

    [bold]python -m benchmarks tracker --assets pictures --tracker tapir --tracker-path tapir.pt --journal t.jsonl[/]

    Every distance that a tracker measures on a generated video is to be read beside this one (docs/trackers.md).
    """
    from benchmarks.tracker import own_error

    library = AssetLibrary(assets, split=split)
    worlds = SyntheticWorlds(library, size=size_of(size), frames=frames, seed=seed, points=points)
    opened = open_tracker(tracker, tracker_path, download, device)
    settings = {**weights_of(tracker, opened), "split": split, "seed": seed}
    key = {"evaluation": "tracker", **settings, "size": size_of(size), "frames": frames, "points": points}
    with console.progress("worlds", clips) as bar:
        figures = own_error(opened, worlds.sample, bar.over(range(clips)), Journal(journal, key))
    console.report(f"{tracker}, own error", {**settings, **figures}, json_out)
