"""How much of a clip survives the tiny VAE, whether its chunks show seams, and what it costs."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import torch
from torch.utils.flop_counter import FlopCounterMode

from motionstream.evaluate import machine
from motionstream.evaluate.lpips import Lpips
from motionstream.evaluate.metrics import Mean, Video, psnr, ssim
from motionstream.evaluate.motion import EvaluationClip
from motionstream.geometry import chunk_spans
from motionstream.stream.model import StreamingModel
from motionstream.tiny.conditioner import Warped
from motionstream.tiny.finisher import finisher_of
from motionstream.vae.pixels import to_frames, to_model


def evaluate_vae(
    model: StreamingModel, clips: Iterable[EvaluationClip], chunk: int = 3, perceptual: Lpips | None = None
) -> dict[str, Any]:
    """Figures of a model's VAE on true clips, decoded chunk by chunk as a stream does; LPIPS where there is a network.

    seam_ratio: mean change of the error between the last frame of a chunk and the first of the next, over the same
    between neighbours within chunks; 1 means that borders cannot be told. decoder_gflop: of one later chunk.
    """
    quality, similarity, distance, seams, inside, count = Mean(), Mean(), Mean(), Mean(), Mean(), 0
    for clip in clips:
        rebuilt = rebuild(model, clip.video, chunk)
        quality.add(psnr(rebuilt, clip.video))
        similarity.add(ssim(rebuilt, clip.video))
        if perceptual is not None:
            distance.add(perceptual.video(rebuilt, clip.video))
        at_borders, elsewhere = flicker(rebuilt, clip.video, border_frames(model, len(clip.video), chunk))
        seams.add(at_borders)
        inside.add(elsewhere)
        count += 1
    return {
        "clips": count,
        "psnr_db": quality.value,
        "ssim": similarity.value,
        "lpips": distance.value,
        "seam_ratio": None if not inside.value or seams.value is None else seams.value / inside.value,
        "decoder_gflop": decoder_gflop(model, chunk),
        "machine": machine.describe(),
        "date": machine.today(),
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
