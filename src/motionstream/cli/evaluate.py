"""`motionstream evaluate …`: how well a model does what it is told."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from motionstream import console
from motionstream.cli.options import Assets, Device, JsonOut, Model, Seed, load_model, weights_of

app = typer.Typer(no_args_is_help=True, help="How well a model does what it is told.")


@app.command("motion")
def evaluate_motion_command(
    assets: Assets,
    model: Model = "tiny",
    device: Device = "auto",
    clips: Annotated[int, typer.Option(help="Held-out worlds.", min=1)] = 16,
    frames: Annotated[int, typer.Option(help="1 + 4·n.", min=5, max=241)] = 45,
    split: Annotated[str, typer.Option(help="heldout or heldout-far.")] = "heldout",
    seed: Seed = 0,
    sheet: Annotated[Path | None, typer.Option(help="Also draw true, model and warp side by side, .png.")] = None,
    lpips: Annotated[Path | None, typer.Option(help="LPIPS weights, .safetensors, to measure that too.")] = None,
    json_out: JsonOut = None,
) -> None:
    """Measure whether a model follows tracks, beside standing still and warping the first frame.

    [bold]motionstream evaluate motion --assets pictures --clips 16 --json motion.json --sheet motion.png[/]
    """
    from motionstream.data.assets import AssetLibrary
    from motionstream.data.synthetic import SyntheticWorlds
    from motionstream.evaluate import sheets
    from motionstream.evaluate.lpips import Lpips
    from motionstream.evaluate.motion import Example, by_model, evaluate_motion

    library = AssetLibrary(assets, split=split)
    perceptual = Lpips.load(lpips) if lpips else None
    loaded = load_model(model, device)
    worlds = SyntheticWorlds(library, size=loaded.size, frames=frames, seed=seed)
    shown: list[Example] = []
    with console.progress("worlds", clips) as bar:
        samples = bar.over(worlds.sample(index) for index in range(clips))
        figures = evaluate_motion(by_model(loaded), samples, seed, lpips=perceptual, examples=shown)
    if sheet:
        sheets.draw(shown, sheet)
    console.report(f"{model}, motion", {**weights_of(model, loaded), "split": split, **figures}, json_out)


@app.command("vae")
def evaluate_vae_command(
    assets: Assets,
    model: Model = "tiny",
    device: Device = "auto",
    clips: Annotated[int, typer.Option(help="Held-out worlds.", min=1)] = 32,
    frames: Annotated[int, typer.Option(help="1 + 4·n.", min=21, max=241)] = 33,
    split: Annotated[str, typer.Option(help="heldout or heldout-far.")] = "heldout",
    seed: Seed = 0,
    json_out: JsonOut = None,
) -> None:
    """Measure what a model's VAE keeps of true clips, seams at chunk borders, and its arithmetic.

    [bold]motionstream evaluate vae --assets pictures --clips 32 --json vae.json[/]
    """
    from motionstream.data.assets import AssetLibrary
    from motionstream.data.synthetic import SyntheticWorlds
    from motionstream.evaluate.vae import evaluate_vae

    loaded = load_model(model, device)
    worlds = SyntheticWorlds(AssetLibrary(assets, split=split), size=loaded.size, frames=frames, seed=seed)
    with console.progress("worlds", clips) as bar:
        figures = evaluate_vae(loaded, bar.over(worlds.sample(index) for index in range(clips)))
    console.report(f"{model}, VAE", {**weights_of(model, loaded), "split": split, **figures}, json_out)


@app.command("endurance")
def evaluate_endurance_command(
    pictures: Annotated[list[Path], typer.Argument(help="Start pictures.")],
    model: Model = "tiny",
    device: Device = "auto",
    frames: Annotated[int, typer.Option(help="Length of each stream.", min=121)] = 600,
    sheet: Annotated[Path | None, typer.Option(help="Also draw frames of every stream, .png.")] = None,
    json_out: JsonOut = None,
) -> None:
    """Run long streams, untouched, dragged and pinned, and measure what is left of the picture at the end.

    [bold]motionstream evaluate endurance photo.jpg --frames 600 --sheet long.png[/]
    """
    from motionstream.evaluate.endurance import evaluate_endurance
    from motionstream.evaluate.sheets import strips
    from motionstream.stream.model import fitted
    from motionstream.stream.video import read_image

    loaded = load_model(model, device)
    fitting = {path.stem: fitted(read_image(path), loaded.size)[0] for path in pictures}
    figures, rows = evaluate_endurance(loaded, fitting, frames)
    if sheet:
        strips(rows, sheet)
    console.report(f"{model}, endurance", {**weights_of(model, loaded), **figures}, json_out)
