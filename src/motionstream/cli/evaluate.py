"""`motionstream evaluate …`: how well a model does what it is told."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from motionstream import console
from motionstream.cli.limits import evaluate_limits_command
from motionstream.cli.options import (
    Assets,
    Depth,
    DepthDownload,
    DepthWeights,
    Device,
    Download,
    JsonOut,
    Model,
    Seed,
    Size,
    Tracker,
    TrackerPath,
    Variety,
    controls_of,
    grid_of,
    load_model,
    open_depth,
    open_tracker,
    size_of,
    weights_of,
)

app = typer.Typer(no_args_is_help=True, help="How well a model does what it is told.")

WORLDS, WORLDS_FOR_TRACKER = 16, 4  # by default, and beside real clips to know the tracker's own error


@app.command("motion")
def evaluate_motion_command(
    model: Model = "tiny",
    data: Annotated[str, typer.Option("--data", "-d", help="worlds, or a folder of real clips.")] = "worlds",
    layout: Annotated[str, typer.Option(help="Of the folder: auto, clips, davis or sora.")] = "auto",
    assets: Annotated[Path | None, typer.Option(help="Pictures to make worlds of: cutouts/ and backgrounds/.")] = None,
    device: Device = "auto",
    clips: Annotated[int | None, typer.Option(help="At most so many; 16 worlds, or all of a folder.", min=1)] = None,
    frames: Annotated[
        int | None, typer.Option(help="The most of a clip, 1 + 4·n; 45 of worlds, 81 of sora, else 49.", min=5, max=241)
    ] = None,
    split: Annotated[str, typer.Option(help="Of the assets: heldout or heldout-far.")] = "heldout",
    variety: Variety = 0.0,
    controls: Annotated[
        str | None, typer.Option(help="Of dense, 1, 5, 20, 100 points and object, with commas; all by default.")
    ] = None,
    grid: Annotated[str, typer.Option(metavar="COLSxROWS", help="Points followed in real clips.")] = "50x50",
    tracker: Tracker = "lucas-kanade",
    tracker_path: TrackerPath = None,
    download: Download = False,
    seed: Seed = 0,
    journal: Annotated[Path | None, typer.Option(metavar="FILE", help="Go on from here after an interruption.")] = None,
    sheet: Annotated[Path | None, typer.Option(help="Also draw true, model and warp side by side, .png.")] = None,
    worst: Annotated[int, typer.Option(help="Draw so many clips of the largest error, not the first.", min=0)] = 0,
    videos: Annotated[Path | None, typer.Option(help="A folder for videos: true, model and warp side by side.")] = None,
    lpips: Annotated[Path | None, typer.Option(help="LPIPS weights, .safetensors, to measure that too.")] = None,
    fvd: Annotated[Path | None, typer.Option(help="I3D weights, to measure FVD with your package cd-fvd.")] = None,
    vbench: Annotated[Path | None, typer.Option(help="Folder of weights for your package vbench.")] = None,
    json_out: JsonOut = None,
) -> None:
    """Measure whether a model follows tracks, beside standing still and warping the first frame.

    [bold]motionstream evaluate motion --assets pictures --clips 16 --json motion.json --sheet motion.png[/]

    [bold]motionstream evaluate motion -d DAVIS --assets pictures --journal davis.jsonl --json davis.json[/]

    [bold]motionstream evaluate motion -d clips --controls dense,5 --worst 4 --sheet worst.png --videos side[/]

    Real clips are folders of numbered frames or video files (clips), DAVIS as it is published (davis), or videos
    that are played at 16 frames a second (sora). With --assets the tracker's own error is measured beside them.
    """
    from motionstream.data.assets import AssetLibrary
    from motionstream.evaluate import clips as reading
    from motionstream.evaluate import external, motion
    from motionstream.evaluate.controls import CONTROLS, OBJECT
    from motionstream.evaluate.journal import Journal
    from motionstream.evaluate.lpips import Lpips
    from motionstream.evaluate.pictures.illustrate import Pictures

    exact = data == "worlds"
    if exact and assets is None:
        raise ValueError("worlds are made of pictures: name a folder of them with --assets, or real clips with --data")
    library = AssetLibrary(assets, split=split) if assets else None
    perceptual = Lpips.load(lpips) if lpips else None
    usual = [name for name in CONTROLS if exact or name != OBJECT]
    chosen = motion.checked(controls_of(controls) if controls else usual)
    columns_rows = grid_of(grid)
    opened = open_tracker(tracker, tracker_path, download, device)
    loaded = load_model(model, device)
    measures, missing = external.asked(fvd, vbench, device, lambda line: typer.echo(line, err=True))
    length = frames if exact and frames else reading.MOST_FRAMES["worlds"]
    number = (clips or WORLDS) if exact else WORLDS_FOR_TRACKER
    worlds = reading.worlds(library, loaded.size, length, seed, number, variety) if library else []
    if exact:
        found = reading.Found("worlds", worlds)
    else:
        least = loaded.geometry.frames(loaded.rolling.chunk)
        how = reading.Reading(loaded.geometry, frames, least, columns_rows, opened.track)
        found = reading.find(Path(data), how, layout)
    sources = found.sources[:clips]
    settings = {**weights_of(model, loaded), "data": Path(data).name, "layout": found.layout, "tracker_name": tracker}
    settings |= {"split": split} if library else {}
    key = {"evaluation": "motion", **settings, "tracker_hash": opened.hash, "folder": data, "assets": str(assets)}
    key |= {"frames": frames, "grid": columns_rows, "seed": seed, "lpips": str(lpips)}
    if variety:
        settings, key = settings | {"variety": variety}, key | {"variety": variety}
    generate = motion.by_model(loaded)
    with console.progress("clips × controls", len(sources) * len(chosen)) as bar:
        figures = motion.evaluate_motion(
            generate, sources, seed, chosen, perceptual, Journal(journal, key), opened.track, worlds, bar.over
        )
    first = [source.name for source in sources][: motion.EXAMPLES]
    pictures = Pictures(sheet, motion.worst(figures, worst, chosen[0]) if worst else first, videos, measures)
    needed = pictures.needed(sources)
    with console.progress("pictures", len(needed)) as bar:
        shown = motion.examples(generate, bar.over(needed), seed, chosen[0])
        measured, lacking = pictures.take(shown, loaded.fps)
    figures["skipped"] = [{"name": each.name, "reason": each.reason} for each in found.skipped] + figures["skipped"]
    figures["missing"] += missing + lacking
    report = {**settings, **figures, **measured}
    lists = {name: len(value) for name, value in report.items() if name in ("per_clip", "skipped")}
    console.report(f"{model}, motion", {**report, **lists}, None)
    console.write_json(report, json_out)


app.command("limits")(evaluate_limits_command)


@app.command("vae")
def evaluate_vae_command(
    assets: Assets,
    model: Model = "tiny",
    device: Device = "auto",
    clips: Annotated[int, typer.Option(help="Held-out worlds.", min=1)] = 32,
    frames: Annotated[int, typer.Option(help="1 + 4·n.", min=21, max=241)] = 33,
    split: Annotated[str, typer.Option(help="heldout or heldout-far.")] = "heldout",
    seed: Seed = 0,
    lpips: Annotated[Path | None, typer.Option(help="LPIPS weights, .safetensors, to measure that too.")] = None,
    json_out: JsonOut = None,
) -> None:
    """Measure what a model's VAE keeps of true clips, seams at chunk borders, and its arithmetic.

    [bold]motionstream evaluate vae --assets pictures --clips 32 --json vae.json[/]
    """
    from motionstream.data.assets import AssetLibrary
    from motionstream.data.synthetic import SyntheticWorlds
    from motionstream.evaluate.lpips import Lpips
    from motionstream.evaluate.vae import evaluate_vae

    perceptual = Lpips.load(lpips) if lpips else None
    loaded = load_model(model, device)
    worlds = SyntheticWorlds(AssetLibrary(assets, split=split), size=loaded.size, frames=frames, seed=seed)
    with console.progress("worlds", clips) as bar:
        samples = bar.over(worlds.sample(index) for index in range(clips))
        figures = evaluate_vae(loaded, samples, perceptual=perceptual)
    console.report(f"{model}, VAE", {**weights_of(model, loaded), "split": split, **figures}, json_out)


@app.command("long")
def evaluate_long_command(
    pictures: Annotated[list[Path], typer.Argument(help="Start pictures.")],
    model: Model = "tiny",
    device: Device = "auto",
    frames: Annotated[int, typer.Option(help="Length of each stream; 18000 is ten minutes or more.", min=100)] = 18000,
    every: Annotated[int, typer.Option(help="Frames between samples, a multiple of 100.", min=100)] = 300,
    scenes: Annotated[str, typer.Option(help="Any of moving, idle, pinned, circling, panning.")] = "moving,idle,pinned",
    chunk: Annotated[int | None, typer.Option(help="Latents a step, instead of the model's own.", min=1)] = None,
    sink: Annotated[int | None, typer.Option(help="Latents of the start that stay in sight.", min=0)] = None,
    window: Annotated[int | None, typer.Option(help="Latest latents that stay in sight.", min=0)] = None,
    variants: Annotated[
        str, typer.Option(help="Several sizes side by side: chunk, sink, window in latents, such as c1s3w3,c1s0w3.")
    ] = "",
    seed: Seed = 0,
    lpips: Annotated[
        Path | None, typer.Option(help="LPIPS weights, .safetensors: measures identity to the first frame.")
    ] = None,
    plot: Annotated[Path | None, typer.Option(help="Draw every figure over time, .png.")] = None,
    sheet: Annotated[Path | None, typer.Option(help="Draw frames of every stream, .png.")] = None,
    journal: Annotated[
        Path | None, typer.Option(help="Keep samples here and streams beside it: a cut run goes on, bit for bit.")
    ] = None,
    json_out: JsonOut = None,
) -> None:
    """Run streams for minutes and measure, again and again, what is left of the picture, of control and of speed.

    Each figure stands beside what it was at frame 100; the table gives the worst of the run.

    [bold]motionstream evaluate long photo.jpg --frames 3000 --plot long.png --sheet frames.png[/]

    [bold]motionstream evaluate long photo.jpg --lpips alex.safetensors --journal long.jsonl --json long.json[/]

    [bold]motionstream evaluate long photo.jpg --variants c3s3w3,c3s0w3,c3s3w18 --scenes moving --plot sink.png[/]
    """
    from motionstream.evaluate.long import Plan, draw, evaluate_long
    from motionstream.evaluate.lpips import Lpips
    from motionstream.evaluate.pictures import plots
    from motionstream.evaluate.pictures.sheets import strips
    from motionstream.evaluate.variant import Variant, resized, sizes_name, with_sizes
    from motionstream.stream.model import fitted
    from motionstream.stream.video import read_image

    plan = Plan(frames, every, seed)
    if plot:
        plots.check_target(plot)
    perceptual = Lpips.load(lpips) if lpips else None
    opened = {path: read_image(path) for path in pictures}
    if len({path.stem for path in opened}) < len(pictures):
        raise ValueError("two pictures have the same name: rename one, figures are told apart by it")
    own = (chunk, sink, window)
    if variants and own != (None, None, None):
        raise ValueError("--variants gives all sizes: leave out --chunk, --sink and --window")
    loaded = load_model(model, device)
    wanted = _parts(variants)
    rollings = [with_sizes(loaded.rolling, one) for one in wanted] or [resized(loaded.rolling, *own)]
    models = {sizes_name(rolling): Variant(loaded, rolling) for rolling in rollings}
    fitting = {path.stem: fitted(image, loaded.size)[0] for path, image in opened.items()}
    names = _parts(scenes)
    with console.progress("frames", frames * len(models) * len(fitting) * len(names)) as bar:
        figures, rows = evaluate_long(models, fitting, names, plan, journal, perceptual, progress=bar.over_chunks)
    if sheet:
        strips(rows, sheet)
    if plot:
        draw(figures, plot)
    told = {**weights_of(model, loaded), **figures}
    console.report(f"{model}, long streams", {key: told[key] for key in told if key != "curves"}, None)
    console.write_json(told, json_out)


@app.command("ablate")
def evaluate_ablate_command(
    assets: Assets,
    model: Model = "tiny",
    device: Device = "auto",
    recipe: Annotated[
        str, typer.Option(help="all, rollout, or one table: sink, window, chunk, steps, tracks, guidance.")
    ] = "all",
    clips: Annotated[int, typer.Option(help="Held-out worlds.", min=1)] = 4,
    frames: Annotated[int, typer.Option(help="Of the student's clips, 1 + 4·n.", min=5, max=961)] = 81,
    split: Annotated[str, typer.Option(help="heldout or heldout-far.")] = "heldout",
    seed: Seed = 0,
    runs: Annotated[
        Path | None, typer.Option(help="The folder that `motionstream train --out` wrote: its teacher is measured.")
    ] = None,
    stage: Annotated[str, typer.Option(help="teacher or teacher-mask.")] = "teacher-mask",
    w_t: Annotated[str, typer.Option("--w-t", help="Weights of the text.")] = "0,1.5,3,4.5",
    w_m: Annotated[str, typer.Option("--w-m", help="Weights of the tracks.")] = "0,0.75,1.5,3",
    teacher_steps: Annotated[int, typer.Option(help="Steps of the teacher's ODE.", min=1)] = 24,
    lpips: Annotated[Path | None, typer.Option(help="LPIPS weights, .safetensors, to measure that too.")] = None,
    markdown_out: Annotated[Path | None, typer.Option("--markdown", help="Write the tables here.")] = None,
    plots_out: Annotated[
        Path | None, typer.Option("--plots", help="A folder for time.png and, with LPIPS, guidance.png.")
    ] = None,
    journal: Annotated[Path | None, typer.Option(help="Keep results here: a cut run goes on.")] = None,
    timed: Annotated[
        bool, typer.Option("--timed/--untimed", help="Without times, where the machine does other work too.")
    ] = True,
    json_out: JsonOut = None,
) -> None:
    """Change one thing at a time and measure what it is worth: sink, window, chunk, steps, tracks, guidance.

    Everything but the guidance is of the student as it streams; guidance needs a training run's teacher.

    [bold]motionstream evaluate ablate --assets pictures --recipe rollout --plots drawn --markdown table.md[/]

    [bold]motionstream evaluate ablate --assets pictures --recipe guidance --runs out --lpips alex.safetensors[/]
    """
    from motionstream.cli.teacher import load_teacher
    from motionstream.data.assets import AssetLibrary
    from motionstream.data.synthetic import SyntheticWorlds
    from motionstream.evaluate import ablate
    from motionstream.evaluate.journal import Journal
    from motionstream.evaluate.lpips import Lpips
    from motionstream.evaluate.pictures import plots
    from motionstream.evaluate.variant import shift_of

    tables = ablate.tables_of_recipe(recipe, with_teacher=runs is not None)
    grid = _numbers("--w-t", w_t), _numbers("--w-m", w_m)
    if plots_out:
        plots.check_target(plots_out / "time.png")
    library = AssetLibrary(assets, split=split)
    perceptual = Lpips.load(lpips) if lpips else None
    loaded = load_model(model, device)
    worlds = SyntheticWorlds(library, size=loaded.size, frames=frames, seed=seed)
    teacher = load_teacher(runs, stage, str(loaded.device)) if ablate.GUIDANCE in tables and runs else None
    settings = {**weights_of(model, loaded), "split": split, "frames": frames, "seed": seed}
    book = Journal(journal, {"evaluation": "ablate", **settings, "lpips": lpips is not None})
    rows = len(ablate.distinct(ablate.student_settings(loaded, tables))) + len(grid[0]) * len(grid[1]) * bool(teacher)
    with console.progress("clips", clips * rows) as bar:
        study = ablate.Study(book, clips, perceptual, seed, bar.over)
        figures = ablate.evaluate_student(loaded, shift_of(model), worlds.sample, tables, study)
        if teacher:
            own = SyntheticWorlds(library, size=teacher.geometry.size, frames=teacher.frames, seed=seed)
            figures |= ablate.evaluate_guidance(teacher, own.sample, *grid, teacher_steps, study)
    missing = sorted(set(ablate.RECIPES[recipe]) - set(tables))
    if not timed:
        figures, missing = ablate.untimed(figures), [*missing, ablate.TIME]
    told = {**settings, **figures, **ablate.circumstances(study, worlds, missing)}
    written = ablate.markdown(told)
    typer.echo(written)
    if markdown_out:
        markdown_out.parent.mkdir(parents=True, exist_ok=True)
        markdown_out.write_text(written + "\n", encoding="utf-8")
    for drawn in ablate.draw(told, plots_out) if plots_out else ():
        typer.echo(f"{drawn}: drawn")
    console.write_json(told, json_out)


def _parts(text: str) -> list[str]:
    """ "a, b" → ["a", "b"], each once."""
    return list(dict.fromkeys(part.strip() for part in text.split(",") if part.strip()))


def _numbers(option: str, text: str) -> list[float]:
    """ "0,1.5" → [0.0, 1.5]. Raises ValueError that names the option."""
    try:
        numbers = [float(part) for part in _parts(text)]
    except ValueError:
        numbers = []
    if not numbers or not all(0 <= number < float("inf") for number in numbers):
        raise ValueError(f"{option} {text}: write numbers from 0 up, such as 0,1.5,3")
    return numbers


@app.command("tracker")
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
    split: Annotated[str, typer.Option(help="heldout or heldout-far.")] = "heldout",
    seed: Seed = 0,
    journal: Annotated[Path | None, typer.Option(metavar="FILE", help="Go on from here after an interruption.")] = None,
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


@app.command("camera")
def evaluate_camera_command(
    data: Annotated[str, typer.Option(help="scenes (synthetic, exact), or a folder of LLFF scenes.")] = "scenes",
    assets: Annotated[Path | None, typer.Option(help="For scenes: cutouts/ and backgrounds/, or manifest.csv.")] = None,
    model: Model = "tiny",
    device: Device = "auto",
    count: Annotated[int, typer.Option(help="Synthetic scenes.", min=1)] = 16,
    pairs: Annotated[int, typer.Option(help="Target views of each LLFF scene.", min=1)] = 4,
    frames: Annotated[int, typer.Option(help="1 + 4·n.", min=5, max=241)] = 45,
    depth: Depth = "plane",
    depth_weights: DepthWeights = None,
    download: DepthDownload = False,
    grid: Annotated[str, typer.Option(metavar="COLSxROWS", help="Points; the paper's is 50x50.")] = "32x18",
    compare_at: Annotated[
        str | None, typer.Option(metavar="WxH", help="LLFF: size to compare in; else the model's. Paper: 512x288.")
    ] = None,
    split: Annotated[str, typer.Option(help="Of the assets: heldout or heldout-far.")] = "heldout",
    seed: Seed = 0,
    lpips: Annotated[Path | None, typer.Option(help="LPIPS weights, .safetensors, to measure that too.")] = None,
    sheet: Annotated[Path | None, typer.Option(help="Also draw true and made frames side by side, .png.")] = None,
    journal: Annotated[Path | None, typer.Option(metavar="FILE", help="Go on from here after an interruption.")] = None,
    json_out: JsonOut = None,
) -> None:
    """Measure whether a model goes where its camera goes, beside standing still and warping the first frame.

    [bold]motionstream evaluate camera --assets pictures --count 16 --json camera.json --sheet camera.png[/]

    [bold]motionstream evaluate camera --data llff --depth depth-anything --depth-weights DA --compare-at 512x288[/]

    Synthetic scenes tell the depth's error from the model's; LLFF is the paper's protocol (docs/camera.md).
    """
    from motionstream.evaluate.camera import Setting, evaluate_llff, evaluate_scenes, synthetic
    from motionstream.evaluate.journal import Journal
    from motionstream.evaluate.lpips import Lpips
    from motionstream.evaluate.motion import Example, by_model
    from motionstream.evaluate.pictures import sheets
    from motionstream.evaluate.views import llff

    points, at = grid_of(grid), None if compare_at is None else size_of(compare_at, "--compare-at")
    estimate = open_depth(depth, depth_weights, download)
    perceptual = Lpips.load(lpips) if lpips else None
    photographs = None if data == "scenes" else llff.scenes(Path(data))
    if photographs is None and assets is None:
        raise ValueError("--data scenes is made of pictures: name their folder with --assets")
    loaded = load_model(model, device)
    setting = Setting(by_model(loaded), estimate, points, seed, perceptual)
    shown: list[Example] | None = [] if sheet else None
    head = {**weights_of(model, loaded), "data": data, "depth": depth, "frames": frames, "seed": seed}
    settings = {"grid": points, "at": at, "lpips": bool(lpips), "split": split, "size": loaded.size}
    kept = Journal(journal, {"evaluation": "camera", **head, **settings})
    if photographs is None:
        worlds = synthetic(Path(str(assets)), split, loaded.size, frames, seed, count)
        with console.progress("scenes", count) as bar:
            figures = evaluate_scenes(setting, bar.over(worlds), kept, shown)
        head["split"] = split
    else:
        found, skipped = photographs
        with console.progress("pairs", sum(len(scene.pairs(pairs)) for scene in found)) as bar:
            figures = evaluate_llff(setting, loaded.size, found, skipped, frames, kept, at, pairs, shown, bar.over)
    if sheet and shown:
        sheets.draw(shown, sheet)
    elif sheet:
        typer.echo(f"{sheet}: not drawn, for every figure came from the journal", err=True)
    console.report(f"{model}, camera", {**head, **figures}, json_out)


@app.command("counterfactual")
def evaluate_counterfactual_command(
    assets: Assets,
    model: Model = "tiny",
    device: Device = "auto",
    clips: Annotated[int, typer.Option(help="Held-out worlds.", min=1)] = 16,
    frames: Annotated[int, typer.Option(help="1 + 4·n.", min=9, max=241)] = 45,
    control: Annotated[str, typer.Option(help="dense, object (a grid on it) or hand (a small rigid grid).")] = "object",
    split: Annotated[str, typer.Option(help="heldout or heldout-far.")] = "heldout",
    seed: Seed = 0,
    journal: Annotated[Path | None, typer.Option(metavar="FILE", help="Go on from here after an interruption.")] = None,
    sheet: Annotated[Path | None, typer.Option(help="Also draw every variant of two clips, .png.")] = None,
    json_out: JsonOut = None,
) -> None:
    """Measure whether control is more than luck: the same picture with tracks that did not happen.

    [bold]motionstream evaluate counterfactual --assets pictures --clips 16 --json control.json --sheet control.png[/]

    [bold]motionstream evaluate counterfactual --assets pictures --control hand --journal hand.jsonl --json hand.json[/]

    Movement is mirrored, turned, delayed, taken from another clip, and stopped. not_given_over_given: how many times
    nearer the video is to the tracks given than to the true ones; a model that ignores its tracks has 1 or less.
    It counts where the tracker works on the warped picture: read it beside counted_share and not_given_over_given_all,
    the same of all visible places. The truth is between the two.
    Then what else moved (leakage), and what hidden, released and pinned points do.
    """
    from functools import lru_cache

    from motionstream.data.assets import AssetLibrary
    from motionstream.data.synthetic import SyntheticWorlds
    from motionstream.evaluate.counterfactual import checked_control, evaluate_counterfactual, examples, letting_go
    from motionstream.evaluate.journal import Journal
    from motionstream.evaluate.motion import by_model
    from motionstream.evaluate.pictures import sheets

    checked_control(control)
    library = AssetLibrary(assets, split=split)
    loaded = load_model(model, device)
    worlds = SyntheticWorlds(library, size=loaded.size, frames=frames, seed=seed, effects=False)
    clip_at = lru_cache(maxsize=4)(worlds.sample)
    head = {**weights_of(model, loaded), "split": split}
    key = {"evaluation": "counterfactual", **head, "assets": str(assets), "clips": clips, "frames": frames}
    kept = Journal(journal, {**key, "control": control, "seed": seed})
    generate = by_model(loaded)
    with console.progress("worlds", clips) as bar:
        figures = evaluate_counterfactual(
            generate, clip_at, clips, control, seed, letting_go(loaded), kept, over=bar.over
        )
    if sheet:
        sheets.draw(examples(generate, clip_at, clips, control, seed), sheet)
    report = {**head, **figures}
    headline = {name: {**one, "variants": len(one["variants"])} for name, one in figures["scores"].items()}
    console.report(f"{model}, counterfactual", {**report, "scores": headline}, None)
    console.write_json(report, json_out)


@app.command("text")
def evaluate_text_command(
    assets: Assets,
    model: Model = "tiny",
    device: Device = "auto",
    clips: Annotated[int, typer.Option(help="Held-out worlds, each under every prompt.", min=1)] = 16,
    probe_clips: Annotated[int, typer.Option(help="Training worlds that the probe is fitted on.", min=1)] = 48,
    frames: Annotated[int, typer.Option(help="1 + 4·n.", min=17, max=241)] = 45,
    points: Annotated[int, typer.Option(help="Tracks in each world.", min=16)] = 150,
    split: Annotated[str, typer.Option(help="heldout or heldout-far.")] = "heldout",
    seed: Seed = 0,
    journal: Annotated[Path | None, typer.Option(metavar="FILE", help="Go on from here after an interruption.")] = None,
    sheet: Annotated[Path | None, typer.Option(help="Also draw each effect, true and made, .png.")] = None,
    json_out: JsonOut = None,
) -> None:
    """Measure whether the prompt does what it says (snow, fog, dusk, …), also midway, and spares the motion.

    [bold]motionstream evaluate text --assets pictures --journal text.jsonl --json text.json --sheet text.png[/]

    A probe fitted on true clips of the training pictures says which effect a video shows; its own accuracy on true
    held-out clips stands beside every figure. A model that does not read prompts is recognised one time in eight.
    """
    from motionstream.data.assets import AssetLibrary
    from motionstream.data.synthetic import SyntheticWorlds
    from motionstream.evaluate import text
    from motionstream.evaluate.journal import Journal
    from motionstream.evaluate.motion import by_model
    from motionstream.evaluate.pictures.sheets import strips

    libraries = AssetLibrary(assets, split="train"), AssetLibrary(assets, split=split)
    loaded = load_model(model, device)
    training, heldout = (
        SyntheticWorlds(library, size=loaded.size, frames=frames, seed=seed, effects=False, points=points)
        for library in libraries
    )
    head = {**weights_of(model, loaded), "split": split}
    key = {"evaluation": "text", **head, "assets": str(assets), "frames": frames, "points": points, "seed": seed}
    kept = Journal(journal, key)
    generate = by_model(loaded)
    with console.progress("worlds", probe_clips + clips) as bar:
        figures = text.evaluate_text(
            generate, text.by_changing(loaded), training, heldout, probe_clips, clips, seed, kept, bar.over
        )
    if sheet:
        strips(text.shown(heldout, generate, seed=seed), sheet)
    console.report(f"{model}, text", {**head, **figures}, json_out)


@app.command("report")
def evaluate_report_command(
    results: Annotated[Path, typer.Option(help="The folder of JSON files, sheets and videos.")] = Path("docs/results"),
    markdown_out: Annotated[
        Path | None, typer.Option("--markdown", metavar="FILE", help="Write the tables here as Markdown.")
    ] = None,
    html_out: Annotated[
        Path | None, typer.Option("--html", metavar="FILE", help="Write one page here, with pictures and videos.")
    ] = None,
) -> None:
    """Put all figures of a folder together: ours beside the paper's, sheets and videos, and what is missing.

    [bold]motionstream evaluate report --html out/report.html[/]

    [bold]motionstream evaluate report --results figures --markdown results.md --html report.html[/]

    A .png, .mp4 or .webm in the folder, or one folder down, stands with the JSON file whose name it begins with
    (motion.json: motion.png, motion/dog.mp4). Damaged files are named, left out and counted.
    """
    from motionstream.evaluate.reporting import page, report

    if markdown_out is None and html_out is None:
        raise ValueError("nowhere to write to: name a file with --markdown, --html or both")
    built = report.build(results)
    for each in built.damaged:
        typer.echo(f"{each.file}: left out, {each.reason}", err=True)
    for file, write in ((markdown_out, report.markdown), (html_out, page.html)):
        if file is not None:
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(write(built, file.parent), encoding="utf-8")
            typer.echo(f"{file}: written")
    console.table("report", built.counts())
