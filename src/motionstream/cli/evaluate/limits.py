"""`motionstream evaluate limits`: which part of a model, and which kind of clip, its error comes from."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from motionstream import console
from motionstream.cli.options import (
    Assets,
    Device,
    EvaluationJournal,
    HeldOut,
    JsonOut,
    LpipsWeights,
    Model,
    Seed,
    Variety,
    load_model,
    weights_of,
)


def evaluate_limits_command(
    assets: Assets,
    model: Model = "tiny",
    device: Device = "auto",
    clips: Annotated[int, typer.Option(help="Held-out worlds; each kind of clip needs some.", min=1)] = 32,
    frames: Annotated[int, typer.Option(help="1 + 4·n.", min=5, max=241)] = 45,
    control: Annotated[str, typer.Option(help="dense, 20 or object, or another of evaluate motion.")] = "dense",
    split: HeldOut = "heldout",
    variety: Variety = 0.0,
    seed: Seed = 0,
    lpips: LpipsWeights = None,
    plot: Annotated[Path | None, typer.Option(help="Draw both tables as bars, .png.")] = None,
    sheet: Annotated[Path | None, typer.Option(help="Also draw the worst clips: true, whole and warp, .png.")] = None,
    journal: EvaluationJournal = None,
    json_out: JsonOut = None,
) -> None:
    """Say what limits a model: its VAE, the warp, its network, detail or look; and which clips are hard for it.

    [bold]motionstream evaluate limits --assets pictures --clips 32 --json limits.json --plot limits.png[/]

    [bold]motionstream evaluate limits --assets pictures --control 20 --journal limits.jsonl --sheet worst.png[/]

    The same clips are made by ever more of the model: vae (the true clip through the VAE), warp, warp through the vae
    (a network that corrects nothing), student (no detail, no look), with detail (no look), whole. A part that the
    model lacks is left out. Then the whole model by effect, plot, speed, share uncovered and share that moves.
    """
    from motionstream.data.assets import AssetLibrary
    from motionstream.evaluate import limits
    from motionstream.evaluate.clips import worlds
    from motionstream.evaluate.journal import Journal
    from motionstream.evaluate.lpips import Lpips
    from motionstream.evaluate.motion import checked
    from motionstream.evaluate.pictures import plots, sheets

    checked([control])
    if plot:
        plots.check_target(plot)
    library = AssetLibrary(assets, split=split)
    perceptual = Lpips.load(lpips) if lpips else None
    loaded = load_model(model, device)
    sources = worlds(library, loaded.size, frames, seed, clips, variety)
    settings = {**weights_of(model, loaded), "split": split, "variety": variety}
    key = {"evaluation": "limits", **settings, "assets": str(assets), "frames": frames, "control": control}
    kept = Journal(journal, {**key, "seed": seed, "lpips": str(lpips)})
    with console.progress("worlds", clips) as bar:
        makers = limits.ladder(loaded, seed)
        figures = limits.evaluate_limits(makers, sources, control, seed, perceptual, kept, watch=bar.over)
    report = {**settings, **figures}
    for table in limits.tables(report):
        console.grid(f"{model}: {table.title}", [table.head, *(line.cells for line in table.lines)])
    console.write_json(report, json_out)
    if plot:
        limits.draw(report, plot)
    if sheet:
        sheets.draw(list(limits.examples(loaded, sources, report)), sheet)
