"""Clips as files: videos, their exact tracks and captions. And how fast clips are made."""

from __future__ import annotations

import json
import time
from pathlib import Path

import numpy as np
import torch

from motionstream.data.synthetic import Clip, SyntheticWorlds
from motionstream.stream.video import write_mp4

FPS = 24  # of the files; motion is drawn for it


def write_clips(worlds: SyntheticWorlds, folder: str | Path, clips: int, first: int = 0) -> Path:
    """Write clips `first` … into `folder`: NNNNNN.mp4, NNNNNN.npz, and a line each in clips.jsonl.

    The npz holds xy (F, N, 2) pixels, visible (F, N), size (W, H), object_of (N,), caption and effect. Raises
    ValueError for fewer than one clip, OSError where the folder cannot be written.
    """
    if clips < 1:
        raise ValueError(f"{clips} clips: write at least 1")
    target = Path(folder)
    target.mkdir(parents=True, exist_ok=True)
    with (target / "clips.jsonl").open("w", encoding="utf-8") as index:
        for number in range(first, first + clips):
            clip = worlds.sample(number)
            name = f"{number:06d}"
            write_mp4(target / f"{name}.mp4", clip.video, FPS)
            _write_tracks(target / f"{name}.npz", clip)
            line = {"clip": name, "frames": len(clip.video), "caption": clip.caption, "effect": clip.effect}
            index.write(json.dumps(line) + "\n")
    return target


def _write_tracks(path: Path, clip: Clip) -> None:
    height, width = clip.video.shape[1:3]
    np.savez_compressed(
        path,
        xy=clip.tracks.xy,
        visible=clip.tracks.visible,
        size=np.array([width, height]),
        object_of=clip.object_of,
        caption=np.array(clip.caption),
        effect=np.array(clip.effect),
    )


def bench(worlds: SyntheticWorlds, seconds: float = 5.0) -> dict[str, float | int | str]:
    """Make clips for about `seconds` and count: clips a second of wall time and of this process's CPU time.

    The second figure is for one core, also where other programs share the machine.
    """
    worlds.batch([0])
    made, wall, busy = 0, time.perf_counter(), time.process_time()
    while time.perf_counter() - wall < seconds or not made:
        made += 1
        worlds.batch([made])
    if worlds.device.type == "cuda":
        torch.cuda.synchronize()
    return {
        "clips": made,
        "clips_per_second": made / (time.perf_counter() - wall),
        "clips_per_cpu_second": made / (time.process_time() - busy),
        "frames": worlds.frames,
        "size": "×".join(map(str, worlds.size)),
        "device": str(worlds.device),
        "threads": torch.get_num_threads(),
    }
