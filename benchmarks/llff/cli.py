"""`python -m benchmarks llff`: camera control on photographs with known poses."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from benchmarks.llff.evaluation import Setup, evaluate_llff
from benchmarks.llff.scenes import scenes
from motionstream import console
from motionstream.cli import options
from motionstream.evaluate.baselines import by_model
from motionstream.evaluate.harness import Results
from motionstream.evaluate.pictures import sheets
from motionstream.evaluate.pictures.sheets import Example


def llff_command(
    data: Annotated[Path, typer.Argument(help="A folder of LLFF scenes, or one of them.")],
    model: options.Model = "tiny",
    device: options.Device = "auto",
    pairs: Annotated[int, typer.Option(help="Target views of each scene.", min=1)] = 4,
    frames: Annotated[int, typer.Option(help="1 + 4·n.", min=5, max=241)] = 45,
    depth: options.Depth = "plane",
    depth_weights: options.DepthWeights = None,
    download: options.DepthDownload = False,
    grid: Annotated[str, typer.Option(metavar="COLSxROWS", help="Points; the paper's is 50x50.")] = "32x18",
    compare_at: Annotated[
        str | None, typer.Option(metavar="WxH", help="Size to compare in; else the model's. Paper: 512x288.")
    ] = None,
    seed: options.Seed = 0,
    lpips: options.LpipsWeights = None,
    sheet: Annotated[Path | None, typer.Option(help="Also draw target and made frames side by side, .png.")] = None,
    resume_file: options.ResumeFile = None,
    json_out: options.JsonOut = None,
) -> None:
    """Measure camera control on LLFF (paper): the last frame against the photograph from the target's pose.

    [bold]python -m benchmarks llff LLFF --depth depth-anything --depth-weights DA --compare-at 512x288[/]
    """
    points, at = options.grid_of(grid), None if compare_at is None else options.size_of(compare_at, "--compare-at")
    estimate, perceptual = (
        options.open_depth(depth, depth_weights, download),
        options.load_lpips(lpips),
    )
    found, skipped = scenes(data)
    loaded = options.load_model(model, device)
    shown: list[Example] | None = [] if sheet else None
    setup = Setup(by_model(loaded), estimate, loaded.size, frames, at, points, seed, perceptual, shown)
    head = {**options.weights_of(model, loaded), "data": str(data), "depth": depth, "frames": frames, "seed": seed}
    key = {"evaluation": "llff", **head, "grid": points, "at": at, "lpips": bool(lpips), "size": loaded.size}
    with console.progress("pairs", sum(len(scene.pairs(pairs)) for scene in found)) as bar:
        figures = evaluate_llff(setup, found, skipped, pairs, Results(resume_file, key), bar.over)
    if sheet and shown:
        sheets.draw(shown, sheet)
    elif sheet:
        typer.echo(f"{sheet}: not drawn, for every figure was measured before", err=True)
    console.report(f"{model}, camera, LLFF", {**head, **figures}, json_out)
