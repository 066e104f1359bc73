"""`motionstream evaluate long`: does a stream keep its quality for minutes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from motionstream import console
from motionstream.cli import options


def evaluate_long_command(
    pictures: Annotated[list[Path], typer.Argument(help="Start pictures.")],
    model: options.Model = "tiny",
    device: options.Device = "auto",
    frames: Annotated[int, typer.Option(help="Length of each stream; 18000 is ten minutes or more.", min=100)] = 18000,
    every: Annotated[int, typer.Option(help="Frames between samples, a multiple of 100.", min=100)] = 300,
    patterns: Annotated[
        str, typer.Option(help="Tracks given: any of moving, idle, pinned, circling, panning.")
    ] = "moving,idle,pinned",
    chunk: Annotated[int | None, typer.Option(help="Latents a step, instead of the model's own.", min=1)] = None,
    sink: Annotated[int | None, typer.Option(help="First latents that stay in the cache.", min=0)] = None,
    window: Annotated[int | None, typer.Option(help="Latest latents that stay in the cache.", min=0)] = None,
    variants: Annotated[
        str, typer.Option(help="Several sizes side by side: chunk, sink, window in latents, such as c1s3w3,c1s0w3.")
    ] = "",
    seed: options.Seed = 0,
    lpips: options.LpipsWeights = None,
    plot: Annotated[Path | None, typer.Option(help="Draw every figure over time, .png.")] = None,
    sheet: Annotated[Path | None, typer.Option(help="Draw frames of every stream, .png.")] = None,
    resume_file: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="Keep samples here and streams beside it: an interrupted run continues bit for bit."
        ),
    ] = None,
    json_out: options.JsonOut = None,
) -> None:
    """Run streams for minutes and measure regularly how well picture, control and speed are kept.

    Each figure is compared with its value at frame 100; the table gives the worst of the run.

    [bold]motionstream evaluate long photo.jpg --frames 3000 --plot long.png --sheet frames.png[/]

    [bold]motionstream evaluate long photo.jpg --lpips alex.safetensors --resume-file long.jsonl --json long.json[/]

    [bold]motionstream evaluate long photo.jpg --variants c3s3w3,c3s0w3,c3s3w18 --patterns moving --plot sink.png[/]
    """
    from motionstream.evaluate.long import Schedule, evaluate_long
    from motionstream.evaluate.pictures import plots
    from motionstream.evaluate.pictures.sheets import strips
    from motionstream.evaluate.stream_figures import draw
    from motionstream.evaluate.variant import sizes_name, variant, with_sizes
    from motionstream.stream.model import fitted
    from motionstream.stream.video import read_image

    schedule = Schedule(frames, every, seed)
    if plot:
        plots.check_target(plot)
    perceptual = options.load_lpips(lpips)
    opened = {path: read_image(path) for path in pictures}
    if len({path.stem for path in opened}) < len(pictures):
        raise ValueError("two pictures have the same name: rename one, figures are told apart by it")
    own = {name: size for name, size in (("chunk", chunk), ("sink", sink), ("window", window)) if size is not None}
    if variants and own:
        raise ValueError("--variants gives all sizes: leave out --chunk, --sink and --window")
    loaded = options.load_model(model, device)
    rollout_config = loaded.rollout_config
    sizes = [with_sizes(rollout_config, one) for one in options.parts_of(variants)] or [replace(rollout_config, **own)]
    models = {sizes_name(one): variant(loaded, one) for one in sizes}
    fitting = {path.stem: fitted(image, loaded.size)[0] for path, image in opened.items()}
    chosen = options.parts_of(patterns)
    with console.progress("frames", frames * len(models) * len(fitting) * len(chosen)) as bar:
        figures, rows = evaluate_long(
            models, fitting, chosen, schedule, resume_file, perceptual, progress=bar.over_chunks
        )
    if sheet:
        strips(rows, sheet)
    if plot:
        draw(figures, plot)
    report = {**options.weights_of(model, loaded), **figures}
    console.report(f"{model}, long streams", {key: report[key] for key in report if key != "curves"}, None)
    console.write_json(report, json_out)
