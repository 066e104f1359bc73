"""`motionstream evaluate long`: what is left after minutes of a stream."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from motionstream import console
from motionstream.cli.options import Device, JsonOut, Model, Seed, load_model, parts_of, weights_of


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
    wanted = parts_of(variants)
    rollings = [with_sizes(loaded.rollout_config, one) for one in wanted] or [resized(loaded.rollout_config, *own)]
    models = {sizes_name(rollout_config): Variant(loaded, rollout_config) for rollout_config in rollings}
    fitting = {path.stem: fitted(image, loaded.size)[0] for path, image in opened.items()}
    names = parts_of(scenes)
    with console.progress("frames", frames * len(models) * len(fitting) * len(names)) as bar:
        figures, rows = evaluate_long(models, fitting, names, plan, journal, perceptual, progress=bar.over_chunks)
    if sheet:
        strips(rows, sheet)
    if plot:
        draw(figures, plot)
    told = {**weights_of(model, loaded), **figures}
    console.report(f"{model}, long streams", {key: told[key] for key in told if key != "curves"}, None)
    console.write_json(told, json_out)
