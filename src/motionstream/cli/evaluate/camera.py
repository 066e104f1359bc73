"""`motionstream evaluate camera`: does a model go where its camera goes."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from motionstream import console
from motionstream.cli import options


def evaluate_camera_command(
    assets: options.Assets,
    model: options.Model = "tiny",
    device: options.Device = "auto",
    depth: options.Depth = "plane",
    depth_weights: options.DepthWeights = None,
    download: options.DepthDownload = False,
    count: Annotated[int, typer.Option(help="Synthetic scenes.", min=1)] = 16,
    frames: Annotated[int, typer.Option(help="1 + 4·n.", min=5, max=241)] = 45,
    grid: Annotated[str, typer.Option(metavar="COLSxROWS", help="Points; the paper's is 50x50.")] = "32x18",
    split: options.HeldOut = "heldout",
    seed: options.Seed = 0,
    lpips: options.LpipsWeights = None,
    resume_file: options.ResumeFile = None,
    json_out: options.JsonOut = None,
    sheet: Annotated[Path | None, typer.Option(help="Also draw true and made frames side by side, .png.")] = None,
) -> None:
    """Measure whether a model follows a camera, beside a still picture and a warp of the first frame.

    [bold]motionstream evaluate camera --assets pictures --count 16 --json camera.json --sheet camera.png[/]

    [bold]motionstream evaluate camera --assets pictures --depth depth-anything --depth-weights DA --json camera.json[/]

    Synthetic scenes have exact depth, so the error of the depth is told apart from the model's (docs/camera.md).
    """
    from motionstream.evaluate.baselines import by_model
    from motionstream.evaluate.camera import Setting, evaluate_scenes, synthetic
    from motionstream.evaluate.harness import Results
    from motionstream.evaluate.pictures import sheets

    points = options.grid_of(grid)
    estimate = options.open_depth(depth, depth_weights, download)
    perceptual = options.load_lpips(lpips)
    loaded = options.load_model(model, device)
    setting = Setting(by_model(loaded), estimate, points, seed, perceptual)
    shown: list[sheets.Example] | None = [] if sheet else None
    head = {**options.weights_of(model, loaded), "data": "scenes", "depth": depth, "frames": frames, "seed": seed}
    settings = {"grid": points, "lpips": bool(lpips), "split": split, "size": loaded.size}
    results = Results(resume_file, {"evaluation": "camera", **head, **settings})
    scenes = synthetic(assets, split, loaded.size, frames, seed, count)
    with console.progress("scenes", count) as bar:
        figures = evaluate_scenes(setting, scenes, results, shown, bar.over)
    if sheet and shown:
        sheets.draw(shown, sheet)
    elif sheet:
        typer.echo(f"{sheet}: not drawn, for all scenes were in {resume_file} already", err=True)
    console.report(f"{model}, camera", {**head, **figures, "split": split}, json_out)
