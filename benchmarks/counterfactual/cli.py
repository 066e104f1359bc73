"""`python -m benchmarks counterfactual`: is it control, or luck."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Annotated

import typer

from benchmarks.counterfactual.evaluation import evaluate_counterfactual, examples
from benchmarks.counterfactual.release import releasing
from benchmarks.counterfactual.tasks import checked_control
from benchmarks.report import report
from motionstream import console
from motionstream.cli import options
from motionstream.data.assets import AssetLibrary
from motionstream.data.synthetic import SyntheticWorlds
from motionstream.evaluate.baselines import by_model
from motionstream.evaluate.harness import Results
from motionstream.evaluate.pictures import sheets


def counterfactual_command(
    assets: options.Assets,
    model: options.Model = "tiny",
    device: options.Device = "auto",
    clips: Annotated[int, typer.Option(help="Held-out worlds.", min=1)] = 16,
    frames: Annotated[int, typer.Option(help="1 + 4·n.", min=9, max=241)] = 45,
    control: Annotated[str, typer.Option(help="dense, object (a grid on it) or hand (a small rigid grid).")] = "object",
    split: options.HeldOut = "heldout",
    seed: options.Seed = 0,
    resume_file: options.ResumeFile = None,
    sheet: Annotated[Path | None, typer.Option(help="Also draw every variant of two clips, .png.")] = None,
    json_out: options.JsonOut = None,
) -> None:
    """Measure whether control is more than luck: the same picture with tracks that did not happen.

    [bold]python -m benchmarks counterfactual --assets pictures --clips 16 --json control.json --sheet control.png[/]

    [bold]python -m benchmarks counterfactual --assets pictures --control hand --resume-file hand.jsonl[/]

    Movement is mirrored, turned, delayed, taken from another clip, and stopped. control_ratio: distance of
    the video to the true tracks over its distance to those given; a model that ignores its tracks has 1 or less.
    It counts where the tracker works on the warped picture: read it beside counted_share and control_ratio_all,
    the same of all visible places. The truth is between the two.
    Then what else moved (leakage), and what hidden, released and pinned points do.
    """
    checked_control(control)
    library = AssetLibrary(assets, split=split)
    loaded = options.load_model(model, device)
    worlds = SyntheticWorlds(library, size=loaded.size, frames=frames, seed=seed, effects=False)
    clip_at = lru_cache(maxsize=4)(worlds.sample)
    head = {**options.weights_of(model, loaded), "split": split}
    key = {"evaluation": "counterfactual", **head, "assets": str(assets), "clips": clips, "frames": frames}
    kept = Results(resume_file, {**key, "control": control, "seed": seed})
    generate = by_model(loaded)
    with console.progress("worlds", clips) as bar:
        figures = evaluate_counterfactual(
            generate, clip_at, clips, control, seed, releasing(loaded), kept, over=bar.over
        )
    if sheet:
        sheets.draw(examples(generate, clip_at, clips, control, seed), sheet)
    whole = {**head, **figures}
    report.show(model, whole)
    console.write_json(whole, json_out)
