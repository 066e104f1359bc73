"""`motionstream generate`: a picture, a prompt and tracks → a video in a file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from motionstream import console
from motionstream.cli import options


def generate(
    image: options.Picture,
    out: Annotated[
        Path, typer.Option("--out", "-o", help="File to write: .mp4, .png (contact sheet) or .npz (array).")
    ],
    tracks: Annotated[
        Path | None,
        typer.Option(
            "--tracks", "-t", help="Point tracks to follow, .npz: xy (frames, points, 2), visible, size=(W, H)."
        ),
    ] = None,
    gestures: Annotated[
        Path | None,
        typer.Option("--gestures", "-g", help="Gestures recorded in the studio, .jsonl; instead of tracks."),
    ] = None,
    prompt: Annotated[str, typer.Option("--prompt", "-p", help="What the picture shows and what happens in it.")] = "",
    seconds: Annotated[
        float | None, typer.Option(help="Length of the video; default: that of the tracks or gestures, or 5.")
    ] = None,
    marked: Annotated[bool, typer.Option(help="Draw the tracked points on the frames.")] = False,
    seed: options.Seed = 0,
    sink: options.Sink = "fixed",
    model: options.Model = "tiny",
    device: options.Device = "auto",
) -> None:
    """Generate a video from a picture, a prompt and point tracks.

    [bold]motionstream generate -i boat.jpg -t drag.npz -p "a boat, it is snowing" -o boat.mp4[/]

    [bold]motionstream generate -i boat.jpg --seconds 3 -o sheet.png[/]

    [bold]motionstream generate -i boat.jpg -g motionstream-boat.jsonl --marked -o boat.mp4[/]

    Recorded gestures contain the prompts typed with them; --prompt replaces the first.
    """
    from motionstream.stream.offline import replay, with_tracks
    from motionstream.stream.sink import opening
    from motionstream.stream.video import check_target, read_image, write_frames
    from motionstream.tracks import io
    from motionstream.tracks.preview import marked as shown
    from motionstream.tracks.record import Recording

    if tracks is not None and gestures is not None:
        raise ValueError("--tracks and --gestures: name one of the two")
    if seconds is not None and not 0 < seconds < float("inf"):
        raise ValueError(f"--seconds {seconds}: must be positive")
    check_target(out)
    policy = opening(sink)
    picture = read_image(image)
    if tracks is not None:
        tracks.stat()  # raises for a missing file before a model is loaded
    recording = None if gestures is None else Recording.load(gestures)
    first_prompt = prompt or (recording.header.prompt if recording else "")
    stream = options.load_model(model, device).open(picture, prompt=first_prompt, seed=seed, **policy)
    control = None if tracks is None else io.load(tracks, stream.size)
    given = recording or control
    wanted = max(1, given.frames if seconds is None and given is not None else round((seconds or 5.0) * stream.fps))
    if recording is not None:
        played = replay(stream, recording.on(stream.size), wanted)
    else:
        played = with_tracks(stream, control, wanted)
    with console.progress("frames", wanted) as bar:
        chunks = bar.over_chunks(shown(chunk, tracks) if marked else chunk for chunk, tracks in played)
        count = write_frames(out, (frame for chunk in chunks for frame in chunk), stream.fps)
    typer.echo(f"{out}: {count} frames, {count / stream.fps:.1f} s at {stream.fps:g} fps")
