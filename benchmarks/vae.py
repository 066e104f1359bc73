"""How much of a clip survives the tiny VAE, whether its chunks show seams, and what it costs."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from typing import Annotated, Any

import numpy as np
import torch
import typer
from torch.utils.flop_counter import FlopCounterMode

from motionstream import console
from motionstream.cli import options
from motionstream.data.assets import AssetLibrary
from motionstream.data.synthetic import Clip, SyntheticWorlds
from motionstream.evaluate.harness import Item, Results, mean, measure, ratio, stamp, table
from motionstream.evaluate.metrics import Video, psnr, ssim
from motionstream.geometry import chunk_spans
from motionstream.lpips import LpipsNetwork
from motionstream.stream.model import StreamingModel
from motionstream.tiny.conditioner import Warped
from motionstream.tiny.finisher import finisher_of
from motionstream.vae.pixels import to_frames, to_model


def evaluate_vae(
    model: StreamingModel,
    clips: Iterable[Clip],
    chunk: int = 3,
    perceptual: LpipsNetwork | None = None,
    results: Results | None = None,
) -> dict[str, Any]:
    """Figures of a model's VAE on true clips, decoded chunk by chunk as a stream does; LPIPS where there is a network.

    seam_ratio: mean change of the error between the last frame of a chunk and the first of the next, over the same
    between neighbours within chunks; 1 means that borders cannot be seen. decoder_gflop: of one later chunk.
    """
    items = (Item(f"clip {n}", partial(_measured, model, clip, chunk, perceptual)) for n, clip in enumerate(clips))
    rows = table(measure(items, results or Results()).rows)
    return {
        "clips": len(rows),
        **{name: mean(rows, name) for name in ("psnr_db", "ssim", "lpips")},
        "seam_ratio": ratio(mean(rows, "at_borders"), mean(rows, "elsewhere")),
        "decoder_gflop": decoder_gflop(model, chunk),
        **stamp(),
    }


def _measured(model: StreamingModel, clip: Clip, chunk: int, perceptual: LpipsNetwork | None) -> dict[str, Any]:
    rebuilt = rebuild(model, clip.video, chunk)
    at_borders, elsewhere = flicker(rebuilt, clip.video, border_frames(model, len(clip.video), chunk))
    return {
        "psnr_db": psnr(rebuilt, clip.video),
        "ssim": ssim(rebuilt, clip.video),
        "lpips": perceptual.video(rebuilt, clip.video) if perceptual else None,
        "at_borders": at_borders,
        "elsewhere": elsewhere,
    }


@torch.inference_mode()
def rebuild(model: StreamingModel, video: Video, chunk: int) -> Video:
    """The clip (F, H, W, 3), encoded at once and decoded in chunks of latents."""
    pixels = to_model(torch.from_numpy(np.array(video)).permute(0, 3, 1, 2))[None].to(model.device, model.dtype)
    latents, memory, frames = model.vae.encode(pixels), None, []
    for begin, size in chunk_spans(latents.shape[1], chunk):
        decoded, memory = model.vae.decode_step(latents[:, begin : begin + size], memory)
        frames.append(to_frames(decoded[0]))
    return np.concatenate(frames)


def border_frames(model: StreamingModel, frames: int, chunk: int) -> set[int]:
    """First frames of all chunks but the first."""
    latents = model.geometry.latents(frames)
    return {model.geometry.frames(begin) for begin, _ in chunk_spans(latents, chunk) if begin}


def flicker(rebuilt: Video, true: Video, borders: set[int]) -> tuple[float, float]:
    """Mean absolute change of the error from frame to frame: into the frames `borders`, and into all others."""
    error = rebuilt.astype(np.float32) - true
    change = np.abs(np.diff(error, axis=0)).mean((1, 2, 3))
    at = np.isin(np.arange(1, len(true)), list(borders))
    return float(change[at].mean()), float(change[~at].mean())


@torch.inference_mode()
def decoder_gflop(model: StreamingModel, chunk: int) -> float:
    """Arithmetic of decoding one chunk after the first, detail included, 10⁹ operations."""
    rows, columns = model.geometry.latent_height, model.geometry.latent_width
    latents = torch.zeros(1, chunk, model.vae.latent_channels, rows, columns, device=model.device, dtype=model.dtype)
    _, memory = model.vae.decode_step(latents, None)
    width, height = model.size
    frames = chunk * model.geometry.temporal_stride
    warped = Warped(
        latents.new_zeros(1, frames, 3, height, width), latents.new_zeros(1, frames, 1, height // 4, width // 4)
    )
    with FlopCounterMode(display=False) as counter:  # on the modules themselves: a replayed graph shows it nothing
        finisher_of(model).detailed(model.vae.decode_step(latents, memory)[0], warped)
    return float(counter.get_total_flops()) / 1e9


def vae_command(
    assets: options.Assets,
    model: options.Model = "tiny",
    device: options.Device = "auto",
    clips: Annotated[int, typer.Option(help="Held-out worlds.", min=1)] = 32,
    frames: Annotated[int, typer.Option(help="1 + 4·n.", min=21, max=241)] = 33,
    split: options.HeldOut = "heldout",
    seed: options.Seed = 0,
    lpips: options.LpipsWeights = None,
    resume_file: options.ResumeFile = None,
    json_out: options.JsonOut = None,
) -> None:
    """Measure what a model's VAE keeps of true clips, seams at chunk borders, and its arithmetic.

    [bold]python -m benchmarks vae --assets pictures --clips 32 --json vae.json[/]
    """
    perceptual = options.load_lpips(lpips)
    loaded = options.load_model(model, device)
    worlds = SyntheticWorlds(AssetLibrary(assets, split=split), size=loaded.size, frames=frames, seed=seed)
    head = {**options.weights_of(model, loaded), "split": split}
    key = {"evaluation": "vae", **head, "assets": str(assets), "frames": frames, "seed": seed, "lpips": str(lpips)}
    with console.progress("worlds", clips) as bar:
        samples = bar.over(worlds.sample(index) for index in range(clips))
        figures = evaluate_vae(loaded, samples, perceptual=perceptual, results=Results(resume_file, key))
    console.report(f"{model}, VAE", {**head, **figures}, json_out)
