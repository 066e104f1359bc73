"""`motionstream bench …`: speed and latency of this machine."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from motionstream import console
from motionstream.cli import options

app = typer.Typer(no_args_is_help=True, help="Speed and latency of this machine.")

LIBRARY, SERVER = "library", "server"

Through = Annotated[str, typer.Option(help="library: a stream in this process; server: viewers of the real server.")]
Viewers = Annotated[str, typer.Option(metavar="N,…", help="Viewers at once, one number after another; server only.")]


@app.command("live")
def bench_live_command(
    model: options.Model = "tiny",
    seconds: Annotated[float, typer.Option(help="How long to measure.", min=1)] = 60,
    through: Through = LIBRARY,
    viewers: Viewers = "1",
    device: options.Device = "auto",
    resume_file: options.ResumeFile = None,
    json_out: options.JsonOut = None,
) -> None:
    """Measure frame rate and latency of a live stream while a recorded gesture session is played.

    [bold]motionstream bench live --model tiny --seconds 60 --json figures.json[/]

    [bold]motionstream bench live --through server --viewers 1,2,4 --seconds 60 --json figures.json[/]

    What is measured, and how: docs/latency.md
    """
    if through not in (LIBRARY, SERVER):
        raise ValueError(f"--through {through}: use {LIBRARY} or {SERVER}")
    if through == SERVER:
        _through_server(model, seconds, counts_of(viewers), device, resume_file, json_out)
        return
    if viewers != "1" or resume_file is not None:
        raise ValueError("--viewers and --resume-file: only with --through server")
    from motionstream.evaluate.live.in_process import bench_model

    figures = bench_model(options.load_model(model, device), seconds)
    console.report(f"{model}, live", {"model": model, "through": through, "seconds": seconds, **figures}, json_out)


def counts_of(text: str) -> list[int]:
    """ "1,2,4" → [1, 2, 4]."""
    counts = [part.strip() for part in text.split(",")]
    if not all(count.isascii() and count.isdigit() and int(count) for count in counts):
        raise ValueError(f"--viewers {text}: write whole numbers from 1 up, such as 1,2,4")
    return [int(count) for count in counts]


def _through_server(
    model: str, seconds: float, counts: list[int], device: str, resume_file: Path | None, json_out: Path | None
) -> None:
    from motionstream.evaluate.harness import Results
    from motionstream.evaluate.live.served import bench_server, weights_hash

    weights = {"model": model, "model_hash": weights_hash(model)}
    key = {**weights, "bench": "live through server", "seconds": seconds, "device": device}
    with console.progress("runs", len(counts)) as bar:
        figures = bench_server(model, seconds, counts, device, Results(resume_file, key), bar.over)
    console.table(f"{model}, live through the server", console.flat(_without_each({**weights, **figures})))
    console.write_json({**weights, **figures}, json_out)


def _without_each(figures: Mapping[str, Any]) -> dict[str, Any]:
    """The figures of all viewers together, for the terminal; the file also has each of them."""
    viewers = {
        count: {name: value for name, value in one.items() if name != "each"}
        for count, one in figures["viewers"].items()
    }
    return {**figures, "viewers": viewers}
