"""`motionstream evaluate motion`: does a model follow tracks, on synthetic worlds or real clips."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from motionstream import console
from motionstream.cli import options

WORLDS, WORLDS_FOR_TRACKER = 16, 4  # by default, and beside real clips for the tracker's own error
WORLD_FRAMES, REAL_FRAMES = 45, 49


def evaluate_motion_command(
    model: options.Model = "tiny",
    data: Annotated[str, typer.Option("--data", "-d", help="worlds, or a folder of real clips.")] = "worlds",
    names: Annotated[Path | None, typer.Option(help="Only the folder's clips named in this file, one a line.")] = None,
    spread: Annotated[
        bool, typer.Option("--spread", help="Even steps from a clip's first to its last frame; else its first frames.")
    ] = False,
    fps: Annotated[float | None, typer.Option(help="Frames a second to take of videos; else all.", min=1)] = None,
    assets: Annotated[Path | None, typer.Option(help="Pictures to make worlds of: cutouts/ and backgrounds/.")] = None,
    device: options.Device = "auto",
    clips: Annotated[int | None, typer.Option(help="At most so many; 16 worlds, or all of a folder.", min=1)] = None,
    frames: Annotated[
        int | None, typer.Option(help="The most of a clip, 1 + 4·n; 45 of worlds, 49 of real clips.", min=5, max=241)
    ] = None,
    split: options.HeldOut = "heldout",
    variety: options.Variety = 0.0,
    controls: Annotated[
        str | None, typer.Option(help="Of dense, 1, 5, 20, 100 points and object, with commas; all by default.")
    ] = None,
    grid: Annotated[str, typer.Option(metavar="COLSxROWS", help="Points tracked in real clips.")] = "50x50",
    tracker: options.Tracker = "lucas-kanade",
    tracker_path: options.TrackerPath = None,
    download: options.Download = False,
    seed: options.Seed = 0,
    resume_file: options.ResumeFile = None,
    sheet: Annotated[Path | None, typer.Option(help="Also draw true, model and warp side by side, .png.")] = None,
    worst: Annotated[int, typer.Option(help="Draw so many clips of the largest error, not the first.", min=0)] = 0,
    videos: Annotated[Path | None, typer.Option(help="A folder for videos: true, model and warp side by side.")] = None,
    lpips: options.LpipsWeights = None,
    json_out: options.JsonOut = None,
) -> None:
    """Measure whether a model follows tracks, beside a still picture and a warp of the first frame.

    [bold]motionstream evaluate motion --assets pictures --clips 16 --json motion.json --sheet motion.png[/]

    [bold]motionstream evaluate motion -d clips --controls dense,5 --worst 4 --sheet worst.png --videos side[/]

    Real clips are folders of numbered frames or video files. The paper's protocols: DAVIS with -d JPEGImages/480p
    --names ImageSets/2017/val.txt --spread; videos of Sora with --fps 16 --frames 81. With --assets the tracker's own
    error is measured beside them.
    """
    from motionstream.data.assets import AssetLibrary
    from motionstream.evaluate import motion
    from motionstream.evaluate.baselines import by_model
    from motionstream.evaluate.clip_folders import Reading, find, names_in
    from motionstream.evaluate.clips import Skipped
    from motionstream.evaluate.clips import worlds as synthetic_worlds
    from motionstream.evaluate.controls import CONTROLS, OBJECT, checked
    from motionstream.evaluate.harness import Results
    from motionstream.evaluate.pictures.sheets import Pictures

    exact = data == "worlds"
    if exact and assets is None:
        raise ValueError("worlds are made of pictures: name a folder of them with --assets, or real clips with --data")
    library = AssetLibrary(assets, split=split) if assets else None
    perceptual = options.load_lpips(lpips)
    usual = [name for name in CONTROLS if exact or name != OBJECT]
    chosen = checked(options.parts_of(controls) if controls else usual)
    columns_rows = options.grid_of(grid)
    opened = options.open_tracker(tracker, tracker_path, download, device)
    loaded = options.load_model(model, device)

    length = frames if exact and frames else WORLD_FRAMES
    number = (clips or WORLDS) if exact else WORLDS_FOR_TRACKER
    worlds = synthetic_worlds(library, loaded.size, length, seed, number, variety) if library else []
    if exact:
        found, left_out = worlds, list[Skipped]()
    else:
        least = loaded.geometry.frames(loaded.rollout_config.chunk)
        how = Reading(loaded.geometry, frames or REAL_FRAMES, spread, fps, least, columns_rows, opened.track)
        found, left_out = find(Path(data), how, names_in(names) if names else None)
    sources = found[:clips]

    head = {**options.weights_of(model, loaded), "data": Path(data).name, "tracker_name": tracker}
    head |= ({"split": split} if library else {}) | ({"variety": variety} if variety else {})
    head |= ({"spread": True} if spread else {}) | ({"fps": fps} if fps else {})
    settings = {"evaluation": "motion", **head, "tracker_hash": opened.hash, "folder": data, "assets": str(assets)}
    settings |= {"names": str(names), "frames": frames, "grid": columns_rows, "seed": seed, "lpips": str(lpips)}
    generate, results = by_model(loaded), Results(resume_file, settings)
    with console.progress("clips × controls", len(sources) * len(chosen)) as bar:
        figures = motion.evaluate_motion(
            generate, sources, seed, chosen, perceptual, results, opened.track, worlds, bar.over
        )

    first = [source.name for source in sources][: motion.EXAMPLES]
    pictures = Pictures(sheet, motion.worst(figures, worst, chosen[0]) if worst else first, videos)
    needed = pictures.needed(sources)
    with console.progress("pictures", len(needed)) as bar:
        pictures.take(motion.examples(generate, bar.over(needed), seed, chosen[0]), loaded.fps)
    figures["skipped"] = [{"name": each.name, "reason": each.reason} for each in left_out] + figures["skipped"]
    report = {**head, **figures}
    lists = {name: len(value) for name, value in report.items() if name in ("per_clip", "skipped")}
    console.report(f"{model}, motion", {**report, **lists}, None)
    console.write_json(report, json_out)
