"""`motionstream track` and `motionstream camera`: files of tracks, of a video or of a camera movement."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from motionstream import console
from motionstream.cli import options

PREVIEWED = 12  # frames of a camera's preview


def track(
    video: Annotated[Path, typer.Option("--video", "-v", help="Video whose motion is tracked.")],
    out: options.TracksOut,
    points: Annotated[
        int | None, typer.Option(help="Points along the longer side; default: 24.", min=1, max=50)
    ] = None,
    grid: Annotated[str | None, typer.Option(metavar="COLSxROWS", help="Instead, columns x rows of points.")] = None,
    frames: Annotated[int | None, typer.Option(help="Only the first so many frames.", min=2)] = None,
    tracker: options.Tracker = "lucas-kanade",
    tracker_path: options.TrackerPath = None,
    download: options.Download = False,
    device: options.Device = "auto",
    preview: Annotated[Path | None, typer.Option(help="Also draw frames with the tracks on them, .png.")] = None,
) -> None:
    """Track a grid of points through a video, so that its motion can be given to another picture.

    [bold]motionstream track -v dance.mp4 -o dance.npz[/]

    [bold]motionstream track -v dance.mp4 -o dance.npz --grid 50x50 --preview dance.png[/]

    [bold]motionstream track -v dance.mp4 -o dance.npz --tracker cotracker3 --tracker-path co-tracker[/]

    [bold]motionstream generate -i statue.jpg -t dance.npz -o statue.mp4[/]

    Trackers, what they need and their licences: docs/trackers.md
    """
    from motionstream.stream.video import read_video, write_sheet
    from motionstream.tracks import grid as grids
    from motionstream.tracks import io
    from motionstream.tracks.preview import drawn

    options.tracks_file(out, preview)
    if points is not None and grid is not None:
        raise ValueError("--points and --grid: name one of the two")
    columns_rows = None if grid is None else options.grid_of(grid)
    video.stat()  # raises for a missing file before a tracker is loaded
    opened = options.open_tracker(tracker, tracker_path, download, device)
    pixels, _ = read_video(video, frames)
    size = (pixels.shape[2], pixels.shape[1])
    queries = grids.even_grid(size, points or 24) if columns_rows is None else grids.grid(size, *columns_rows)
    with console.progress("frames", len(pixels)) as bar:
        result = opened.track(pixels, queries, over=bar.over)
    io.save(out, result, size)
    if preview is not None:
        write_sheet(preview, drawn(pixels, result))
    seen = 100 * float(result.visible.mean())
    typer.echo(f"{out}: {result.points} points over {result.frames} frames, visible {seen:.0f} % of the time")


def camera(
    image: options.Picture,
    out: options.TracksOut,
    path: Annotated[
        str,
        typer.Option(help="Movement: orbit, dolly, truck, crane, pan, tilt, roll, zoom, or a .json file of poses."),
    ] = "orbit",
    amount: Annotated[float | None, typer.Option(help="How far, in the units given above; has a default.")] = None,
    seconds: Annotated[float, typer.Option(help="Duration of the movement.")] = 4.0,
    fps: Annotated[float, typer.Option(help="Frames a second of the model that will use the tracks.")] = 24.0,
    depth: options.Depth = "plane",
    depth_weights: options.DepthWeights = None,
    download: options.DepthDownload = False,
    inverse_depth: options.InverseDepth = False,
    view: Annotated[
        float | None, typer.Option(help="Horizontal angle of view in degrees; default: estimated, or 60.")
    ] = None,
    grid: options.GridSize = "32x18",
    size: Annotated[
        str | None, typer.Option(metavar="WxH", help="Frame to crop the picture to; default: its own shape.")
    ] = None,
    preview: Annotated[Path | None, typer.Option(help="Also draw the picture warped by the tracks, .png.")] = None,
) -> None:
    """Write the tracks of a camera movement: a grid of points in the picture, moved according to its depth.

    [bold]motionstream camera -i boat.jpg --path orbit --amount 15 -o orbit.npz --preview orbit.png[/]

    [bold]motionstream generate -i boat.jpg -t orbit.npz -o boat.mp4[/]

    [bold]motionstream camera -i boat.jpg --path dolly --depth depth.png -o closer.npz[/]

    Amounts: orbit, pan, tilt and roll in degrees (right, right, up, clockwise); dolly, truck and crane in parts of the
    distance to the middle (forwards, right, up); zoom in focal lengths. Negative ones go the other way.
    Depth, files of poses, and what the fallback `plane` cannot do: docs/camera.md
    """
    import numpy as np

    from motionstream.camera.shot import shot
    from motionstream.evaluate.baselines import warp
    from motionstream.stream.video import read_image, write_sheet
    from motionstream.tracks import Tracks, io
    from motionstream.tracks.preview import drawn

    options.tracks_file(out, preview)
    if not (0 < seconds * fps < float("inf")) or round(seconds * fps) < 2:
        raise ValueError(f"--seconds {seconds:g} at {fps:g} frames a second: a movement takes at least two frames")
    columns, rows = options.grid_of(grid)
    frame = None if size is None else options.size_of(size)
    picture = read_image(image)
    estimate = options.open_depth(depth, depth_weights, download, inverse_depth)
    made = shot(picture, estimate, path, round(seconds * fps), amount, view, frame)
    tracks = made.tracks(columns, rows)
    io.save(out, tracks, made.lens.size)
    if preview is not None:
        shown = np.unique(np.linspace(0, tracks.frames - 1, PREVIEWED).round().astype(int))
        some = Tracks(tracks.xy[shown], tracks.visible[shown], tracks.ids)
        write_sheet(preview, drawn(warp(made.picture, some), some))
    seen = 100 * float(tracks.visible[-1].mean())
    summary = f"{tracks.points} points over {tracks.frames} frames, {seen:.0f} % visible at the end"
    typer.echo(f"{out}: {summary}; {made.depth}")
