"""`motionstream evaluate ablate`: what each choice is worth, one changed at a time."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from motionstream import console
from motionstream.cli.options import (
    Assets,
    Device,
    HeldOut,
    JsonOut,
    LpipsWeights,
    Model,
    Seed,
    load_model,
    parts_of,
    weights_of,
)


def evaluate_ablate_command(
    assets: Assets,
    model: Model = "tiny",
    device: Device = "auto",
    recipe: Annotated[
        str, typer.Option(help="all, rollout, or one table: sink, window, chunk, steps, tracks, guidance.")
    ] = "all",
    clips: Annotated[int, typer.Option(help="Held-out worlds.", min=1)] = 4,
    frames: Annotated[int, typer.Option(help="Of the student's clips, 1 + 4·n.", min=5, max=961)] = 81,
    split: HeldOut = "heldout",
    seed: Seed = 0,
    runs: Annotated[
        Path | None, typer.Option(help="The folder that `motionstream train --out` wrote: its teacher is measured.")
    ] = None,
    stage: Annotated[str, typer.Option(help="teacher or teacher-mask.")] = "teacher-mask",
    w_t: Annotated[str, typer.Option("--w-t", help="Weights of the text.")] = "0,1.5,3,4.5",
    w_m: Annotated[str, typer.Option("--w-m", help="Weights of the tracks.")] = "0,0.75,1.5,3",
    teacher_steps: Annotated[int, typer.Option(help="Steps of the teacher's ODE.", min=1)] = 24,
    lpips: LpipsWeights = None,
    markdown_out: Annotated[Path | None, typer.Option("--markdown", help="Write the tables here.")] = None,
    plots_out: Annotated[
        Path | None, typer.Option("--plots", help="A folder for time.png and, with LPIPS, guidance.png.")
    ] = None,
    journal: Annotated[Path | None, typer.Option(help="Keep results here: a cut run goes on.")] = None,
    timed: Annotated[
        bool, typer.Option("--timed/--untimed", help="Without times, where the machine does other work too.")
    ] = True,
    json_out: JsonOut = None,
) -> None:
    """Change one thing at a time and measure what it is worth: sink, window, chunk, steps, tracks, guidance.

    Everything but the guidance is of the student as it streams; guidance needs a training run's teacher.

    [bold]motionstream evaluate ablate --assets pictures --recipe rollout --plots drawn --markdown table.md[/]

    [bold]motionstream evaluate ablate --assets pictures --recipe guidance --runs out --lpips alex.safetensors[/]
    """
    from motionstream.cli.teacher import load_teacher
    from motionstream.data.assets import AssetLibrary
    from motionstream.data.synthetic import SyntheticWorlds
    from motionstream.evaluate import ablate
    from motionstream.evaluate.journal import Journal
    from motionstream.evaluate.lpips import Lpips
    from motionstream.evaluate.pictures import plots
    from motionstream.evaluate.variant import shift_of

    tables = ablate.tables_of_recipe(recipe, with_teacher=runs is not None)
    grid = _numbers("--w-t", w_t), _numbers("--w-m", w_m)
    if plots_out:
        plots.check_target(plots_out / "time.png")
    library = AssetLibrary(assets, split=split)
    perceptual = Lpips.load(lpips) if lpips else None
    loaded = load_model(model, device)
    worlds = SyntheticWorlds(library, size=loaded.size, frames=frames, seed=seed)
    teacher = load_teacher(runs, stage, str(loaded.device)) if ablate.GUIDANCE in tables and runs else None
    settings = {**weights_of(model, loaded), "split": split, "frames": frames, "seed": seed}
    book = Journal(journal, {"evaluation": "ablate", **settings, "lpips": lpips is not None})
    rows = len(ablate.distinct(ablate.student_settings(loaded, tables))) + len(grid[0]) * len(grid[1]) * bool(teacher)
    with console.progress("clips", clips * rows) as bar:
        study = ablate.Study(book, clips, perceptual, seed, bar.over)
        figures = ablate.evaluate_student(loaded, shift_of(model), worlds.sample, tables, study)
        if teacher:
            own = SyntheticWorlds(library, size=teacher.geometry.size, frames=teacher.frames, seed=seed)
            figures |= ablate.evaluate_guidance(teacher, own.sample, *grid, teacher_steps, study)
    missing = sorted(set(ablate.RECIPES[recipe]) - set(tables))
    if not timed:
        figures, missing = ablate.untimed(figures), [*missing, ablate.TIME]
    told = {**settings, **figures, **ablate.circumstances(study, worlds, missing)}
    written = ablate.markdown(told)
    typer.echo(written)
    if markdown_out:
        markdown_out.parent.mkdir(parents=True, exist_ok=True)
        markdown_out.write_text(written + "\n", encoding="utf-8")
    for drawn in ablate.draw(told, plots_out) if plots_out else ():
        typer.echo(f"{drawn}: drawn")
    console.write_json(told, json_out)


def _numbers(option: str, text: str) -> list[float]:
    """ "0,1.5" → [0.0, 1.5]. Raises ValueError that names the option."""
    try:
        numbers = [float(part) for part in parts_of(text)]
    except ValueError:
        numbers = []
    if not numbers or not all(0 <= number < float("inf") for number in numbers):
        raise ValueError(f"{option} {text}: write numbers from 0 up, such as 0,1.5,3")
    return numbers
