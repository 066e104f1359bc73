"""`motionstream bench …`: speed and latency of this machine."""

from __future__ import annotations

from typing import Annotated

import typer

from motionstream import console
from motionstream.cli.options import Device, JsonOut, Model, load_model

app = typer.Typer(no_args_is_help=True, help="Speed and latency of this machine.")


@app.command("live")
def bench_live_command(
    model: Model = "tiny",
    seconds: Annotated[float, typer.Option(help="How long to drive the stream.", min=1)] = 60,
    device: Device = "auto",
    json_out: JsonOut = None,
) -> None:
    """Drive a model with a recorded gesture session, as a viewer would, and say how it kept up.

    [bold]motionstream bench live --model tiny --seconds 60 --json figures.json[/]
    """
    from motionstream.evaluate.live import bench_model

    figures = bench_model(load_model(model, device), seconds)
    console.report(f"{model}, live", {"model": model, "seconds": seconds, **figures}, json_out)
