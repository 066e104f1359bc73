"""CoTracker3 (Karaev et al., arXiv 2410.11831), offline and online, through its own package or a checkout of it.

It takes (1, T, 3, H, W) pixels from 0 to 255 and queries (1, N, 3) of frame, x, y, and returns tracks (1, T, N, 2) and
visibility (1, T, N). Its pixel centres are at 0, ours at 0.5. The online one works on windows of `2 · step` frames,
`step` apart, and keeps its output for all frames so far: its memory grows with the video.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from motionstream.trackers import following
from motionstream.trackers.following import Births, Mask, Over, Points, Video, every
from motionstream.trackers.source import Source, chosen_device, hash_of, load_weights, package
from motionstream.tracks.tracks import Tracks

REPOSITORY = "facebookresearch/co-tracker"
LICENCE = "CC BY-NC 4.0, code and weights: not for commercial use"
OFFLINE, ONLINE = "cotracker3", "cotracker3-online"
ENTRIES = {OFFLINE: "cotracker3_offline", ONLINE: "cotracker3_online"}
WEIGHTS = {OFFLINE: "scaled_offline.pth", ONLINE: "scaled_online.pth"}
CENTRE = 0.5  # our coordinate of the first pixel's centre; theirs is 0

Frames = list[Video]


def open_cotracker(name: str, source: Source) -> CoTracker:
    """The tracker `OFFLINE` or `ONLINE`. Raises ValueError saying what is missing and where to get it."""
    device = chosen_device(source.device)
    network = _network(name, source).to(device).eval()
    return (CoTrackerOnline if name == ONLINE else CoTracker)(name, network, device)


class CoTracker:
    """The offline network, which sees the whole video: a `PointTracker` without live use."""

    licence = LICENCE
    live = False

    def __init__(self, name: str, network: Any, device: torch.device) -> None:
        self.name, self.network, self.device, self.hash = name, network, device, hash_of(network)

    def track(
        self, video: Video, queries: npt.ArrayLike, births: npt.ArrayLike | None = None, over: Over = every
    ) -> Tracks:
        """As `PointTracker.track`."""
        points, born = following.checked(video, queries, births)
        if not len(points):
            return Tracks.empty(len(video))
        xy, visible = self._whole(video, points, born, over)
        return following.tracks_of(xy, visible, points, born, video[0])

    def track_frames(self, frames: Iterable[Video], queries: npt.ArrayLike) -> Iterator[tuple[Points, Mask]]:
        """Refused: this network needs the whole video."""
        raise ValueError(f"{self.name} needs the whole video, it cannot track live: use {ONLINE} or lucas-kanade")

    @torch.no_grad()
    def _whole(self, video: Video, points: Points, born: Births, over: Over) -> tuple[Points, Mask]:
        tracks, visible = self.network(self._pixels(list(over(video))), queries=self._queries(points, born))
        return _converted(tracks, visible, 0)

    def _pixels(self, frames: Frames) -> Tensor:
        """(T,) frames → (1, T, 3, H, W) float, 0 … 255."""
        return torch.from_numpy(np.stack(frames)).to(self.device).permute(0, 3, 1, 2)[None].float()

    def _queries(self, points: Points, born: Births) -> Tensor:
        """(1, N, 3) frame, x, y with pixel centres at 0."""
        asked = np.concatenate([born[:, None], points - CENTRE], axis=1).astype(np.float32)
        return torch.from_numpy(asked)[None].to(self.device)


class CoTrackerOnline(CoTracker):
    """The online network. Live, positions come when a window is full: after 2 · step frames, then every step.

    `track` returns the last estimate of every frame, `track_frames` the first, which the next window may improve.
    """

    live = True

    def track_frames(self, frames: Iterable[Video], queries: npt.ArrayLike) -> Iterator[tuple[Points, Mask]]:
        """As `PointTracker.track_frames`, late by up to two steps of the network."""
        points = following.checked_points(queries)
        return self._live(iter(frames), points)

    def _live(self, frames: Iterator[Video], points: Points) -> Iterator[tuple[Points, Mask]]:
        born = np.zeros(len(points), np.int64)
        first = next(frames, None)
        if first is None:
            return
        if not len(points):
            yield from ((points, np.zeros(0, bool)) for _ in chain([first], frames))
            return
        done = 0
        for tracks, visible in self._windows(chain([first], frames), points, born):
            xy, seen = _converted(tracks, visible, done)
            for place, here in zip(xy, seen & following.inside(xy, first), strict=True):
                yield (points, following.inside(points, first)) if done == 0 else (place, here)
                done += 1

    def _whole(self, video: Video, points: Points, born: Births, over: Over) -> tuple[Points, Mask]:
        *_, (tracks, visible) = self._windows(over(video), points, born)
        return _converted(tracks, visible, 0)

    def _windows(self, frames: Iterable[Video], points: Points, born: Births) -> Iterator[tuple[Tensor, Tensor]]:
        """The network's output for all frames so far, after each window."""
        step = int(self.network.step)
        held: Frames = []
        new, first = 0, True
        for frame in frames:
            following.check_frame(frame)
            held.append(frame)
            new += 1
            if len(held) == 2 * step:
                yield self._window(held, points, born, first)
                held, new, first = held[step:], 0, False
        if new:
            yield self._window(held, points, born, first)

    @torch.no_grad()
    def _window(self, frames: Frames, points: Points, born: Births, first: bool) -> tuple[Tensor, Tensor]:
        pixels = self._pixels(frames)
        if first:  # this call only stores the queries
            self.network(pixels, is_first_step=True, queries=self._queries(points, born))
        tracks, visible = self.network(pixels)
        return tracks, visible


