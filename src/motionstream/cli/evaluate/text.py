"""`motionstream evaluate text`: does the prompt do what it says."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from motionstream import console
from motionstream.cli import options


def evaluate_text_command(
    assets: options.Assets,
    model: options.Model = "tiny",
    device: options.Device = "auto",
    clips: Annotated[int, typer.Option(help="Held-out worlds, each under every prompt.", min=1)] = 16,
    probe_clips: Annotated[int, typer.Option(help="Training worlds that the probe is fitted on.", min=1)] = 48,
    frames: Annotated[int, typer.Option(help="1 + 4·n.", min=17, max=241)] = 45,
    points: Annotated[int, typer.Option(help="Tracks in each world.", min=16)] = 150,
    sheet: Annotated[Path | None, typer.Option(help="Also draw each effect, true and generated, .png.")] = None,
    split: options.HeldOut = "heldout",
    seed: options.Seed = 0,
    resume_file: options.ResumeFile = None,
    json_out: options.JsonOut = None,
) -> None:
    """Measure whether the prompt does what it says (snow, fog, dusk, …), also midway, and keeps the motion.

    [bold]motionstream evaluate text --assets pictures --resume-file text.jsonl --json text.json --sheet text.png[/]

    A probe fitted on true clips of the training pictures recognises the effect in a video; its own accuracy on true
    held-out clips stands beside every figure. A model that ignores prompts is recognised one time in eight.
    """
    from motionstream.data.assets import AssetLibrary
    from motionstream.data.synthetic import SyntheticWorlds
    from motionstream.evaluate import text
    from motionstream.evaluate.baselines import by_model
    from motionstream.evaluate.harness import Results
    from motionstream.evaluate.pictures.sheets import strips

    libraries = AssetLibrary(assets, split="train"), AssetLibrary(assets, split=split)
    loaded = options.load_model(model, device)
    training, heldout = (
        SyntheticWorlds(library, size=loaded.size, frames=frames, seed=seed, effects=False, points=points)
        for library in libraries
    )
    head = {**options.weights_of(model, loaded), "split": split}
    settings = {"evaluation": "text", **head, "assets": str(assets), "frames": frames, "points": points, "seed": seed}
    generate, results = by_model(loaded), Results(resume_file, settings)
    with console.progress("worlds", probe_clips + clips) as bar:
        figures = text.evaluate_text(
            generate, text.by_changing(loaded), training, heldout, probe_clips, clips, seed, results, bar.over
        )
    if sheet:
        strips(text.shown(heldout, generate, seed=seed), sheet)
    console.report(f"{model}, text", {**head, **figures}, json_out)
