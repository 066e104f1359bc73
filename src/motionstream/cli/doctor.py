"""`motionstream doctor`: what this machine can run, and what a model would need."""

from __future__ import annotations

from typing import Annotated

import typer

from motionstream import console
from motionstream.cli import options


def doctor(
    plan: Annotated[
        str | None, typer.Option(metavar="MODEL", help="Plan a model's GPU memory: its name or folder.")
    ] = None,
    memory: Annotated[
        float | None, typer.Option(metavar="GIB", help="Memory of a GPU, which need not be here.")
    ] = None,
    decoder: Annotated[str | None, typer.Option(metavar="KIND", help="tiny or full; default: full if it fits.")] = None,
    fp8: Annotated[bool | None, typer.Option("--fp8/--no-fp8", help="Weights in fp8; default: if needed.")] = None,
    sessions: Annotated[int | None, typer.Option(help="Sessions that must fit at once; default: 1.", min=1)] = None,
    size: Annotated[
        str | None, typer.Option(metavar="WxH", help="Frame in pixels; default: the largest that fits.")
    ] = None,
    json_out: options.JsonOut = None,
) -> None:
    """Report what this machine can run and what is missing; or plan the GPU memory of a model.

    [bold]motionstream doctor[/]

    [bold]motionstream doctor --plan wan2.1-1.3b[/]   for this GPU, or for 24, 16, 12 and 8 GiB where there is none

    [bold]motionstream doctor --plan wan2.2-5b --memory 16 --decoder tiny --size 960x544[/]
    """
    from motionstream import doctor as checks
    from motionstream.plan.choice import choose
    from motionstream.plan.models import model_sizes
    from motionstream.plan.show import as_dict, rows, summary

    if plan is None:
        if any(value is not None for value in (memory, decoder, fp8, sessions, size)):
            raise ValueError("--memory, --decoder, --fp8, --sessions and --size plan a model: name it with --plan")
        findings = checks.examine()
        checks.show(findings)
        console.write_json(findings, json_out)
        return
    frame = None if size is None else options.size_of(size)
    memories, has_fp8 = checks.planned_gpus() if memory is None else ((memory,), True)
    may_fp8 = fp8 if has_fp8 or fp8 is not None else False
    sizes, asked = model_sizes(plan), sessions or 1
    made = [choose(sizes, each, decoder=decoder, fp8=may_fp8, size=frame, sessions=asked) for each in memories]
    console.grid(f"{plan} on a GPU", rows(made))
    for each in made:
        typer.echo(f"→ {summary(each)}")
    typer.echo("  (…) is in main memory. How many sessions run live is a matter of speed: motionstream bench")
    console.write_json({"plans": [as_dict(each) for each in made]}, json_out)
