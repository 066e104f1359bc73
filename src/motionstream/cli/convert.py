"""`motionstream convert`: published Wan weights → initial weights of a model that follows tracks."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from motionstream import console
from motionstream.cli import options

if TYPE_CHECKING:
    from motionstream.wan.conversion import ChannelMapping, Conversion


def convert(
    source: Annotated[
        Path,
        typer.Argument(help="A .safetensors file or a folder of them, a pipeline's folder, or a .pt."),
    ],
    to: Annotated[Path | None, typer.Option("--to", "-o", help="An empty folder for the converted weights.")] = None,
    family: Annotated[str, typer.Option(help="What the weights are, as listed below; auto recognises it.")] = "auto",
    tracks: Annotated[
        int | None, typer.Option(help="Channels of the track head; default: those of a latent.", min=1, max=1024)
    ] = None,
    dtype: Annotated[str, typer.Option(help="Of the written weights: bfloat16, float16 or float32.")] = "bfloat16",
    track_init: Annotated[
        float,
        typer.Option(
            help="Standard deviation of the tracks' first input weights, for a source without control.",
            min=0.0,
        ),
    ] = 0.0,
    seed: options.Seed = 0,
    only_plan: Annotated[
        bool, typer.Option("--plan", help="List what becomes of every weight, and write nothing.")
    ] = False,
    json_out: options.JsonOut = None,
) -> None:
    """Turn published Wan weights into initial weights of a model that follows tracks.

    First list what becomes of every weight, then write the network that `motionstream train teacher` starts from:

    [bold]motionstream convert Wan2.1-Fun-V1.1-1.3B-Control --plan[/]

    [bold]motionstream convert Wan2.1-Fun-V1.1-1.3B-Control --to wan-1.3b[/]

    The weights are yours to fetch; nothing is downloaded. Both layouts are read, Wan's own and Diffusers'. With a
    control variant the control video's channels become the tracks', which is where the paper starts; with plain
    text-to-video weights the channels of picture and tracks start at zero and have to be learned. A student of
    Self-Forcing (a .pt) starts a causal model: [bold]motionstream convert self_forcing_dmd.pt --to student[/]

    Families: wan2.1-t2v, wan2.1-i2v, wan2.1-fun-inp, wan2.1-fun-control, wan2.2-ti2v, wan2.2-fun-inp,
    wan2.2-fun-control, self-forcing.
    """
    from motionstream.wan.conversion import NETWORK_FILE, plan_conversion
    from motionstream.wan.conversion import convert as write

    if to is None and not only_plan:
        raise ValueError(
            "nothing to do: name a folder with --to FOLDER, or use --plan to list what becomes of the weights"
        )
    kind = options.dtype_of(dtype, ("bfloat16", "float16", "float32"))
    conversion = plan_conversion(source, family, tracks, track_init)
    if only_plan:
        _show("plan", conversion, {}, json_out)
        return
    assert to is not None
    layout = conversion.layout()
    with console.progress("weights", len(layout)) as bar:
        written = write(conversion, to, kind, seed, over=bar.over)
    _show("converted", conversion, {"sha256": written["sha256"]}, json_out)
    typer.echo(f"{to}: {len(layout)} weights in {len(written['sha256'])} file(s), and {NETWORK_FILE}")


def _show(title: str, conversion: Conversion, more: dict[str, Any], json_out: Path | None) -> None:
    """Counts, channels and what is dropped or new, one a line; all of it as JSON if asked."""
    report = {**conversion.report(), **more}
    channels = {_range(one.target): f"{one.input} ← {_origin(conversion, one)}" for one in conversion.channels}
    console.table(title, console.flat({**report, "channels": channels}))
    console.write_json(report, json_out)


def _origin(conversion: Conversion, mapping: ChannelMapping) -> str:
    return conversion.start_of(mapping) if mapping.source is None else f"the source's {_range(mapping.source)}"


def _range(ends: tuple[int, int]) -> str:
    return f"{ends[0]}–{ends[1] - 1}"
