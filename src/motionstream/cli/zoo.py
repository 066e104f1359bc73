"""`motionstream zoo`: models that come with the package, and making one from a training run or from Wan's parts."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer

from motionstream import console
from motionstream.cli import options

app = typer.Typer(no_args_is_help=True, help="Models that come with the package, and making one.")


@app.command("list")
def zoo_list() -> None:
    """List the models that come with the package: frame size, frame rate, chunk, sink, window, steps."""
    from motionstream.model_folder import read_header
    from motionstream.zoo import embedded, names

    console.report("models", {name: read_header(embedded(name))["live"] for name in names()}, None)


@app.command("pack")
def zoo_pack(
    runs: Annotated[Path, typer.Option(help="Folder that `motionstream train --out` wrote.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder to write the model to.")],
    stage: Annotated[
        str, typer.Option(help="Stage whose weights are taken: causal, self-forcing or detail.")
    ] = "detail",
    name: Annotated[str, typer.Option(help="Name of the model.")] = "tiny",
    chunk: options.Chunk = None,
    steps: options.Steps = None,
    window: options.Window = None,
    sink: options.SinkLatents = None,
    clean_pass: options.CleanPass = None,
) -> None:
    """Make a model folder from a finished training run: weights in bfloat16, their hashes, and the recipes.

    [bold]motionstream zoo pack --runs out --out my-model[/]  then  [bold]motionstream demo --model my-model[/]
    """
    from motionstream.train.pack import pack

    given = {"chunk": chunk, "sink": sink, "window": window, "steps": steps, "clean_pass": clean_pass}
    changes = {key: value for key, value in given.items() if value is not None}
    origin = pack(runs, stage, out, name, **changes)
    console.report(f"{name} in {out}", {f"{done}, steps": part["steps"] for done, part in origin.items()}, None)


@app.command("unpack")
def zoo_unpack(
    model: Annotated[str, typer.Argument(help="Name or folder of an embedded or packed model (not one on Wan).")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for the training stages.")],
) -> None:
    """Make training runs from a packed model, as far as it holds their weights, to continue training from them.

    [bold]motionstream zoo unpack tiny -o out/mine[/]
    """
    from motionstream.train.unpack import unpack
    from motionstream.zoo import folder_of

    runs = unpack(folder_of(model), out)
    console.report(f"{model} in {out}", {run: "weights" if has else "recipe" for run, has in runs.items()}, None)


@app.command("compare")
def zoo_compare(
    first: Annotated[str, typer.Argument(help="A model (name or folder), or its figures of `evaluate motion --json`.")],
    second: Annotated[str, typer.Argument(help="The model that may replace it, given the same way.")],
    assets: Annotated[Path | None, typer.Option(help="Pictures for synthetic worlds, to measure models on.")] = None,
    clips: Annotated[int, typer.Option(help="Synthetic worlds; more of them show smaller differences.", min=4)] = 16,
    frames: options.Frames = 45,
    controls: Annotated[
        str, typer.Option(help="Tracks that the model is given, as in evaluate motion.")
    ] = "dense,20,object",
    split: options.HeldOut = "heldout",
    device: options.Device = "auto",
    seed: options.Seed = 0,
    json_out: options.JsonOut = None,
) -> None:
    """Compare two models on the same clips: differences clip by clip, with confidence intervals.

    [bold]motionstream zoo compare tiny out/model --assets pictures[/]

    [bold]motionstream zoo compare old/motion.json new/motion.json[/]  from figures measured before

    The second model is preferred if it is better in some figure and worse in none.
    """
    from motionstream.evaluate import comparison

    measure = partial(_motion, options.parts_of(controls), assets, clips, frames, split, device, seed)
    found = comparison.differences(measure(first), measure(second), seed)
    console.grid(f"{second} against {first}", comparison.rows(found))
    typer.echo(comparison.conclusion(found))
    console.write_json({"first": first, "second": second, **comparison.report(found)}, json_out)


def _motion(
    controls: list[str], assets: Path | None, clips: int, frames: int, split: str, device: str, seed: int, model: str
) -> dict[str, Any]:
    """Figures of `evaluate motion`: read from their file, or measured on held-out worlds."""
    from motionstream.data.assets import AssetLibrary
    from motionstream.evaluate import clips as reading
    from motionstream.evaluate.baselines import by_model
    from motionstream.evaluate.controls import checked
    from motionstream.evaluate.motion import evaluate_motion

    if model.endswith(".json"):
        return _read_motion(Path(model))
    if assets is None:
        raise ValueError(f"{model} is measured on synthetic worlds: name a folder of pictures for them with --assets")
    chosen = checked(controls)
    loaded = options.load_model(model, device)
    worlds = reading.worlds(AssetLibrary(assets, split=split), loaded.size, frames, seed, clips)
    with console.progress(f"{model}: clips × controls", clips * len(chosen)) as bar:
        figures = evaluate_motion(by_model(loaded), worlds, seed, chosen, watch=bar.over)
    return {"data": "worlds", "split": split, **figures}


def _read_motion(file: Path) -> dict[str, Any]:
    try:
        figures: Any = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ValueError(f"{file} cannot be read as JSON: {error}") from None
    if not isinstance(figures, dict) or "per_clip" not in figures:
        raise ValueError(f"{file} is not what `motionstream evaluate motion --json` writes: it has no per_clip")
    if not all(isinstance(row, dict) and {"control", "name", "model"} <= row.keys() for row in figures["per_clip"]):
        raise ValueError(
            f"{file} is not what `motionstream evaluate motion --json` writes: its clips have no control and figures "
            "of a model, as those of another evaluation"
        )
    return figures


@app.command("decoder")
def zoo_decoder(
    run: Annotated[Path, typer.Option(help="Folder of a run of the stage decoder, such as out/wan/decoder.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="File to write, .safetensors.")],
) -> None:
    """Write a trained tiny decoder as one file, with the weight names of TAEHV.

    [bold]motionstream zoo decoder --run out/wan/decoder --out decoder.safetensors[/]
    """
    from motionstream.train.tiny_decoder import trained_decoder

    if out.suffix != ".safetensors":
        raise ValueError(f"{out}: a decoder is written to a name that ends in .safetensors")
    decoder = trained_decoder(run)
    decoder.save(out)
    typer.echo(f"{out}: {sum(weight.numel() for weight in decoder.parameters()):,} parameters, {decoder.config}")


@app.command("wan")
def zoo_wan(
    folder: Annotated[
        Path, typer.Argument(help="Folder that `motionstream convert --to` wrote; with --runs a new one.")
    ],
    vae: options.WanVae,
    text: options.WanText,
    picture: options.WanPicture = None,
    decoder: Annotated[
        Path | None,
        typer.Option(help="File of a tiny decoder (taew2_1, taew2_2, your own); default: the full VAE."),
    ] = None,
    runs: Annotated[Path | None, typer.Option(help="Take the network from the training runs in this folder.")] = None,
    stage: Annotated[str, typer.Option(help="With --runs: causal or self-forcing.")] = "self-forcing",
    name: Annotated[str | None, typer.Option(help="Name of the model; default: the folder's.")] = None,
    size: Annotated[str | None, typer.Option(metavar="WxH", help="Frame in pixels; default: the backbone's.")] = None,
    chunk: options.Chunk = None,
    sink: options.SinkLatents = None,
    window: options.Window = None,
    steps: options.Steps = None,
    fp8: Annotated[
        bool,
        typer.Option("--fp8", help="Matrix products in fp8; loading fails if the output changes too much."),
    ] = False,
) -> None:
    """Make a model from a Wan network and published parts, for `serve`, `generate`, `demo` and `evaluate`.

    [bold]motionstream zoo wan wan-1.3b --vae Wan2.1/vae --text Wan2.1 --picture Wan2.1 --decoder taew2_1.safetensors[/]

    [bold]motionstream zoo wan mine --runs out/wan --vae Wan2.1/vae --text Wan2.1 --picture Wan2.1[/]

    Published parts are not copied: `model.json` has their paths.
    """
    from motionstream.wan.model import PartPaths, describe_converted, live_of_folder

    if runs is not None:
        from motionstream.train.pack import export_wan

        export_wan(runs, stage, folder)
    live = live_of_folder(folder)
    frame = options.size_of(size) if size else None
    changes: dict[str, Any] = {"chunk": chunk, "sink": sink, "window": window, "steps": steps, "size": frame}
    live = replace(live, **{key: value for key, value in changes.items() if value is not None})
    optional = (None if part is None else str(part.resolve()) for part in (picture, decoder))
    paths = PartPaths(str(vae.resolve()), str(text.resolve()), *optional)
    describe_converted(folder, name or folder.resolve().name, paths, live, fp8)
    console.report(f"{name or folder.name}, a model on Wan", {"folder": str(folder), "size": live.size}, None)
