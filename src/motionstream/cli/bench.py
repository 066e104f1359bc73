"""`motionstream bench …`: speed and latency of this machine."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from motionstream import allocator, console
from motionstream.cli.options import Device, JsonOut, Model, load_model, size_of, weights_of

app = typer.Typer(no_args_is_help=True, help="Speed and latency of this machine.")

LIBRARY, SERVER = "library", "server"
FULL, REDUCED = "full", "reduced"

Config = Annotated[
    str | None, typer.Option("--config", help="A published size with random weights, such as wan2.1-1.3b.")
]
Layers = Annotated[int | None, typer.Option(help="Only so many layers of it.", min=1)]
Width = Annotated[str | None, typer.Option(help="full, or reduced: two heads and small frames.")]
Through = Annotated[str, typer.Option(help="library: a stream in this process; server: viewers of the real server.")]
Viewers = Annotated[str, typer.Option(metavar="N,…", help="Viewers at once, one number after another; server only.")]
JournalFile = Annotated[
    Path | None,
    typer.Option("--journal", metavar="FILE", help="Results so far, to resume a stopped run; server only."),
]
Checkout = Annotated[
    Path | None,
    typer.Option("--self-forcing", metavar="FOLDER", help="Your checkout of Self-Forcing: its model takes turns too."),
]
FrameSize = Annotated[str | None, typer.Option("--size", metavar="WxH", help="Other frames, such as 832x480.")]


@app.command("live")
def bench_live_command(
    model: Model = "tiny",
    seconds: Annotated[float, typer.Option(help="How long to measure.", min=1)] = 60,
    through: Through = LIBRARY,
    viewers: Viewers = "1",
    device: Device = "auto",
    journal: JournalFile = None,
    json_out: JsonOut = None,
) -> None:
    """Measure frame rate and latency of a live stream while a recorded gesture session is played.

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
    from motionstream.evaluate.live.in_process import bench_model

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
    from motionstream.evaluate.harness import Results
    from motionstream.evaluate.live.served import bench_server, weights_hash

    weights = {"model": model, "model_hash": weights_hash(model)}
    key = {**weights, "bench": "live through server", "seconds": seconds, "device": device}
    with console.progress("runs", len(counts)) as bar:
        figures = bench_server(model, seconds, counts, device, Results(journal, key), bar.over)
    console.table(f"{model}, live through the server", console.flat(_without_each({**weights, **figures})))
    console.write_json({**weights, **figures}, json_out)


def _without_each(figures: Mapping[str, Any]) -> dict[str, Any]:
    """The figures of all viewers together, for the terminal; the file also has each of them."""
    viewers = {
        count: {name: value for name, value in one.items() if name != "each"}
        for count, one in figures["viewers"].items()
    }
    return {**figures, "viewers": viewers}


@app.command("step")
def bench_step_command(
    model: Model = "tiny",
    config: Config = None,
    layers: Layers = None,
    width: Width = None,
    size: FrameSize = None,
    steps: Annotated[int, typer.Option(help="Steps to measure, once the cache is full.", min=30)] = 30,
    fp8: Annotated[bool, typer.Option("--fp8", help="Products in 8-bit floats; only with --config.")] = False,
    device: Device = "auto",
    json_out: JsonOut = None,
) -> None:
    """Time one chunk of a stream under way, part by part, beside what this machine can do at most.

    [bold]motionstream bench step --model tiny --json step.json[/]

    [bold]motionstream bench step --config wan2.1-1.3b --layers 1 --width reduced[/]

    [bold]motionstream bench step --config wan2.2-5b --device cuda --json step.json[/]
    """
    from motionstream.evaluate.speed.step import bench_network, bench_step
    from motionstream.evaluate.speed.untrained import device_of, shape_of

    if config is None:
        if layers or width or size or fp8:
            raise ValueError("--layers, --width, --size and --fp8: only with --config")
        loaded = load_model(model, device)
        with console.progress("steps", steps) as bar:
            figures = {**weights_of(model, loaded), **bench_step(loaded, steps, over=bar.over)}
    else:
        shape = shape_of(config, layers, _is_reduced(width, FULL), size_of(size) if size else None)
        with console.progress("steps", steps) as bar:
            found = bench_network(shape, device_of(device), steps, over=bar.over, fp8=fp8)
        figures = {"model": shape.label, "model_hash": None, **found}
    console.report(f"{figures['model']}, a step", figures, json_out)


@app.command("tricks")
def bench_tricks_command(
    model: Model = "tiny",
    rounds: Annotated[int, typer.Option(help="Every pair takes its turns in each.", min=1)] = 10,
    steps: Annotated[int, typer.Option(help="Steps that count in a turn.", min=1)] = 4,
    json_out: JsonOut = None,
) -> None:
    """Time the live step on this CPU with and without each trick that makes it fast, in turns, one trick at a time.

    [bold]motionstream bench tricks --model tiny --rounds 10 --json tricks.json[/]

    [bold]OMP_NUM_THREADS=1 motionstream bench tricks --rounds 3 --steps 2[/]

    A figure over 1 says that the trick is worth having: the step takes so many times as long without it. Under 1 it
    costs time. `of CPU` is the same of processor time, which other programs disturb less; `pixels off` is the most by
    which a pixel (0 to 255) is then another one.
    """
    from motionstream.evaluate.speed.tricks import bench_tricks, lines

    with console.progress("rounds", rounds) as bar:
        found = bench_tricks(model, rounds, steps, over=bar.over, malloc=_with_and_without_malloc())
    console.grid(f"{model}, a step without each trick over one with it", lines(found["tricks"]))
    console.table("what each is", [(name, row["what"]) for name, row in found["tricks"].items()])
    if found["left_out"]:
        console.table("not measured", found["left_out"].items())
    console.write_json({"model": model, "malloc": allocator.state(), **found}, json_out)


