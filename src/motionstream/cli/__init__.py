"""The program `motionstream`: one thin function a command, each calls the library.

`evaluate`, `bench` and `convert` have a file each; `options` is what commands share.

Nothing heavy is imported until a command runs, so that --help answers at once. Exit codes: 0 done, 2 the user's input
was wrong (one line on stderr), 1 our fault (a traceback with --debug), 130 interrupted.
"""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer

from motionstream import allocator, console, errors
from motionstream.cli import bench, convert, evaluate, zoo
from motionstream.cli.options import (
    Assets,
    Depth,
    DepthDownload,
    DepthWeights,
    Device,
    Download,
    InverseDepth,
    JsonOut,
    Model,
    Seed,
    Sink,
    Size,
    Tracker,
    TrackerPath,
    Variety,
    grid_of,
    load_model,
    open_depth,
    open_tracker,
    size_of,
)

HEAVY = {"demo", "serve", "generate", "train", "bench", "evaluate"}

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    help="One picture, one prompt, one drag: a video that follows your hand, live.",
    epilog="Start with: motionstream demo     What can this machine do: motionstream doctor",
)
data_app = typer.Typer(no_args_is_help=True, help="Synthetic worlds to train and evaluate on.")
docs_app = typer.Typer(no_args_is_help=True, help="Keep the documents true.")
app.add_typer(data_app, name="data")
app.add_typer(bench.app, name="bench")
app.add_typer(evaluate.app, name="evaluate")
app.command()(convert.convert)
app.add_typer(zoo.app, name="zoo")
app.add_typer(docs_app, name="docs")


@app.callback()
def program(
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
    version: Annotated[bool, typer.Option("--version", help="Say which version this is.")] = False,
) -> None:
    if debug:
        os.environ["MOTIONSTREAM_DEBUG"] = "1"
    if version:
        from importlib.metadata import version as installed

        typer.echo(f"motionstream {installed('motionstream')}")
        raise typer.Exit


@app.command()
def demo(
    model: Model = "tiny",
    device: Device = "auto",
    port: Annotated[int, typer.Option(help="0 takes any free one.", min=0, max=65535)] = 0,
    browser: Annotated[bool, typer.Option(help="Open the studio when it is ready.")] = True,
    sink: Sink = "fixed",
) -> None:
    """Open the live studio on this machine.

    Pick a picture, press Enter, drag. Nobody else can reach it. End it with Ctrl-C.

    [bold]motionstream demo[/]
    """
    _serve(model, device, host="127.0.0.1", port=port, open_browser=browser, sink=sink)


