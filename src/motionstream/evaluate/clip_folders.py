"""Folders of real clips. Their tracks are a tracker's, on a grid over frame 0.

What cannot be used is named with the reason, and the rest is measured.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from motionstream.evaluate.clips import Clip, Skipped, Source, evenly
from motionstream.evaluate.harness import Unusable
from motionstream.evaluate.metrics import Follow, Video
from motionstream.geometry import Geometry
from motionstream.stream.model import fitted
from motionstream.stream.video import read_image, read_video
from motionstream.trackers.lucas_kanade import track
from motionstream.tracks.grid import grid

PICTURES = (".jpg", ".jpeg", ".png")
VIDEOS = (".mp4", ".webm", ".mov")
NO_FRAMES = "no numbered frames (.jpg, .png) in it"


@dataclass(frozen=True)
class Reading:
    """How real clips become a model's.

    geometry: of the model; frames are fitted to its size. frames: the most of a clip, 1 + 4 n. spread: longer clips
    keep the first and the last frame and even steps between (paper, protocol), instead of their first frames. fps: of
    videos, frames a second to take; None for all. least: fewer frames than these are not measured. grid: (columns,
    rows) of the points that are followed. follow: the tracker.
    """

    geometry: Geometry
    frames: int = 49
    spread: bool = False
    fps: float | None = None
    least: int = 5
    grid: tuple[int, int] = (50, 50)
    follow: Follow = track

    def __post_init__(self) -> None:
        self.geometry.latents(self.frames)
        if min(self.grid) < 1:
            raise ValueError(f"a grid of {self.grid[0]}x{self.grid[1]} points: at least 1x1")

    def whole(self, count: int) -> int:
        """The most frames, 1 + 4 n, that `count` frames hold."""
        return self.geometry.frames(1 + (count - 1) // self.geometry.temporal_stride) if count else 0


def find(folder: Path, reading: Reading, names: Sequence[str] | None = None) -> tuple[list[Source], list[Skipped]]:
    """The clips of a folder in order, and what is left out: each is a folder of numbered frames or a video file.

    names: only these, in this order. Raises ValueError, with what to do, where nothing is found.
    """
    if not folder.is_dir():
        raise ValueError(f"{folder}: no such folder; give one that holds clips, or 'worlds'")
    entries = sorted(folder.iterdir()) if names is None else [folder / name for name in names]
    sources, skipped = [], []
    for entry in entries:
        if entry.name.startswith("."):
            continue
        if entry.is_dir():
            if numbered(entry):
                sources.append(_of_frames(entry, reading))
            else:
                skipped.append(Skipped(entry.name, NO_FRAMES))
        elif entry.suffix.lower() in VIDEOS and entry.is_file():
            sources.append(_of_video(entry, reading))
        elif names is not None:
            skipped.append(Skipped(entry.name, "listed, but there is no such clip"))
    if not sources:
        raise ValueError(_nothing(folder, skipped))
    return sources, skipped


def names_in(listing: Path) -> list[str]:
    """Names of clips, one a line, such as DAVIS's list of the validation set."""
    lines = listing.read_text(encoding="utf-8", errors="replace").splitlines()
    return list(dict.fromkeys(name for line in lines if (name := line.strip())))


def _nothing(folder: Path, skipped: Sequence[Skipped]) -> str:
    if numbered(folder):
        return (
            f"{folder}: frames, but no clips; give the folder above it, or move the frames into a folder of their own"
        )
    why = f" ({skipped[0].name}: {skipped[0].reason})" if skipped else ""
    return (
        f"{folder}: no clips in it{why}; put there folders of numbered frames (.jpg, .png) or video files "
        f"({', '.join(VIDEOS)})"
    )


def numbered(folder: Path) -> list[Path]:
    """The frames in a folder, pictures whose names end in a number, in its order."""
    found = []
    for file in folder.iterdir():
        number = re.search(r"(\d+)$", file.stem)
        if number and file.suffix.lower() in PICTURES and not file.name.startswith("."):
            found.append((int(number[1]), file.name, file))
    return [file for *_, file in sorted(found)]


def _of_frames(folder: Path, reading: Reading) -> Source:
    def load() -> Clip:
        files = numbered(folder)
        chosen = [files[index] for index in _chosen(len(files), reading)]
        skipped: list[Skipped] = []
        frames = list(_read(chosen, folder.name, skipped))
        return _clip(folder.name, frames, caption_of(folder), reading, tuple(skipped))

    return Source(folder.name, load)


def _chosen(count: int, reading: Reading) -> Sequence[int]:
    """Which of so many frames are taken."""
    return evenly(count, reading.frames).tolist() if reading.spread else range(min(count, reading.frames))


def _read(files: Sequence[Path], name: str, skipped: list[Skipped]) -> Iterator[Video]:
    """The frames of one clip, (H, W, 3) each, all of the first one's size; others are added to `skipped`."""
    size: tuple[int, ...] = ()
    for file in files:
        try:
            frame = read_image(file)
        except (ValueError, OSError) as error:
            skipped.append(Skipped(f"{name}/{file.name}", str(error).removeprefix(f"{file}: ")))
            continue
        size = size or frame.shape
        if frame.shape == size:
            yield frame
        else:
            reason = f"{frame.shape[1]}x{frame.shape[0]}, the frames before are {size[1]}x{size[0]}"
            skipped.append(Skipped(f"{name}/{file.name}", reason))


def _of_video(file: Path, reading: Reading) -> Source:
    def load() -> Clip:
        try:
            fps = read_video(file, limit=1)[1]
            step = max(1.0, fps / reading.fps) if reading.fps else 1.0
            most = None if reading.spread else int(np.ceil((reading.frames - 1) * step)) + 1
            video = read_video(file, limit=most)[0]
        except (ValueError, OSError) as error:
            raise Unusable(str(error).removeprefix(f"{file}: ")) from None
        taken = np.arange(0, len(video), step).round().astype(int)
        taken = taken[taken < len(video)]
        return _clip(file.name, list(video[taken[list(_chosen(len(taken), reading))]]), caption_of(file), reading)

    return Source(file.name, load)


def _clip(
    name: str, frames: Sequence[Video], caption: str, reading: Reading, skipped: tuple[Skipped, ...] = ()
) -> Clip:
    count = reading.whole(len(frames))
    if count < reading.least:
        lost = f", {len(skipped)} unreadable ({skipped[0].name}: {skipped[0].reason})" if skipped else ""
        raise Unusable(f"{len(frames)} frames{lost}: fewer than the {reading.least} of a first chunk")
    size = reading.geometry.size
    video = np.stack([fitted(frame, size)[0] for frame in frames[:count]])
    tracks = reading.follow(video, grid(size, *reading.grid), None)
    return Clip(video, tracks, caption, np.zeros(tracks.points, np.int64), exact=False, skipped=skipped)


def caption_of(clip: Path) -> str:
    """From NAME.txt beside the clip, or from manifest.csv (columns name, and caption or content); else ""."""
    written = clip.with_suffix(".txt") if clip.is_file() else clip.with_name(f"{clip.name}.txt")
    if written.is_file():
        return " ".join(written.read_text(encoding="utf-8", errors="replace").split())
    manifest = clip.with_name("manifest.csv")
    if not manifest.is_file():
        return ""
    with manifest.open(encoding="utf-8", errors="replace", newline="") as file:
        rows = {row.get("name"): row.get("caption") or row.get("content") or "" for row in csv.DictReader(file)}
    return rows.get(clip.name) or rows.get(clip.stem) or ""
