"""Folders of real clips in the layouts they are published in. Their tracks are a tracker's, on a grid over frame 0.

What cannot be used is named with the reason, and the rest is measured.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from motionstream.evaluate.clips import Clip, Skipped, Source
from motionstream.evaluate.harness import Unusable
from motionstream.evaluate.metrics import Follow, Video
from motionstream.geometry import Geometry
from motionstream.stream.model import fitted
from motionstream.stream.video import read_image, read_video
from motionstream.trackers.lucas_kanade import track
from motionstream.tracks.grid import grid
from motionstream.tracks.tracks import IntArray

LAYOUTS = ("auto", "clips", "davis", "sora")
MOST_FRAMES = {"clips": 49, "davis": 49, "sora": 81}
"""Frames of a clip where the caller does not say; the Sora set is cut to 81 in the paper."""
SORA_FPS = 16.0
PICTURES = (".jpg", ".jpeg", ".png")
VIDEOS = (".mp4", ".webm", ".mov")
DAVIS_LISTS = ("ImageSets/2017/val.txt", "ImageSets/2016/val.txt", "ImageSets/480p/val.txt")
DAVIS_FRAMES = ("JPEGImages/480p", "JPEGImages/Full-Resolution")


@dataclass(frozen=True)
class Found:
    """What a folder holds: its layout, its clips in order, and what is left out already."""

    layout: str
    sources: list[Source]
    skipped: list[Skipped] = field(default_factory=list)


@dataclass(frozen=True)
class Reading:
    """How real clips become a model's.

    geometry: of the model; frames are fitted to its size. frames: the most of a clip, 1 + 4 n, None for the layout's
    own. least: fewer than these are not measured. grid: (columns, rows) of the points that are followed. follow: the
    tracker.
    """

    geometry: Geometry
    frames: int | None = None
    least: int = 5
    grid: tuple[int, int] = (50, 50)
    follow: Follow = track

    def __post_init__(self) -> None:
        if self.frames is not None:
            self.geometry.latents(self.frames)
        if min(self.grid) < 1:
            raise ValueError(f"a grid of {self.grid[0]}x{self.grid[1]} points: at least 1x1")

    def whole(self, count: int) -> int:
        """The most frames, 1 + 4 n, that `count` frames hold."""
        return self.geometry.frames(1 + (count - 1) // self.geometry.temporal_stride) if count else 0


def find(folder: Path, reading: Reading, layout: str = "auto") -> Found:
    """The clips of a folder.

    clips: a folder of numbered frames (.jpg, .png) or a video file each; the first frames are taken. davis: as
    published, JPEGImages/480p/NAME and the validation list in ImageSets, or a folder of such NAMEs; longer clips keep
    the first and the last frame and even steps between (paper, protocol). sora: video files, played at 16 frames a
    second.
    auto: davis where there is JPEGImages, else clips. Raises ValueError, with what to do, where nothing is found.
    """
    if layout not in LAYOUTS:
        raise ValueError(f"layout {layout!r}: use one of {', '.join(LAYOUTS)}")
    if not folder.is_dir():
        raise ValueError(f"{folder}: no such folder; give one that holds clips, or 'worlds'")
    if layout == "auto":
        layout = "davis" if (folder / "JPEGImages").is_dir() else "clips"
    found = {"clips": _clips, "davis": _davis, "sora": _sora}[layout](folder, reading)
    if not found.sources:
        raise ValueError(_nothing(folder, layout, found.skipped))
    return found


def evenly(count: int, most: int) -> IntArray:
    """Which of `count` frames to keep: at most `most`, the first, the last and even steps between (paper, protocol)."""
    return np.linspace(0, count - 1, min(count, most)).round().astype(np.int64)


def _clips(folder: Path, reading: Reading) -> Found:
    sources, skipped = [], []
    for entry in sorted(folder.iterdir()):
        if entry.name.startswith("."):
            continue
        if entry.is_dir():
            if numbered(entry):
                sources.append(_of_frames(entry, reading, "clips"))
            else:
                skipped.append(Skipped(entry.name, "no numbered frames (.jpg, .png) in it"))
        elif entry.suffix.lower() in VIDEOS:
            sources.append(_of_video(entry, reading, "clips"))
    return Found("clips", sources, skipped)


def _sora(folder: Path, reading: Reading) -> Found:
    files = [entry for entry in sorted(folder.iterdir()) if entry.suffix.lower() in VIDEOS and entry.is_file()]
    return Found("sora", [_of_video(file, reading, "sora", SORA_FPS) for file in files])


def _davis(folder: Path, reading: Reading) -> Found:
    if not (folder / "JPEGImages").is_dir():  # a part of the set
        return replace(_clips_of([f for f in sorted(folder.iterdir()) if f.is_dir()], reading), layout="davis")
    root = next((folder / name for name in DAVIS_FRAMES if (folder / name).is_dir()), None)
    listing = next((folder / name for name in DAVIS_LISTS if (folder / name).is_file()), None)
    if root is None or listing is None:
        missing = " or ".join(DAVIS_FRAMES if root is None else DAVIS_LISTS)
        raise ValueError(f"{folder}: JPEGImages but no {missing}; unpack the whole of DAVIS, or give a folder of clips")
    return _clips_of([root / name for name in _listed(listing)], reading)


def _clips_of(folders: Sequence[Path], reading: Reading) -> Found:
    sources = [_of_frames(each, reading, "davis") for each in folders if each.is_dir() and numbered(each)]
    named = {source.name for source in sources}
    skipped = [
        Skipped(
            each.name, "no numbered frames (.jpg, .png) in it" if each.is_dir() else "listed, but there is no folder"
        )
        for each in folders
        if each.name not in named
    ]
    return Found("davis", sources, skipped)


def _listed(listing: Path) -> list[str]:
    """Clips named by a DAVIS list, in order: a name a line (2017), or paths of frames (2016)."""
    names = []
    for line in listing.read_text(encoding="utf-8", errors="replace").splitlines():
        first = line.split()[0] if line.split() else ""
        parts = [part for part in first.split("/") if part]
        if parts:
            names.append(parts[-2] if len(parts) > 1 else parts[0])
    return list(dict.fromkeys(names))


def _nothing(folder: Path, layout: str, skipped: Sequence[Skipped]) -> str:
    if numbered(folder):
        return (
            f"{folder}: frames, but no clips; give the folder above it, or move the frames into a folder of their own"
        )
    wanted = {
        "clips": "folders of numbered frames (.jpg, .png) or video files (.mp4, .webm, .mov)",
        "davis": "the folders of DAVIS (JPEGImages, ImageSets), or some of its clips as folders of frames",
        "sora": "video files (.mp4, .webm, .mov)",
    }[layout]
    why = f" ({skipped[0].name}: {skipped[0].reason})" if skipped else ""
    return f"{folder}: no clips in it{why}; put there {wanted}"


def numbered(folder: Path) -> list[Path]:
    """The frames in a folder, pictures whose names end in a number, in its order."""
    found = []
    for file in folder.iterdir():
        number = re.search(r"(\d+)$", file.stem)
        if number and file.suffix.lower() in PICTURES and not file.name.startswith("."):
            found.append((int(number[1]), file.name, file))
    return [file for *_, file in sorted(found)]


def _of_frames(folder: Path, reading: Reading, layout: str) -> Source:
    def load() -> Clip:
        files, most = numbered(folder), reading.frames or MOST_FRAMES[layout]
        chosen = [files[index] for index in evenly(len(files), most)] if layout == "davis" else files[:most]
        skipped: list[Skipped] = []
        frames = list(_read(chosen, folder.name, skipped))
        return _clip(folder.name, frames, caption_of(folder), reading, tuple(skipped))

    return Source(folder.name, load)


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


def _of_video(file: Path, reading: Reading, layout: str, rate: float | None = None) -> Source:
    """The beginning of a video file. rate: frames a second to take of it, None for all of them."""

    def load() -> Clip:
        most = reading.frames or MOST_FRAMES[layout]
        try:
            fps = read_video(file, limit=1)[1]
            step = max(1.0, fps / rate) if rate else 1.0
            video = read_video(file, limit=int(np.ceil((most - 1) * step)) + 1)[0]
        except (ValueError, OSError) as error:
            raise Unusable(str(error).removeprefix(f"{file}: ")) from None
        taken = (np.arange(most) * step).round().astype(int)
        return _clip(file.name, list(video[taken[taken < len(video)]]), caption_of(file), reading)

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
