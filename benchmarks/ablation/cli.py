"""`python -m benchmarks ablation`: what each choice is worth, one changed at a time."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from benchmarks.ablation import evaluation, plots, settings
from benchmarks.ablation.teacher import load_teacher
from benchmarks.report import report
from motionstream import console, model_folder, zoo
from motionstream.cli import options
from motionstream.data.assets import AssetLibrary
from motionstream.data.synthetic import SyntheticWorlds
from motionstream.evaluate.harness import Results, stamp
from motionstream.evaluate.pictures.plots import check_target


def ablation_command(
    assets: options.Assets,
    model: options.Model = "tiny",
    device: options.Device = "auto",
    recipe: Annotated[
        str, typer.Option(help="all, rollout, or one table: sink, window, chunk, steps, tracks, guidance.")
    ] = "all",
    clips: Annotated[int, typer.Option(help="Held-out worlds.", min=1)] = 4,
    frames: Annotated[int, typer.Option(help="Of the student's clips, 1 + 4·n.", min=5, max=961)] = 81,
    split: options.HeldOut = "heldout",
    seed: options.Seed = 0,
    runs: Annotated[
        Path | None, typer.Option(help="The folder that `motionstream train --out` wrote: its teacher is measured.")
    ] = None,
    stage: Annotated[str, typer.Option(help="teacher or teacher-mask.")] = "teacher-mask",
    w_t: Annotated[str, typer.Option("--w-t", help="Weights of the text.")] = "0,1.5,3,4.5",
    w_m: Annotated[str, typer.Option("--w-m", help="Weights of the tracks.")] = "0,0.75,1.5,3",
    teacher_steps: Annotated[int, typer.Option(help="Steps of the teacher's ODE.", min=1)] = 24,
    lpips: options.LpipsWeights = None,
    plots_out: Annotated[
        Path | None, typer.Option("--plots", help="A folder for time.png and, with LPIPS, guidance.png.")
    ] = None,
    resume_file: options.ResumeFile = None,
    timed: Annotated[
        bool, typer.Option("--timed/--untimed", help="Without times, where the machine does other work too.")
    ] = True,
    json_out: options.JsonOut = None,
) -> None:
    """Change one thing at a time and measure what it is worth: sink, window, chunk, steps, tracks, guidance.

    Everything but the guidance is of the student as it streams; guidance needs a training run's teacher.

    [bold]python -m benchmarks ablation --assets pictures --recipe rollout --plots drawn --json ablation.json[/]

    [bold]python -m benchmarks ablation --assets pictures --recipe guidance --runs out --lpips alex.safetensors[/]
    """
    tables = settings.tables_of_recipe(recipe, with_teacher=runs is not None)
    grid = _numbers("--w-t", w_t), _numbers("--w-m", w_m)
    if plots_out:
        check_target(plots_out / "time.png")
    library = AssetLibrary(assets, split=split)
    perceptual = options.load_lpips(lpips)
    loaded = options.load_model(model, device)
    worlds = SyntheticWorlds(library, size=loaded.size, frames=frames, seed=seed)
    teacher = load_teacher(runs, stage, str(loaded.device)) if settings.GUIDANCE in tables and runs else None
    shift = float(model_folder.read_header(zoo.folder_of(model))["live"]["shift"])
    head = {**options.weights_of(model, loaded), "split": split, "frames": frames, "seed": seed}
    kept = Results(resume_file, {"evaluation": "ablation", **head, "lpips": lpips is not None})
    chosen = evaluation.distinct(settings.student_settings(loaded, tables))
    with console.progress("clips", clips * (len(chosen) + len(grid[0]) * len(grid[1]) * bool(teacher))) as bar:
        study = evaluation.Study(kept, clips, perceptual, seed, bar.over)
        figures = evaluation.evaluate_student(loaded, shift, worlds.sample, tables, study)
        if teacher:
            own = SyntheticWorlds(library, size=teacher.geometry.size, frames=teacher.frames, seed=seed)
            figures |= evaluation.evaluate_guidance(teacher, own.sample, *grid, teacher_steps, study)
    missing = sorted(set(settings.RECIPES[recipe]) - set(tables)) + ([] if lpips else ["lpips"])
    if not timed:
        figures, missing = evaluation.untimed(figures), [*missing, evaluation.TIME]
    about = {"clips": clips, "size": "{}x{}".format(*worlds.size), "missing": missing}
    whole = {**head, **figures, **about, **stamp()}
    report.show(model, whole)
    for drawn in plots.draw(whole, plots_out) if plots_out else ():
        typer.echo(f"{drawn}: drawn")
    console.write_json(whole, json_out)


def _numbers(option: str, text: str) -> list[float]:
    """ "0,1.5" → [0.0, 1.5]. Raises ValueError that names the option."""
    try:
        numbers = [float(part) for part in options.parts_of(text)]
    except ValueError:
        numbers = []
    if not numbers or not all(0 <= number < float("inf") for number in numbers):
        raise ValueError(f"{option} {text}: write numbers from 0 up, such as 0,1.5,3")
    return numbers
