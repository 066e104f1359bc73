"""`motionstream data …`: synthetic worlds, and clips encoded for Wan."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from motionstream import console
from motionstream.cli import options

app = typer.Typer(no_args_is_help=True, help="Training data: synthetic worlds, and clips encoded for Wan.")


@app.command("synth")
def data_synth(
    assets: options.Assets,
    preview: Annotated[Path | None, typer.Option(help="Draw a contact sheet of clips with their tracks, .png.")] = None,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="Write clips here: .mp4, .npz (tracks) and captions.")
    ] = None,
    bench: Annotated[bool, typer.Option("--bench", help="Measure how many clips a second this machine makes.")] = False,
    clips: Annotated[int, typer.Option(help="How many clips.", min=1)] = 6,
    frames: options.Frames = 25,
    size: options.Size = "256x144",
    seed: options.Seed = 0,
    split: Annotated[str, typer.Option(help="Which of the pictures: train, heldout, heldout-far or all.")] = "train",
    variety: options.Variety = 0.0,
    json_out: options.JsonOut = None,
) -> None:
    """Make synthetic worlds with exact tracks: a contact sheet, files, or a measurement of the speed.

    [bold]motionstream data synth --assets pictures --preview sheet.png[/]

    [bold]motionstream data synth --assets pictures --preview varied.png --variety 1[/]

    [bold]motionstream data synth --assets pictures -o clips --clips 100 --split all[/]
    """
    from motionstream.data import export
    from motionstream.data.assets import AssetLibrary
    from motionstream.data.preview import preview as draw
    from motionstream.data.synthetic import SyntheticWorlds

    if not (preview or out or bench):
        raise ValueError("nothing to do: ask for --preview sheet.png, --out folder or --bench")
    pixels = options.size_of(size)
    library = AssetLibrary(assets, split=None if split == "all" else split)
    worlds = SyntheticWorlds(library, size=pixels, frames=frames, seed=seed, variety=variety)
    if preview:
        typer.echo(f"{draw(worlds, preview, clips=clips)}: {clips} worlds of {frames} frames")
    if out:
        typer.echo(f"{export.write_clips(worlds, out, clips)}: {clips} clips")
    if bench:
        console.report("Synthetic worlds", export.bench(worlds), json_out)


@app.command("encode")
def data_encode(
    clips: Annotated[Path, typer.Option(help="A folder of NAME.mp4, with captions in clips.jsonl or NAME.txt.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="A new folder for the encoded clips.")],
    vae: options.WanVae,
    text: options.WanText,
    pictures: options.WanPicture = None,
    size: options.Size = "832x480",
    frames: Annotated[int, typer.Option(help="1 + a multiple of 4; shorter videos are left out.", min=5)] = 81,
    fps: Annotated[float, typer.Option(help="Frames a second that the model is trained at.", min=1)] = 16.0,
    grid: options.GridSize = "50x50",
    tracker: options.Tracker = "lucas-kanade",
    tracker_path: options.TrackerPath = None,
    download: options.Download = False,
    device: options.Device = "auto",
    dtype: Annotated[str, typer.Option(help="Number format of the encoders: bfloat16 or float32.")] = "bfloat16",
) -> None:
    """Encode clips for the training of Wan, once: latents, point tracks (of NAME.npz, or tracked) and prompts.

    [bold]motionstream data encode --clips videos --vae wan/vae --text wan --pictures wan -o clips-1.3b[/]

    [bold]motionstream data encode --clips videos --vae wan22/vae --text wan22 --size 1280x704 --frames 121 --fps 24
    -o clips-5b --tracker cotracker3 --tracker-path co-tracker[/]
    """
    import torch

    from motionstream.data.encode import Cut, Encoders, captions, encode_folder
    from motionstream.wan.clip_image import ClipImageEncoder
    from motionstream.wan.prompt_cache import CachedEncoder, PromptCache, default_folder
    from motionstream.wan.umt5 import UMT5Encoder, identity_of
    from motionstream.wan.vae import WanVAE

    number = options.dtype_of(dtype, ("bfloat16", "float32"))
    where = ("cuda" if torch.cuda.is_available() else "cpu") if device == "auto" else device
    cut, count = Cut(options.size_of(size), frames, fps, options.grid_of(grid)), len(captions(clips))
    opened = options.open_tracker(tracker, tracker_path, download, device)
    text_encoder = UMT5Encoder(text, device=where, dtype=number)
    identity = identity_of(text_encoder.folder, number)
    prompts = CachedEncoder(text_encoder, PromptCache(default_folder()), identity, text_encoder.max_tokens)
    first_pictures = None if pictures is None else ClipImageEncoder(pictures, device=where, dtype=number)
    encoders = Encoders(WanVAE.load(vae, where, number).without_decoder(), prompts, first_pictures, where, number)
    with console.progress("clips", count) as bar:
        made, short = encode_folder(clips, out, encoders, cut, opened, bar.over)
    typer.echo(f"{out}: {made} clips of {frames} frames" + (f"; {short} videos were too short" if short else ""))
