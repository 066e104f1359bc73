"""Videos → prepared training clips (`clip_shards.py`): frames resampled, points tracked, latents and prompts encoded.

A folder of NAME.mp4. Captions are in `clips.jsonl`, a line {"clip": "NAME", "caption": "…"} each, as `motionstream data
synth --out` writes it, or in NAME.txt. Tracks are NAME.npz where that is there, else a tracker follows a grid.

Legend: F frames of the video, N points.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from motionstream.conditioning import PictureEncoder, PromptEncoder
from motionstream.data.clip_shards import ClipShardWriter, EncodedClip, Prepared
from motionstream.stream.model import fitted
from motionstream.stream.video import read_video
from motionstream.trackers.registry import PointTracker
from motionstream.tracks import Tracks, io
from motionstream.tracks.grid import grid
from motionstream.vae import VideoVAE
from motionstream.vae.pixels import to_model

GRID = (50, 50)
"""Columns and rows that are tracked (paper Section 3.1)."""
INDEX = "clips.jsonl"
VAES = {8: "wan2.1", 16: "wan2.2"}
"""Pixels that a latent cell spans → kind of Wan's VAE."""
Size = tuple[int, int]
Video = npt.NDArray[np.uint8]
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Encoders:
    """vae: on `device`, its input in `dtype`. pictures: for networks with CLIP tokens of the first frame."""

    vae: VideoVAE
    text: PromptEncoder
    pictures: PictureEncoder | None = None
    device: torch.device | str = "cpu"
    dtype: torch.dtype = torch.float32


@dataclass(frozen=True)
class Cut:
    """Size (W, H), frames (1 + 4n) and frames a second of a clip, and the grid that is tracked."""

    size: Size
    frames: int
    fps: float
    grid: Size = GRID


def captions(folder: Path) -> dict[str, str]:
    """Name → caption of every clip of a folder, in order. Raises ValueError if there is no clip."""
    if (folder / INDEX).is_file():
        try:
            lines = [json.loads(line) for line in (folder / INDEX).read_text(encoding="utf-8").splitlines() if line]
            found = {str(line["clip"]): str(line.get("caption", "")) for line in lines}
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise ValueError(f'{folder / INDEX}: each line must be JSON with "clip" and "caption" ({error})') from None
    else:
        found = {path.stem: _caption_file(path) for path in sorted(folder.glob("*.mp4"))}
    if not found:
        raise ValueError(f"{folder} holds no clip: put NAME.mp4 there, with NAME.txt or {INDEX} for captions")
    return found


def _caption_file(video: Path) -> str:
    text = video.with_suffix(".txt")
    return text.read_text(encoding="utf-8").strip() if text.is_file() else ""


def encode_folder(
    folder: Path,
    out: Path,
    encoders: Encoders,
    cut: Cut,
    tracker: PointTracker,
    over: Callable[[Iterable[tuple[str, str]]], Iterator[tuple[str, str]]] = lambda items: iter(items),
) -> tuple[int, int]:
    """Write the prepared clips of a folder to `out`; returns how many, and how many videos were too short.

    over: iterates over the (name, caption) of clips (a progress bar). Raises ValueError where no clip could be encoded,
    or a file is wrong.
    """
    named, null_prompt = captions(folder), encoders.text.encode([""]).row(0)
    vae = encoders.vae
    if vae.spatial_stride not in VAES:
        raise ValueError(f"a VAE with cells of {vae.spatial_stride} pixels is none of Wan's: {VAES}")
    writer: ClipShardWriter | None = None
    made = short = 0
    for name, caption in over(named.items()):
        video = prepared_video(folder / f"{name}.mp4", cut)
        if video is None:
            _log.warning("%s has fewer than %d frames at %g a second: left out", name, cut.frames, cut.fps)
            short += 1
            continue
        clip = _encoded(video, _tracks(folder / f"{name}.npz", video, cut, tracker), caption, encoders)
        if writer is None:
            seen = 0 if clip.seen is None else clip.seen.shape[-1]
            kind = VAES[vae.spatial_stride]
            about = Prepared(kind, cut.size, cut.frames, vae.latent_channels, null_prompt.shape[-1], seen)
            writer = ClipShardWriter(out, about, null_prompt)
        writer.add(clip)
        made += 1
    if writer is None:
        raise ValueError(f"{folder}: all {short} videos are shorter than {cut.frames} frames at {cut.fps:g} a second")
    writer.close()
    return made, short


@dataclass(frozen=True)
class Resampled:
    """frames (F', H, W, 3) uint8 in the clip's size; kept: their numbers among the video's `length` frames."""

    frames: Video
    kept: npt.NDArray[np.int64]
    length: int


def prepared_video(path: Path, cut: Cut) -> Resampled | None:
    """The first frames of a video in the clip's size, at the lower of both frame rates; None if there are too few."""
    video, rate = read_video(path)
    kept = np.floor(np.arange(cut.frames) * max(rate, cut.fps) / cut.fps).astype(np.int64)
    if kept[-1] >= len(video):
        return None
    frames = np.stack([fitted(video[frame], cut.size)[0] for frame in kept])
    return Resampled(frames, kept, len(video))


def _tracks(path: Path, video: Resampled, cut: Cut, tracker: PointTracker) -> Tracks:
    """Tracks of the file at the frames that are kept; without a file, of a tracker."""
    if not path.is_file():
        return tracker.track(video.frames, grid(cut.size, *cut.grid))
    tracks = io.load(path, cut.size)
    if tracks.frames != video.length:
        raise ValueError(f"{path}: tracks of {tracks.frames} frames for a video of {video.length}")
    return Tracks(tracks.xy[video.kept], tracks.visible[video.kept], tracks.ids)


@torch.inference_mode()
def _encoded(video: Resampled, tracks: Tracks, caption: str, encoders: Encoders) -> EncodedClip:
    pixels = to_model(torch.from_numpy(video.frames).movedim(-1, 1)[None]).to(encoders.device, encoders.dtype)
    seen: Tensor | None = None
    if encoders.pictures is not None:
        seen = encoders.pictures.encode(video.frames[0])[0]
    text = encoders.text.encode([caption]).row(0)
    return EncodedClip(encoders.vae.encode(pixels)[0].float(), tracks, text, seen, caption)