def _with_and_without_malloc() -> tuple[dict[str, str], dict[str, str]] | None:
    """Environments of a process with our memory settings and of one without; None where no such are read."""
    if not allocator.is_glibc():
        return None
    bare = {name: value for name, value in os.environ.items() if name not in allocator.SETTINGS}
    chosen = {name: os.environ.get(name) or value for name, value in allocator.SETTINGS.items()}
    return {**bare, **chosen}, {**bare, allocator.SWITCH: "0"}


@app.command("compare")
def bench_compare_command(
    rounds: Annotated[int, typer.Option(help="Every form has its turn in each.", min=1)] = 5,
    config: Config = None,
    layers: Layers = None,
    width: Width = None,
    size: FrameSize = None,
    self_forcing: Checkout = None,
    device: Device = "auto",
    json_out: JsonOut = None,
) -> None:
    """Time our transformer and Diffusers' in turns, on the same weights and tokens, once they are seen to agree.

    [bold]motionstream bench compare --rounds 5 --json compare.json[/]

    [bold]motionstream bench compare --config wan2.1-1.3b --device cuda --rounds 5 --json compare.json[/]

    [bold]motionstream bench compare --config wan2.1-1.3b --device cuda --self-forcing ../Self-Forcing[/]

    Without --config it is wan2.1-1.3b, two layers, reduced. A ratio over 1 says that ours is faster.
    """
    from motionstream.evaluate.speed.compare import bench_compare
    from motionstream.evaluate.speed.untrained import device_of, shape_of

    reduced = _is_reduced(width, FULL if config else REDUCED)
    layers = 2 if config is None and layers is None else layers
    shape = shape_of(config or "wan2.1-1.3b", layers, reduced, size_of(size) if size else None)
    with console.progress("rounds", rounds) as bar:
        found = bench_compare(shape, device_of(device), rounds, over=bar.over, self_forcing=self_forcing)
    figures = {"model": shape.label, "model_hash": None, **found}
    console.report(f"{figures['model']}, beside Diffusers", figures, json_out)


def _is_reduced(width: str | None, default: str) -> bool:
    chosen = width or default
    if chosen not in (FULL, REDUCED):
        raise ValueError(f"--width {chosen}: use {FULL} or {REDUCED}")
    return chosen == REDUCED


@app.command("gpu")
def bench_gpu_command(
    folder: Annotated[Path, typer.Option("--json-folder", metavar="DIR", help="Where gpu_*.json are written.")],
    config: Annotated[str, typer.Option("--config", metavar="NAME,…", help="Published sizes, one after another.")] = (
        "wan2.1-1.3b,wan2.2-5b"
    ),
    stage: Annotated[str | None, typer.Option("--stage", help="Only step, checks, fp8 or compare.")] = None,
    rehearse: Annotated[bool, typer.Option("--rehearse", help="The same way, small, on any machine.")] = False,
    self_forcing: Checkout = None,
    device: Device = "auto",
) -> None:
    """Everything worth knowing of a GPU in under ten minutes: speed, latency, memory, ceiling, kernels, fp8, others.

    [bold]motionstream bench gpu --json-folder docs/results[/]

    [bold]motionstream bench gpu --rehearse --device cpu --json-folder out/rehearsal[/]

    Random weights; nothing is fetched. Times of a rehearsal mean nothing.
    """
    from motionstream.evaluate.speed.gpu import bench_gpu, stages
    from motionstream.evaluate.speed.untrained import device_of

    where = device_of(device)
    if where.type != "cuda" and not rehearse:
        raise ValueError("bench gpu needs a CUDA device: use --rehearse to go through it without one")
    planned = stages(names_of(config), where, rehearse, self_forcing)
    if stage is not None:
        planned = [one for one in planned if one.name == stage]
        if not planned:
            raise ValueError(f"--stage {stage}: use step, checks, fp8 or compare")
    with console.progress("stages", len(planned)) as bar:
        outcome = bench_gpu(planned, lambda file, figures: console.write_json(figures, folder / file), bar.over)
    for file, figures in outcome.written.items():
        console.table(file, console.flat({name: one for name, one in figures.items() if name != "machine"}))
    if outcome.missing:
        console.table("not run", outcome.missing.items())
    if outcome.failed:
        failed = "; ".join(f"{file}: {why}" for file, why in outcome.failed.items())
        raise RuntimeError(f"some stages failed, the others are written: {failed}")


def names_of(text: str) -> list[str]:
    """ "a, b" → ["a", "b"]."""
    return [part.strip() for part in text.split(",") if part.strip()]