@app.command()
def serve(
    model: Model = "tiny",
    device: Device = "auto",
    host: Annotated[str, typer.Option(help="Any but loopback needs --token.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="0 takes any free one.", min=0, max=65535)] = 7860,
    token: Annotated[
        str | None, typer.Option(envvar="MOTIONSTREAM_TOKEN", help="Viewers must present it.", show_envvar=True)
    ] = None,
    sink: Sink = "fixed",
) -> None:
    """Serve the studio and its WebSocket (docs/protocol.md).

    [bold]motionstream serve --port 8000[/]

    [bold]MOTIONSTREAM_TOKEN=… motionstream serve --host 0.0.0.0[/]
    """
    _serve(model, device, host=host, port=port, token=token, sink=sink)


def _serve(model: str, device: str, **settings: Any) -> None:
    from motionstream.serve import ServeSettings, run

    checked = ServeSettings(**settings)
    with suppress(KeyboardInterrupt):  # the way to end a server is no failure
        run(load_model(model, device), checked)


@app.command()
def generate(
    image: Annotated[Path, typer.Option("--image", "-i", help="The first frame: PNG, JPEG, WebP.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Where to: .mp4, .png (a sheet) or .npz (arrays).")],
    tracks: Annotated[Path | None, typer.Option("--tracks", "-t", help="npz: xy, visible, size=(W,H).")] = None,
    gestures: Annotated[
        Path | None, typer.Option("--gestures", "-g", help="Recorded in the studio, .jsonl, instead of tracks.")
    ] = None,
    prompt: Annotated[str, typer.Option("--prompt", "-p", help="What the picture shows and what happens.")] = "",
    seconds: Annotated[
        float | None, typer.Option(help="Length; without it that of the tracks or gestures, or 5.")
    ] = None,
    marked: Annotated[bool, typer.Option(help="Draw the points that steer on the frames.")] = False,
    seed: Seed = 0,
    sink: Sink = "fixed",
    model: Model = "tiny",
    device: Device = "auto",
) -> None:
    """Write a video from a picture, a prompt and tracks.

    [bold]motionstream generate -i boat.jpg -t drag.npz -p "a boat, it is snowing" -o boat.mp4[/]

    [bold]motionstream generate -i boat.jpg --seconds 3 -o sheet.png[/]

    [bold]motionstream generate -i boat.jpg -g motionstream-boat.jsonl --marked -o boat.mp4[/]

    Gestures bring the prompts that were given with them; --prompt stands in for the first.
    """
    from motionstream.stream.offline import replay, steered
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
    asked = opening(sink)
    picture = read_image(image)
    if tracks is not None:
        tracks.stat()  # a missing file is said before a model is loaded
    recording = None if gestures is None else Recording.load(gestures)
    said = prompt or (recording.header.prompt if recording else "")
    stream = load_model(model, device).open(picture, prompt=said, seed=seed, **asked)
    control = None if tracks is None else io.load(tracks, stream.size)
    given = recording or control
    wanted = max(1, given.frames if seconds is None and given is not None else round((seconds or 5.0) * stream.fps))
    if recording is not None:
        played = replay(stream, recording.on(stream.size), wanted)
    else:
        played = steered(stream, control, wanted)
    with console.progress("frames", wanted) as bar:
        chunks = bar.over_chunks(shown(chunk, tracks) if marked else chunk for chunk, tracks in played)
        count = write_frames(out, (frame for chunk in chunks for frame in chunk), stream.fps)
    typer.echo(f"{out}: {count} frames, {count / stream.fps:.1f} s at {stream.fps:g} fps")


@app.command()
def track(
    video: Annotated[Path, typer.Option("--video", "-v", help="The video whose motion to take.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Tracks, as npz.")],
    points: Annotated[int | None, typer.Option(help="Points along the longer side; else 24.", min=1, max=50)] = None,
    grid: Annotated[str | None, typer.Option(metavar="COLSxROWS", help="Another grid, such as 50x50.")] = None,
    frames: Annotated[int | None, typer.Option(help="Only so many frames.", min=2)] = None,
    tracker: Tracker = "lucas-kanade",
    tracker_path: TrackerPath = None,
    download: Download = False,
    device: Device = "auto",
    preview: Annotated[Path | None, typer.Option(help="Also draw frames with the tracks on them, .png.")] = None,
) -> None:
    """Follow a grid of points through a video: its motion becomes control for another picture.

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

    if out.suffix != ".npz":
        raise ValueError(f"{out}: tracks are written to a name that ends in .npz")
    if preview is not None and preview.suffix != ".png":
        raise ValueError(f"{preview}: a preview is written to a name that ends in .png")
    if points is not None and grid is not None:
        raise ValueError("--points and --grid: name one of the two")
    columns_rows = None if grid is None else grid_of(grid)
    video.stat()  # a missing file is said before a tracker is loaded
    following = open_tracker(tracker, tracker_path, download, device)
    pixels, _ = read_video(video, frames)
    size = (pixels.shape[2], pixels.shape[1])
    queries = grids.even_grid(size, points or 24) if columns_rows is None else grids.grid(size, *columns_rows)
    with console.progress("frames", len(pixels)) as bar:
        result = following.track(pixels, queries, over=bar.over)
    io.save(out, result, size)
    if preview is not None:
        write_sheet(preview, drawn(pixels, result))
    seen = 100 * float(result.visible.mean())
    typer.echo(f"{out}: {result.points} points over {result.frames} frames, visible {seen:.0f} % of the time")


@app.command()
def camera(
    image: Annotated[Path, typer.Option("--image", "-i", help="The first frame: PNG, JPEG, WebP.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Tracks, as npz.")],
    path: Annotated[
        str, typer.Option(help="orbit, dolly, truck, crane, pan, tilt, roll, zoom, or a .json file of poses.")
    ] = "orbit",
    amount: Annotated[float | None, typer.Option(help="How far, see below; else a usual amount.")] = None,
    seconds: Annotated[float, typer.Option(help="How long the movement takes.")] = 4.0,
    fps: Annotated[float, typer.Option(help="Frames a second of the model.")] = 24.0,
    depth: Depth = "plane",
    depth_weights: DepthWeights = None,
    download: DepthDownload = False,
    inverse_depth: InverseDepth = False,
    view: Annotated[float | None, typer.Option(help="Degrees across the picture; else estimated, or 60.")] = None,
    grid: Annotated[str, typer.Option(metavar="COLSxROWS", help="Points; the paper's is 50x50.")] = "32x18",
    size: Annotated[
        str | None, typer.Option(metavar="WxH", help="The frame to fit the picture into; else its own shape.")
    ] = None,
    preview: Annotated[Path | None, typer.Option(help="Also draw the picture pulled along the tracks, .png.")] = None,
) -> None:
    """Move a camera through a picture: tracks of all of it, by its depth.

    [bold]motionstream camera -i boat.jpg --path orbit --amount 15 -o orbit.npz --preview orbit.png[/]

    [bold]motionstream generate -i boat.jpg -t orbit.npz -o boat.mp4[/]

    [bold]motionstream camera -i boat.jpg --path dolly --depth depth.png -o closer.npz[/]

    Amounts: orbit, pan, tilt and roll in degrees (right, right, up, clockwise); dolly, truck and crane in parts of the
    distance to the middle (forwards, right, up); zoom in focal lengths. Negative ones go the other way.
    Depth, files of poses, and what the fallback `plane` cannot do: docs/camera.md
    """
    from motionstream.evaluate.views.shots import shot
    from motionstream.stream.video import read_image, write_sheet
    from motionstream.tracks import io
    from motionstream.tracks.preview import drawn

    if out.suffix != ".npz":
        raise ValueError(f"{out}: tracks are written to a name that ends in .npz")
    if preview is not None and preview.suffix != ".png":
        raise ValueError(f"{preview}: a preview is written to a name that ends in .png")
    if not (0 < seconds * fps < float("inf")) or round(seconds * fps) < 2:
        raise ValueError(f"--seconds {seconds:g} at {fps:g} frames a second: a movement takes at least two frames")
    columns, rows = grid_of(grid)
    picture = read_image(image)
    estimate = open_depth(depth, depth_weights, download, inverse_depth)
    made = shot(picture, estimate, path, round(seconds * fps), amount, view, None if size is None else size_of(size))
    tracks = made.tracks(columns, rows)
    io.save(out, tracks, made.lens.size)
    if preview is not None:
        write_sheet(preview, drawn(*made.preview(tracks)))
    seen = 100 * float(tracks.visible[-1].mean())
    said = f"{tracks.points} points over {tracks.frames} frames, {seen:.0f} % visible at the end"
    typer.echo(f"{out}: {said}; {made.depth}")


@data_app.command("synth")
def data_synth(
    assets: Assets,
    preview: Annotated[Path | None, typer.Option(help="A contact sheet with the tracks on it, .png.")] = None,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="A folder for the clips: mp4, npz and captions.")
    ] = None,
    bench: Annotated[bool, typer.Option("--bench", help="Say how many clips a second this machine makes.")] = False,
    clips: Annotated[int, typer.Option(min=1)] = 6,
    frames: Annotated[int, typer.Option(help="1 + 4·n.", min=5, max=241)] = 25,
    size: Size = "256x144",
    seed: Seed = 0,
    split: Annotated[str, typer.Option(help="train, heldout, heldout-far or all.")] = "train",
    variety: Variety = 0.0,
    json_out: JsonOut = None,
) -> None:
    """Make synthetic worlds with exact tracks: look at them, keep them, or time them.

    [bold]motionstream data synth --assets pictures --preview sheet.png[/]

    [bold]motionstream data synth --assets pictures --preview varied.png --variety 1[/]

    [bold]motionstream data synth --assets pictures -o clips --clips 100 --split all[/]
    """
    from motionstream.data import export
    from motionstream.data.assets import AssetLibrary
    from motionstream.data.preview import preview as draw
    from motionstream.data.synthetic import SyntheticWorlds

    if not (preview or out or bench):
        raise ValueError("nothing to do: ask for --preview sheet.png, --out folder or --bench")
    pixels = size_of(size)
    library = AssetLibrary(assets, split=None if split == "all" else split)
    worlds = SyntheticWorlds(library, size=pixels, frames=frames, seed=seed, variety=variety)
    if preview:
        typer.echo(f"{draw(worlds, preview, clips=clips)}: {clips} worlds of {frames} frames")
    if out:
        typer.echo(f"{export.write_clips(worlds, out, clips)}: {clips} clips")
    if bench:
        console.report("Synthetic worlds", export.bench(worlds), json_out)


@data_app.command("encode")
def data_encode(
    clips: Annotated[Path, typer.Option(help="A folder of NAME.mp4, with clips.jsonl or NAME.txt for captions.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="A new folder for the prepared clips.")],
    vae: Annotated[Path, typer.Option(help="Wan's VAE: its folder in Diffusers' layout.")],
    text: Annotated[Path, typer.Option(help="The folder with text_encoder/ and tokenizer/.")],
    pictures: Annotated[
        Path | None, typer.Option(help="The folder with image_encoder/, for a network that reads CLIP tokens.")
    ] = None,
    size: Size = "832x480",
    frames: Annotated[int, typer.Option(help="1 + 4·n of each clip; shorter videos are left out.", min=5)] = 81,
    fps: Annotated[float, typer.Option(help="Frames a second that the model is trained at.", min=1)] = 16.0,
    grid: Annotated[str, typer.Option(metavar="COLSxROWS", help="Points tracked where NAME.npz is missing.")] = "50x50",
    tracker: Tracker = "lucas-kanade",
    tracker_path: TrackerPath = None,
    download: Download = False,
    device: Device = "auto",
    dtype: Annotated[str, typer.Option(help="Of the encoders: bfloat16 or float32.")] = "bfloat16",
) -> None:
    """Prepare clips for the training of Wan: latents, tracks and prompts, encoded once.

    [bold]motionstream data encode --clips videos --vae wan/vae --text wan --pictures wan -o clips-1.3b[/]

    [bold]motionstream data encode --clips videos --vae wan22/vae --text wan22 --size 1280x704 --frames 121 --fps 24
    -o clips-5b --tracker cotracker3 --tracker-path co-tracker[/]
    """
    import torch

    from motionstream.conditioning.clip_image import ClipImageEncoder
    from motionstream.conditioning.prompt_cache import CachedEncoder, PromptCache, default_folder
    from motionstream.conditioning.umt5 import UMT5Encoder
    from motionstream.data.encode import Cut, Encoders, captions, encode_folder
    from motionstream.vae.wan import WanVAE

    if dtype not in ("bfloat16", "float32"):
        raise ValueError(f"--dtype {dtype}: bfloat16 or float32")
    number = {"bfloat16": torch.bfloat16, "float32": torch.float32}[dtype]
    where = ("cuda" if torch.cuda.is_available() else "cpu") if device == "auto" else device
    cut, count = Cut(size_of(size), frames, fps, grid_of(grid)), len(captions(clips))
    following = open_tracker(tracker, tracker_path, download, device)
    said = CachedEncoder(UMT5Encoder(text, device=where, dtype=number), PromptCache(default_folder()))
    seen = None if pictures is None else ClipImageEncoder(pictures, device=where, dtype=number)
    encoders = Encoders(WanVAE.load(vae, where, number).without_decoder(), said, seen, where, number)
    with console.progress("clips", count) as bar:
        made, short = encode_folder(clips, out, encoders, cut, following, bar.over)
    typer.echo(f"{out}: {made} clips of {frames} frames" + (f"; {short} videos were too short" if short else ""))


@app.command()
def train(
    stage: Annotated[
        str,
        typer.Argument(help="vae, teacher, teacher-mask, causal, self-forcing, vae-decoder, detail, look, decoder."),
    ],
    recipe: Annotated[str, typer.Option("--recipe", "-r", help="A named recipe or its JSON.")],
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="Folder of the chain; each stage gets its own in it.")
    ] = None,
    assets: Annotated[
        Path | None, typer.Option("--assets", "--data", help="Pictures for the worlds; Wan: the prepared clips.")
    ] = None,
    minutes: Annotated[float | None, typer.Option(help="Stop and save after so long.", min=0)] = None,
    resume: Annotated[bool, typer.Option(help="Go on from the newest whole checkpoint.")] = True,
    changes: Annotated[list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Change the recipe.")] = None,
    finish: Annotated[bool, typer.Option("--finish", help="Let the learning rate fall with --minutes.")] = False,
    vae: Annotated[Path | None, typer.Option(help="Stage decoder: the folder of Wan's VAE.")] = None,
    clips: Annotated[Path | None, typer.Option(help="Stage decoder: a folder of videos instead of --assets.")] = None,
    lpips: Annotated[
        Path | None, typer.Option(help="Stages vae-decoder, decoder: LPIPS weights, .safetensors.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Wan: say what it would take, and train nothing.")] = False,
    gpus: Annotated[int, typer.Option(help="Dry run: how many.", min=1)] = 32,
    memory: Annotated[float, typer.Option(help="Dry run: GB of each.")] = 80.0,
    tflops: Annotated[float, typer.Option(help="Dry run: TFLOP/s that each gives in the end.")] = 400.0,
    accumulate: Annotated[int | None, typer.Option(help="Passes a step, instead of the recipe's.", min=1)] = None,
    json_out: JsonOut = None,
) -> None:
    """Train one stage; stop it when you like and start it again: it goes on exactly where it was.

    [bold]motionstream train teacher -r tiny_cpu --assets pictures -o out/tiny --minutes 60[/]

    [bold]motionstream train vae -r smoke --assets pictures -o out/try --set steps=20 --set lr=1e-3[/]

    [bold]motionstream train decoder -r wan2.1 --vae wan/vae --clips videos --lpips alex.safetensors -o out/wan[/]

    [bold]motionstream train teacher -r wan_1_3b --dry-run --gpus 8 --accumulate 16[/]

    Whole recipes, stage after stage: runs/tiny_cpu.sh, tiny_gpu.sh, wan_1_3b.sh, wan_5b.sh.
    Losses and sheets: tensorboard --logdir out
    """
    from motionstream.train import train as train_stage

    changes = [*(changes or ()), *([] if accumulate is None else [f"accumulate={accumulate}"])]
    if dry_run:
        from motionstream.train.dry_run import dry_run as foresee
        from motionstream.train.recipe import changed
        from motionstream.train.run import recipe_for

        figures = foresee(changed(recipe_for(stage, recipe), changes), gpus, tflops, memory)
        console.report(f"{stage} on {gpus} GPUs", figures, json_out)
        return
    if out is None:
        raise ValueError("name the folder of the chain with --out, or ask for --dry-run")
    if assets is None and clips is None:
        raise ValueError("nothing to train on: name a folder with --assets (stage decoder: or with --clips)")
    paths = {"vae": vae, "clips": clips, "lpips": lpips}
    named = [f"{key}={path.resolve()}" for key, path in paths.items() if path is not None]
    done = train_stage(stage, recipe, out, assets or Path(), minutes, resume, [*named, *changes], finish)
    if os.environ.get("RANK", "0") == "0":  # under torchrun one process speaks for all
        typer.echo(f"{stage}: step {done.step} ({done.reason}), {done.seconds / 60:.0f} minutes trained in all")


@docs_app.command("figures")
def docs_figures(
    documents: Annotated[list[Path] | None, typer.Argument(help="Those with the markers; else all of ours.")] = None,
    results: Annotated[Path, typer.Option(help="The folder of JSON files.")] = Path("docs/results"),
    check: Annotated[bool, typer.Option("--check", help="Only say whether they are up to date.")] = False,
) -> None:
    """Put the figures of docs/results/ between the markers of the README and the model card."""
    from motionstream import figures

    for document in documents or figures.DOCUMENTS:
        changed = figures.update(document, results, write=not check)
        if changed and check:
            raise ValueError(f"{document} is not up to date: run `motionstream docs figures`")
        typer.echo(f"{document}: {'written' if changed else 'up to date'}")


@app.command()
def doctor(
    plan: Annotated[str | None, typer.Option(metavar="MODEL", help="Memory of a model, part by part.")] = None,
    memory: Annotated[float | None, typer.Option(metavar="GIB", help="Of a GPU that need not be here.")] = None,
    decoder: Annotated[str | None, typer.Option(metavar="KIND", help="tiny or full; else what fits.")] = None,
    fp8: Annotated[bool | None, typer.Option("--fp8/--no-fp8", help="Weights in fp8; else if need be.")] = None,
    sessions: Annotated[int | None, typer.Option(help="How many must fit; else one.", min=1)] = None,
    size: Annotated[str | None, typer.Option(metavar="WxH", help="Pixels of a frame; else the model's own.")] = None,
    json_out: JsonOut = None,
) -> None:
    """Say what this machine can run, what is missing and what that would bring; or plan a model's memory.

    [bold]motionstream doctor[/]

    [bold]motionstream doctor --plan wan2.1-1.3b[/]   for this GPU, or for 24, 16, 12 and 8 GiB where there is none

    [bold]motionstream doctor --plan wan2.2-5b --memory 16 --decoder tiny --size 960x544[/]
    """
    from motionstream import doctor as surgery
    from motionstream.plan import as_dict

    if plan is None:
        if any(value is not None for value in (memory, decoder, fp8, sessions, size)):
            raise ValueError("--memory, --decoder, --fp8, --sessions and --size plan a model: name it with --plan")
        findings = surgery.examine()
        surgery.show(findings)
        console.write_json(findings, json_out)
        return
    frame = None if size is None else size_of(size)
    made = surgery.plans(plan, memory, decoder=decoder, fp8=fp8, size=frame, sessions=sessions or 1)
    surgery.show_plans(made)
    console.write_json({"plans": [as_dict(each) for each in made]}, json_out)


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run the program and leave with its exit code."""
    given = sys.argv[1:] if arguments is None else list(arguments)
    if arguments is None and HEAVY & set(given[:2]):
        allocator.restart_with_settings()
    sys.exit(run(given))


def run(arguments: Sequence[str]) -> int:
    """Run one command → exit code; what went wrong goes to stderr as one line."""
    try:
        return int(app(list(arguments), prog_name="motionstream", standalone_mode=False) or errors.DONE)
    except KeyboardInterrupt:
        return errors.INTERRUPTED
    except typer.Abort:
        return errors.INTERRUPTED
    except Exception as error:
        return _complain(error)


def _complain(error: Exception) -> int:
    usage = getattr(error, "format_message", None)
    if isinstance(error, BrokenPipeError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # the reader left: nothing to add at exit
        return errors.DONE
    if os.environ.get("MOTIONSTREAM_DEBUG"):
        traceback.print_exception(error)
    if usage or errors.is_users(error):
        return _say(usage().partition("\n")[0] if usage else errors.one_line(error), errors.WRONG_INPUT)
    hint = "" if os.environ.get("MOTIONSTREAM_DEBUG") else "; motionstream --debug … shows where"
    return _say(f"our fault: {type(error).__name__}: {errors.one_line(error)}{hint}", errors.OUR_FAULT)


def _say(line: str, code: int) -> int:
    print(f"motionstream: {line}", file=sys.stderr)
    return code
