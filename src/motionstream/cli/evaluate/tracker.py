"""`motionstream evaluate tracker`: a point tracker's own error, on exact tracks."""

from __future__ import annotations

from typing import Annotated

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


def evaluate_tracker_command(
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

    [bold]motionstream evaluate tracker --assets pictures --clips 16 --json tracker.json[/]

    [bold]motionstream evaluate tracker --assets pictures --tracker tapir --tracker-path tapir.pt --journal t.jsonl[/]

    Every distance that a tracker measures on a generated video is to be read beside this one (docs/trackers.md).
    """
    from motionstream.data.assets import AssetLibrary
    from motionstream.data.synthetic import SyntheticWorlds
    from motionstream.evaluate.journal import Journal
    from motionstream.evaluate.tracker import own_error

    library = AssetLibrary(assets, split=split)
    worlds = SyntheticWorlds(library, size=size_of(size), frames=frames, seed=seed, points=points)
    opened = open_tracker(tracker, tracker_path, download, device)
    settings = {**weights_of(tracker, opened), "split": split, "seed": seed}
    key = {"evaluation": "tracker", **settings, "size": size_of(size), "frames": frames, "points": points}
    with console.progress("worlds", clips) as bar:
        figures = own_error(opened, worlds.sample, bar.over(range(clips)), Journal(journal, key))
    console.report(f"{tracker}, own error", {**settings, **figures}, json_out)
