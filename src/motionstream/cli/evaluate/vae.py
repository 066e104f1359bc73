"""`motionstream evaluate vae`: what a model's VAE keeps of true clips."""

from __future__ import annotations

from typing import Annotated

import typer

from motionstream import console
from motionstream.cli.options import Assets, Device, HeldOut, JsonOut, LpipsWeights, Model, Seed, load_model, weights_of


def evaluate_vae_command(
    assets: Assets,
    model: Model = "tiny",
    device: Device = "auto",
    clips: Annotated[int, typer.Option(help="Held-out worlds.", min=1)] = 32,
    frames: Annotated[int, typer.Option(help="1 + 4·n.", min=21, max=241)] = 33,
    split: HeldOut = "heldout",
    seed: Seed = 0,
    lpips: LpipsWeights = None,
    json_out: JsonOut = None,
) -> None:
    """Measure what a model's VAE keeps of true clips, seams at chunk borders, and its arithmetic.

    [bold]motionstream evaluate vae --assets pictures --clips 32 --json vae.json[/]
    """
    from motionstream.data.assets import AssetLibrary
    from motionstream.data.synthetic import SyntheticWorlds
    from motionstream.evaluate.lpips import Lpips
    from motionstream.evaluate.vae import evaluate_vae

    perceptual = Lpips.load(lpips) if lpips else None
    loaded = load_model(model, device)
    worlds = SyntheticWorlds(AssetLibrary(assets, split=split), size=loaded.size, frames=frames, seed=seed)
    with console.progress("worlds", clips) as bar:
        samples = bar.over(worlds.sample(index) for index in range(clips))
        figures = evaluate_vae(loaded, samples, perceptual=perceptual)
    console.report(f"{model}, VAE", {**weights_of(model, loaded), "split": split, **figures}, json_out)
