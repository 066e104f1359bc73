"""`motionstream zoo`: models that come with the package, and making one of a training run or of Wan's parts."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer

from motionstream import console
from motionstream.cli.options import AssetsHeldOut, Device, JsonOut, Seed, controls_of, load_model, size_of

app = typer.Typer(no_args_is_help=True, help="Models that come with the package, and making one.")


@app.command("list")
def zoo_list() -> None:
    """Say which models come with the package, and how they run."""
    from motionstream.model_folder import read_header
    from motionstream.zoo import embedded, names

    console.report("models", {name: read_header(embedded(name))["live"] for name in names()}, None)


@app.command("pack")
def zoo_pack(
    runs: Annotated[Path, typer.Option(help="The folder that `motionstream train --out` wrote.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="The model's folder.")],
    stage: Annotated[str, typer.Option(help="causal, self-forcing or detail.")] = "detail",
    name: Annotated[str, typer.Option(help="What the model calls itself.")] = "tiny",
    chunk: Annotated[int | None, typer.Option(help="Latents a live step makes; else the recipe's.", min=1)] = None,
    steps: Annotated[int | None, typer.Option(help="Denoising calls a chunk; else the recipe's.", min=1)] = None,
    window: Annotated[int | None, typer.Option(help="Latest latents a step sees; else the recipe's.", min=0)] = None,
    sink: Annotated[
        int | None, typer.Option(help="First latents that stay in sight; else the recipe's.", min=0)
    ] = None,
    clean_pass: Annotated[
        bool | None,
        typer.Option(
            "--clean-pass/--no-clean-pass",
            help="Whether a finished chunk goes through the network once more for later ones to see, or they see what "
            "its last call saw; else the recipe's.",
        ),
    ] = None,
) -> None:
    """Make a model folder of a finished training run, in bfloat16, with hashes and recipes.

    [bold]motionstream zoo pack --runs out --out my-model[/]  then  [bold]motionstream demo --model my-model[/]
    """
    from motionstream.train.pack import pack

    origin = pack(runs, stage, out, name, chunk, steps, window, sink, clean_pass)
    console.report(f"{name} in {out}", {f"{done}, steps": part["steps"] for done, part in origin.items()}, None)


@app.command("unpack")
def zoo_unpack(
    model: Annotated[str, typer.Argument(help="A model of our own: its name, or its folder.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="The folder of the chain that will go on from it.")],
) -> None:
    """Make a training chain of a packed model: its runs, as far as their weights are in it, for stages to go on from.

    [bold]motionstream zoo unpack tiny -o out/mine[/]
    """
    from motionstream.train.unpack import unpack
    from motionstream.zoo import folder_of

    runs = unpack(folder_of(model), out)
    console.report(f"{model} in {out}", {run: "weights" if has else "recipe" for run, has in runs.items()}, None)


@app.command("compare")
def zoo_compare(
    first: Annotated[str, typer.Argument(help="A model (name or folder), or the JSON of its `evaluate motion`.")],
    second: Annotated[str, typer.Argument(help="The one that may replace it, given alike.")],
    assets: Annotated[Path | None, typer.Option(help="Pictures to make held-out worlds of, to measure models.")] = None,
    clips: Annotated[int, typer.Option(help="Held-out worlds; more find smaller differences.", min=4)] = 16,
    frames: Annotated[int, typer.Option(help="1 + 4·n.", min=5, max=241)] = 45,
    controls: Annotated[str, typer.Option(help="As of evaluate motion.")] = "dense,20,object",
    split: AssetsHeldOut = "heldout",
    device: Device = "auto",
    seed: Seed = 0,
    json_out: JsonOut = None,
) -> None:
    """Say whether the second model is better than the first: same clips, differences clip by clip, with intervals.

    [bold]motionstream zoo compare tiny out/model --assets pictures[/]

    [bold]motionstream zoo compare old/motion.json new/motion.json[/]  of figures that were measured before

    A new model is worth promoting when it is better in something and worse in nothing.
    """
    from motionstream.evaluate import verdict

    measure = partial(_motion, assets=assets, clips=clips, frames=frames, split=split, device=device, seed=seed)
    chosen = controls_of(controls)
    found = verdict.differences(measure(first, chosen), measure(second, chosen), seed)
    console.grid(f"{second} against {first}", verdict.rows(found))
    typer.echo(verdict.preferred(found))
    console.write_json({"first": first, "second": second, **verdict.report(found)}, json_out)


def _motion(
    model: str,
    controls: list[str],
    *,
    assets: Path | None,
    clips: int,
    frames: int,
    split: str,
    device: str,
    seed: int,
) -> dict[str, Any]:
    """What `evaluate motion` says of a model: read from its file, or measured on held-out worlds."""
    from motionstream.data.assets import AssetLibrary
    from motionstream.evaluate import clips as reading
    from motionstream.evaluate import motion

    if model.endswith(".json"):
        return _read_motion(Path(model))
    if assets is None:
        raise ValueError(f"{model} is to be measured on held-out worlds: name a folder of pictures with --assets")
    chosen = motion.checked(controls)
    loaded = load_model(model, device)
    worlds = reading.worlds(AssetLibrary(assets, split=split), loaded.size, frames, seed, clips)
    with console.progress(f"{model}: clips × controls", clips * len(chosen)) as bar:
        figures = motion.evaluate_motion(motion.by_model(loaded), worlds, seed, chosen, watch=bar.over)
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
    run: Annotated[Path, typer.Option(help="The folder of a run of stage decoder, such as out/wan/decoder.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="The decoder's file, .safetensors.")],
) -> None:
    """Write a trained tiny decoder as one file, under TAEHV's own names.

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
        Path, typer.Argument(help="What `motionstream convert --to` wrote, or, with --runs, a new folder.")
    ],
    vae: Annotated[Path, typer.Option(help="The full VAE: Wan's folder vae for Diffusers.")],
    text: Annotated[Path, typer.Option(help="The folder with text_encoder/ and tokenizer/.")],
    picture: Annotated[
        Path | None, typer.Option(help="The folder with image_encoder/, for networks that read CLIP tokens.")
    ] = None,
    decoder: Annotated[
        Path | None, typer.Option(help="A tiny decoder (taew2_1, taew2_2, your own); else the full VAE decodes.")
    ] = None,
    runs: Annotated[Path | None, typer.Option(help="Take the network that a chain in this folder trained.")] = None,
    stage: Annotated[str, typer.Option(help="Of the chain: causal or self-forcing.")] = "self-forcing",
    name: Annotated[str | None, typer.Option(help="What the model calls itself; else the folder's name.")] = None,
    size: Annotated[str | None, typer.Option(metavar="WxH", help="Other frames than the backbone's own.")] = None,
    chunk: Annotated[int | None, typer.Option(help="Latents a step makes; else the paper's 3.", min=1)] = None,
    sink: Annotated[int | None, typer.Option(help="First latents that stay in sight; else 3.", min=0)] = None,
    window: Annotated[int | None, typer.Option(help="Latest latents in sight; else 3.", min=0)] = None,
    steps: Annotated[int | None, typer.Option(help="Denoising calls a chunk; else 3.", min=1)] = None,
    fp8: Annotated[
        bool, typer.Option("--fp8", help="Round products to 8 bits when it is loaded; refused if it changes too much.")
    ] = False,
) -> None:
    """Make a Wan network a model that `serve`, `generate`, `demo` and `evaluate` take.

    [bold]motionstream zoo wan wan-1.3b --vae Wan2.1/vae --text Wan2.1 --picture Wan2.1 --decoder taew2_1.safetensors[/]

    [bold]motionstream zoo wan mine --runs out/wan --vae Wan2.1/vae --text Wan2.1 --picture Wan2.1[/]

    Published parts are not copied: `model.json` has their paths.
    """
    from motionstream.wan.model import PartPaths, describe_converted, live_of_folder

    if runs is not None:
        from motionstream.train.pack import export_wan

        export_wan(runs, stage, folder)
    live = live_of_folder(folder)
    changes: dict[str, Any] = {
        "chunk": chunk,
        "sink": sink,
        "window": window,
        "steps": steps,
        "size": size_of(size) if size else None,
    }
    live = replace(live, **{key: value for key, value in changes.items() if value is not None})
    paths = [None if part is None else str(part.resolve()) for part in (vae, text, picture, decoder)]
    assert paths[0] is not None
    assert paths[1] is not None
    describe_converted(folder, name or folder.resolve().name, PartPaths(paths[0], paths[1], *paths[2:]), live, fp8)
    console.report(f"{name or folder.name}, a model on Wan", {"folder": str(folder), "size": live.size}, None)
