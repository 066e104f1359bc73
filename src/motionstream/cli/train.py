"""`motionstream train`: one stage of a recipe, or an estimate of its cost."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from motionstream import console
from motionstream.cli import options


def train(
    stage: Annotated[
        str,
        typer.Argument(
            help="vae, teacher, teacher-mask, causal, self-forcing, rollout, vae-decoder, detail, "
            "prompt-filter, decoder."
        ),
    ],
    recipe: Annotated[
        str,
        typer.Option("--recipe", "-r", help="tiny_cpu, tiny_gpu, wan_1_3b, wan_5b, smoke, or a recipe's JSON file."),
    ],
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="Folder of all stages; each gets a folder of its own in it.")
    ] = None,
    assets: Annotated[
        Path | None,
        typer.Option("--assets", "--data", help="Pictures for the synthetic worlds; Wan: clips from data encode."),
    ] = None,
    minutes: Annotated[float | None, typer.Option(help="Save and stop after so many minutes.", min=0)] = None,
    resume: Annotated[bool, typer.Option(help="Resume from the newest undamaged checkpoint; else refuse one.")] = True,
    changes: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Change a field of the recipe; repeatable.")
    ] = None,
    finish: Annotated[
        bool, typer.Option("--finish", help="End the run, and the decay of the learning rate, with --minutes.")
    ] = False,
    vae: Annotated[Path | None, typer.Option(help="Stage decoder: the folder of Wan's VAE.")] = None,
    clips: Annotated[Path | None, typer.Option(help="Stage decoder: a folder of videos instead of --assets.")] = None,
    lpips: Annotated[
        Path | None, typer.Option(help="Stages vae-decoder, decoder: LPIPS weights, .safetensors.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Wan: estimate memory and time, train nothing.")] = False,
    gpus: Annotated[int, typer.Option(help="Dry run: number of GPUs.", min=1)] = 32,
    memory: Annotated[float, typer.Option(help="Dry run: memory of each GPU in GB.")] = 80.0,
    tflops: Annotated[float, typer.Option(help="Dry run: TFLOP/s that each GPU sustains.")] = 400.0,
    accumulate: Annotated[
        int | None, typer.Option(help="Batches a step, their gradients added; else the recipe's.", min=1)
    ] = None,
    json_out: options.JsonOut = None,
) -> None:
    """Train one stage. Stopped at any time, the same command resumes it exactly where it was.

    [bold]motionstream train teacher -r tiny_cpu --assets pictures -o out/tiny --minutes 60[/]

    [bold]motionstream train vae -r smoke --assets pictures -o out/try --set steps=20 --set lr=1e-3[/]

    [bold]motionstream train decoder -r wan2.1 --vae wan/vae --clips videos --lpips alex.safetensors -o out/wan[/]

    [bold]motionstream train teacher -r wan_1_3b --dry-run --gpus 8 --accumulate 16[/]

    Whole recipes, stage after stage: runs/tiny_cpu.sh, tiny_gpu.sh, wan_1_3b.sh, wan_5b.sh.
    Losses and contact sheets: tensorboard --logdir out
    """
    from motionstream.train import train as train_stage

    changes = [*(changes or ()), *([] if accumulate is None else [f"accumulate={accumulate}"])]
    if dry_run:
        from motionstream.plan.training import dry_run as estimate
        from motionstream.train.recipe import changed
        from motionstream.train.run import recipe_for

        figures = estimate(changed(recipe_for(stage, recipe), changes), gpus, tflops, memory)
        console.report(f"{stage} on {gpus} GPUs", figures, json_out)
        return
    if out is None:
        raise ValueError("name the folder of the stages with --out, or ask for --dry-run")
    if assets is None and clips is None:
        raise ValueError("nothing to train on: name a folder with --assets (stage decoder: or with --clips)")
    paths = {"vae": vae, "clips": clips, "lpips": lpips}
    named = [f"{key}={path.resolve()}" for key, path in paths.items() if path is not None]
    done = train_stage(stage, recipe, out, assets or Path(), minutes, resume, [*named, *changes], finish)
    if os.environ.get("RANK", "0") == "0":  # under torchrun one process reports for all
        typer.echo(f"{stage}: step {done.step} ({done.reason}), {done.seconds / 60:.0f} minutes trained in all")
