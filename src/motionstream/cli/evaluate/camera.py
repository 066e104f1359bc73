"""`motionstream evaluate camera`: does a model go where its camera goes."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from motionstream import console
from motionstream.cli.options import (
    AssetsHeldOut,
    Depth,
    DepthDownload,
    DepthWeights,
    Device,
    EvaluationJournal,
    JsonOut,
    LpipsWeights,
    Model,
    Seed,
    grid_of,
    load_model,
    open_depth,
    size_of,
    weights_of,
)


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
    split: AssetsHeldOut = "heldout",
    seed: Seed = 0,
    lpips: LpipsWeights = None,
    sheet: Annotated[Path | None, typer.Option(help="Also draw true and made frames side by side, .png.")] = None,
    journal: EvaluationJournal = None,
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
