"""`python -m benchmarks speed …`: what makes a model fast on this machine, part by part."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from motionstream import console
from motionstream.cli.options import Device, JsonOut, Model, load_model, size_of, weights_of

app = typer.Typer(no_args_is_help=True, help="What makes a model fast on this machine, part by part.")

FULL, REDUCED = "full", "reduced"

Config = Annotated[
    str | None, typer.Option("--config", help="A published size with random weights, such as wan2.1-1.3b.")
]
Layers = Annotated[int | None, typer.Option(help="Only so many layers of it.", min=1)]
Width = Annotated[str | None, typer.Option(help="full, or reduced: two heads and small frames.")]
FrameSize = Annotated[str | None, typer.Option("--size", metavar="WxH", help="Other frames, such as 832x480.")]


@app.command("step")
def step_command(
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

    [bold]python -m benchmarks speed step --model tiny --json step.json[/]

    [bold]python -m benchmarks speed step --config wan2.1-1.3b --layers 1 --width reduced[/]

    [bold]python -m benchmarks speed step --config wan2.2-5b --device cuda --json step.json[/]
    """
    from benchmarks.speed.step import bench_network, bench_step
    from benchmarks.speed.untrained import device_of, shape_of

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


@app.command("optimisations")
def optimisations_command(
    model: Model = "tiny",
    rounds: Annotated[int, typer.Option(help="Every pair takes its turns in each.", min=1)] = 12,
    steps: Annotated[int, typer.Option(help="Steps that count in a turn.", min=1)] = 3,
    dtype: Annotated[str | None, typer.Option(help="float32 or bfloat16; the faster one here, if not given.")] = None,
    threads: Annotated[int | None, typer.Option(help="Of PyTorch; 1 is steadier on a busy machine.", min=1)] = None,
    compiled: Annotated[bool, typer.Option(help="With torch.compile, which takes minutes.")] = True,
    json_out: JsonOut = None,
) -> None:
    """Time the live step on this CPU with and without each optimisation, in paired rounds.

    [bold]python -m benchmarks speed optimisations --model tiny --threads 1 --json optimisations.json[/]

    [bold]python -m benchmarks speed optimisations --rounds 3 --no-compiled --dtype float32[/]

    A figure over 1 says that the optimisation is worth having: the step takes so many times as long without it. Under 1
    it costs time. By CPU time is the same of processor time, which other programs disturb less, with its 95 % bootstrap
    interval. Values off: the share of a frame's values (0 to 255) that differ then, and by how much at most.
    """
    import torch

    from benchmarks.speed.optimisations import bench_optimisations, lines

    dtypes = {None: None, "float32": torch.float32, "bfloat16": torch.bfloat16}
    if dtype not in dtypes:
        raise ValueError(f"--dtype {dtype}: use float32 or bfloat16")
    if threads is not None:
        torch.set_num_threads(threads)
    with console.progress("rounds", rounds) as bar:
        found = bench_optimisations(model, rounds, steps, bar.over, dtypes[dtype], compiled)
    console.grid(f"{model}, a step without each optimisation over one with it", lines(found["optimisations"]))
    console.table("what each is", [(name, row["what"]) for name, row in found["optimisations"].items()])
    if found["left_out"]:
        console.table("not measured", found["left_out"].items())
    console.write_json({"model": model, **found}, json_out)


@app.command("compare")
def compare_command(
    rounds: Annotated[int, typer.Option(help="Every form has its turn in each.", min=1)] = 5,
    config: Config = None,
    layers: Layers = None,
    width: Width = None,
    size: FrameSize = None,
    compiled: Annotated[
        bool | None, typer.Option(help="With torch.compile, which takes minutes; as given on a GPU only.")
    ] = None,
    device: Device = "auto",
    json_out: JsonOut = None,
) -> None:
    """Time our transformer, Diffusers' and torch.compile in turns, on the same weights and tokens, once they agree.

    [bold]python -m benchmarks speed compare --rounds 5 --json compare.json[/]

    [bold]python -m benchmarks speed compare --config wan2.1-1.3b --device cuda --json compare.json[/]

    Without --config it is wan2.1-1.3b, two layers, reduced. A ratio over 1 says that ours is faster.
    """
    from benchmarks.speed.compare import bench_compare
    from benchmarks.speed.untrained import device_of, shape_of

    reduced = _is_reduced(width, FULL if config else REDUCED)
    layers = 2 if config is None and layers is None else layers
    shape = shape_of(config or "wan2.1-1.3b", layers, reduced, size_of(size) if size else None)
    with console.progress("rounds", rounds) as bar:
        found = bench_compare(shape, device_of(device), rounds, over=bar.over, compiled=compiled)
    figures = {"model": shape.label, "model_hash": None, **found}
    console.report(f"{figures['model']}, beside Diffusers", figures, json_out)


def _is_reduced(width: str | None, default: str) -> bool:
    chosen = width or default
    if chosen not in (FULL, REDUCED):
        raise ValueError(f"--width {chosen}: use {FULL} or {REDUCED}")
    return chosen == REDUCED


@app.command("gpu")
def gpu_command(
    folder: Annotated[Path, typer.Option("--json-folder", metavar="DIR", help="Where gpu_*.json are written.")],
    config: Annotated[str, typer.Option("--config", metavar="NAME,…", help="Published sizes, one after another.")] = (
        "wan2.1-1.3b,wan2.2-5b"
    ),
    stage: Annotated[str | None, typer.Option("--stage", help="Only step, checks, fp8 or compare.")] = None,
    rehearse: Annotated[bool, typer.Option("--rehearse", help="The same way, small, on any machine.")] = False,
    device: Device = "auto",
) -> None:
    """Everything worth knowing of a GPU: speed, latency, memory, ceiling, fp8, Diffusers and torch.compile.

    [bold]python -m benchmarks speed gpu --json-folder docs/results[/]

    [bold]python -m benchmarks speed gpu --rehearse --device cpu --json-folder out/rehearsal[/]

    Random weights; nothing is fetched. Times of a rehearsal mean nothing.
    """
    from benchmarks.speed.gpu import bench_gpu, stages
    from benchmarks.speed.untrained import device_of

    where = device_of(device)
    if where.type != "cuda" and not rehearse:
        raise ValueError("speed gpu needs a CUDA device: use --rehearse to go through it without one")
    planned = stages([part.strip() for part in config.split(",") if part.strip()], where, rehearse)
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
