"""`motionstream doctor`: what this machine can run, and what a model would need."""

from __future__ import annotations

from typing import Annotated

import typer

from motionstream import console
from motionstream.cli.options import JsonOut, size_of


def doctor(
    plan: Annotated[str | None, typer.Option(metavar="MODEL", help="Memory of a model, part by part.")] = None,
    memory: Annotated[float | None, typer.Option(metavar="GIB", help="Of a GPU that need not be here.")] = None,
    decoder: Annotated[str | None, typer.Option(metavar="KIND", help="tiny or full; else what fits.")] = None,
    fp8: Annotated[bool | None, typer.Option("--fp8/--no-fp8", help="Weights in fp8; else if need be.")] = None,
    sessions: Annotated[int | None, typer.Option(help="How many must fit; else one.", min=1)] = None,
    size: Annotated[str | None, typer.Option(metavar="WxH", help="Pixels of a frame; else the model's own.")] = None,
    json_out: JsonOut = None,
) -> None:
    """Say what this machine can run, what is missing and what that would bring; or plan a model's memory.

    [bold]motionstream doctor[/]

    [bold]motionstream doctor --plan wan2.1-1.3b[/]   for this GPU, or for 24, 16, 12 and 8 GiB where there is none

    [bold]motionstream doctor --plan wan2.2-5b --memory 16 --decoder tiny --size 960x544[/]
    """
    from motionstream import doctor as surgery
    from motionstream.plan import as_dict

    if plan is None:
        if any(value is not None for value in (memory, decoder, fp8, sessions, size)):
            raise ValueError("--memory, --decoder, --fp8, --sessions and --size plan a model: name it with --plan")
        findings = surgery.examine()
        surgery.show(findings)
        console.write_json(findings, json_out)
        return
    frame = None if size is None else size_of(size)
    made = surgery.plans(plan, memory, decoder=decoder, fp8=fp8, size=frame, sessions=sessions or 1)
    surgery.show_plans(made)
    console.write_json({"plans": [as_dict(each) for each in made]}, json_out)
