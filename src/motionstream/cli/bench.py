"""`motionstream bench …`: speed and latency of this machine."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from motionstream import console
from motionstream.cli.options import Device, JsonOut, Model, load_model

app = typer.Typer(no_args_is_help=True, help="Speed and latency of this machine.")

LIBRARY, SERVER = "library", "server"
NARROW = 5  # columns of the predictions that a terminal shows: FPS and latency

Through = Annotated[str, typer.Option(help="library: in this process; server: as viewers of the real one.")]
Viewers = Annotated[str, typer.Option(metavar="N,…", help="Viewers at once, count after count; server only.")]
JournalFile = Annotated[
    Path | None, typer.Option("--journal", metavar="FILE", help="Go on where a run was cut; server only.")
]


@app.command("live")
def bench_live_command(
    model: Model = "tiny",
    seconds: Annotated[float, typer.Option(help="How long to drive the stream.", min=1)] = 60,
    through: Through = LIBRARY,
    viewers: Viewers = "1",
    device: Device = "auto",
    journal: JournalFile = None,
    json_out: JsonOut = None,
) -> None:
    """Drive a model with a recorded gesture session, as a viewer would, and say how it kept up.

    [bold]motionstream bench live --model tiny --seconds 60 --json figures.json[/]

    [bold]motionstream bench live --through server --viewers 1,2,4 --seconds 60 --json figures.json[/]

    What is measured, and how: docs/latency.md
    """
    if through not in (LIBRARY, SERVER):
        raise ValueError(f"--through {through}: use {LIBRARY} or {SERVER}")
    if through == SERVER:
        _through_server(model, seconds, counts_of(viewers), device, journal, json_out)
        return
    if viewers != "1" or journal is not None:
        raise ValueError("--viewers and --journal: only with --through server")
    from motionstream.evaluate.latency.live import bench_model

    figures = bench_model(load_model(model, device), seconds)
    console.report(f"{model}, live", {"model": model, "through": through, "seconds": seconds, **figures}, json_out)


def counts_of(text: str) -> list[int]:
    """ "1,2,4" → [1, 2, 4]."""
    counts = [part.strip() for part in text.split(",")]
    if not all(count.isascii() and count.isdigit() and int(count) for count in counts):
        raise ValueError(f"--viewers {text}: write whole numbers from 1 up, such as 1,2,4")
    return [int(count) for count in counts]


def _through_server(
    model: str, seconds: float, counts: list[int], device: str, journal: Path | None, json_out: Path | None
) -> None:
    from motionstream.evaluate.journal import Journal
    from motionstream.evaluate.latency.served import bench_server, weights_hash

    weights = {"model": model, "model_hash": weights_hash(model)}
    key = {**weights, "bench": "live through server", "seconds": seconds, "device": device}
    with console.progress("runs", len(counts)) as bar:
        figures = bench_server(model, seconds, counts, device, Journal(journal, key), bar.over)
    console.table(f"{model}, live through the server", console.flat(_without_each({**weights, **figures})))
    console.write_json({**weights, **figures}, json_out)


def _without_each(figures: Mapping[str, Any]) -> dict[str, Any]:
    """For people: what all viewers met together. The file has each of them."""
    viewers = {
        count: {name: value for name, value in one.items() if name != "each"}
        for count, one in figures["viewers"].items()
    }
    return {**figures, "viewers": viewers}


@app.command("predict")
def bench_predict_command(
    config: Annotated[str, typer.Option("--config", metavar="NAME,…", help="Published sizes.")] = (
        "wan2.1-1.3b,wan2.2-5b"
    ),
    machines: Annotated[str, typer.Option("--machine", metavar="NAME,…", help="Machines whose rates are known.")] = (
        "a100,h100,h200,h200-products,h200-kernels"
    ),
    tflops: Annotated[
        float | None, typer.Option(help="A rate of your own, in 10¹² operations a second.", min=1)
    ] = None,
    results: Annotated[
        Path, typer.Option("--results", metavar="DIR", help="Where `bench gpu` wrote what was measured.")
    ] = Path("docs/results"),
    markdown: Annotated[Path | None, typer.Option("--markdown", metavar="FILE", help="Write the table here.")] = None,
    json_out: JsonOut = None,
) -> None:
    """Count what a chunk costs, and say how fast machines could make it, beside what was measured.

    [bold]motionstream bench predict --tflops 700 --json predictions.json[/]
    """
    from motionstream.evaluate.speed.predict import add_measured_roofs, measured, predict, predictions_table

    found = predict(names_of(config), names_of(machines), tflops)
    figures = measured(results)
    add_measured_roofs(found, figures)
    table = predictions_table(found, figures)
    console.grid(table.title, [row[:NARROW] for row in (table.head, *(line.cells for line in table.lines))])
    if markdown is not None:
        markdown.parent.mkdir(parents=True, exist_ok=True)
        markdown.write_text(f"{table.note}\n\n{table.markdown()}\n", encoding="utf-8")
    console.write_json({**found, "measured": figures}, json_out)


def names_of(text: str) -> list[str]:
    """ "a, b" → ["a", "b"]."""
    return [part.strip() for part in text.split(",") if part.strip()]