def _converted(tracks: Tensor, visible: Tensor, begin: int) -> tuple[Points, Mask]:
    """(1, T, N, 2), (1, T, N) of the network → (T − begin, N, 2) in our pixels and (T − begin, N) visible."""
    xy = tracks[0, begin:].float().cpu().numpy() + np.float32(CENTRE)
    return xy, visible[0, begin:].reshape(xy.shape[:2]).bool().cpu().numpy()


def _network(name: str, source: Source) -> Any:
    path = source.path
    if path is not None and path.is_dir():
        return _from_checkout(name, path, source.download)
    if path is None and source.download:
        return _hub(REPOSITORY, name, pretrained=True, trust_repo=True)
    network = _from_package(name)
    load_weights(network.model, path or _cached(name), name)
    return network


def _from_checkout(name: str, folder: Path, download: bool) -> Any:
    """The network of a checkout, with weights of its folder checkpoints/, of torch.hub's, or downloaded if allowed."""
    if not (folder / "hubconf.py").is_file():
        raise ValueError(f"{folder} has no hubconf.py: name a checkout of {REPOSITORY}")
    own = folder / "checkpoints" / WEIGHTS[name]
    if download and not own.is_file():
        return _hub(str(folder), name, pretrained=True, source="local")
    weights = own if own.is_file() else _cached(name)
    network = _hub(str(folder), name, pretrained=False, source="local")
    load_weights(network.model, weights, name)
    return network


def _hub(repository: str, name: str, **options: Any) -> Any:
    try:
        return torch.hub.load(repository, ENTRIES[name], **options)
    except ImportError as error:
        raise ValueError(f"{name} needs the package {error.name}, which is not installed") from None


def _from_package(name: str) -> Any:
    """The network of the installed package, without weights; sizes as its own hubconf.py has them for version 3."""
    predictor = package("cotracker.predictor", _how(name))
    if name == ONLINE:
        return predictor.CoTrackerOnlinePredictor(checkpoint=None, window_len=16, v2=False)
    return predictor.CoTrackerPredictor(checkpoint=None, window_len=60, v2=False)


def _cached(name: str) -> Path:
    """The weights in the cache of torch.hub."""
    file = Path(torch.hub.get_dir()) / "checkpoints" / WEIGHTS[name]
    if not file.is_file():
        raise ValueError(f"the weights of {name} are not on this machine: {_how(name)}")
    return file


def _how(name: str) -> str:
    return (
        f"let it be downloaded (--download), or name a checkout of {REPOSITORY} with {WEIGHTS[name]} in its folder "
        f"checkpoints, or, with its package cotracker installed, that file (--tracker-path); licence: {LICENCE}"
    )
