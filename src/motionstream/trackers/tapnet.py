"""Causal TAPIR (Doersch et al., ICCV 2023) and TAPNext (Zholus et al., 2025) through the package `tapnet`.

Both take squares of 256 × 256 pixels in [−1, 1], (1, 1, S, S, 3) a frame, and queries (1, N, 3) of frame, y, x. Their
pixel centres are at +0.5, as ours: only the size is converted. TAPIR returns x, y; TAPNext y, x.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

from motionstream.trackers import following
from motionstream.trackers.following import CausalTracker, Video
from motionstream.trackers.source import Source, chosen_device, hash_of, load_weights, package

REPOSITORY = "google-deepmind/tapnet"
LICENCE = "Apache-2.0, code and weights"
TAPIR, TAPNEXT = "tapir", "tapnext"
WEIGHTS = {TAPIR: "causal_bootstapir_checkpoint.pt", TAPNEXT: "bootstapnext_ckpt.npz"}
SIDE = 256  # pixels of the square that the weights were trained on
AT_ONCE = 64  # queries of TAPIR that are compared with a frame together

Tracked = tuple[Tensor, Tensor, Any]  # (n, 2) x, y in the square; (n,) visible; the state for the next frame


class _Network(Protocol):
    """One of the two, on one frame at a time, for points born in the same frame."""

    module: Any

    def features(self, pixels: Tensor) -> Any:
        """What all points need of a (1, 1, S, S, 3) frame, computed once."""

    def begin(self, features: Any, queries: Tensor) -> Any:
        """The state after the frame in which the (1, n, 3) queries (0, y, x) are."""

    def advance(self, features: Any, state: Any) -> Tracked:
        """The next frame."""


def open_tapnet(name: str, source: Source) -> CausalTracker:
    """The tracker `TAPIR` or `TAPNEXT`. Raises ValueError saying what is missing and how to come by it."""
    how = (
        f"install the package tapnet with its torch extra ({REPOSITORY}), download {WEIGHTS[name]}, which is published "
        f"there, and name that file (--tracker-path); licence: {LICENCE}"
    )
    if source.download:
        raise ValueError(f"{name} cannot be downloaded from here: {how}")
    device = chosen_device(source.device)
    make = _tapir if name == TAPIR else _tapnext
    network = make(how, source.path, device)
    return CausalTracker(name, LICENCE, hash_of(network.module), lambda: _Following(network, device))


class _Following:
    """A `Follower`. Points born in one frame share a state: the networks cannot add points to one that runs."""

    def __init__(self, network: _Network, device: torch.device) -> None:
        self.xy = np.zeros((0, 2), np.float32)
        self.kept = np.zeros(0, bool)
        self._network, self._device = network, device
        self._states: list[Any] = []
        self._frame: Video | None = None
        self._features: Any = None

    def add(self, queries: npt.ArrayLike) -> None:
        if self._frame is None:
            raise ValueError("no frame yet: give the tracker the frame in which the points are")
        new = following.checked_points(queries)
        self.xy = np.concatenate([self.xy, new])
        self.kept = np.concatenate([self.kept, following.inside(new, self._frame)])
        if len(new):
            y, x = (new / self._scale()).T[::-1]
            asked = torch.from_numpy(np.stack([np.zeros_like(y), y, x], axis=-1).astype(np.float32))
            with torch.inference_mode():
                self._states.append(self._network.begin(self._features, asked[None].to(self._device)))

    def step(self, frame: Video) -> None:
        following.check_frame(frame)
        self._frame = frame
        with torch.inference_mode():
            self._features = self._network.features(self._square(frame))
            tracked = [self._network.advance(self._features, state) for state in self._states]
        if tracked:
            self._states = [state for _, _, state in tracked]
            xy = torch.cat([xy for xy, _, _ in tracked]).float().cpu().numpy()
            self.xy = (xy * self._scale()).astype(np.float32)
            visible = torch.cat([visible for _, visible, _ in tracked]).cpu().numpy()
            self.kept = visible & following.inside(self.xy, frame)

    def _square(self, frame: Video) -> Tensor:
        """(H, W, 3) uint8 → (1, 1, S, S, 3) in [−1, 1]; the whole frame is stretched, which `_scale` undoes."""
        pixels = torch.from_numpy(np.ascontiguousarray(frame)).to(self._device).permute(2, 0, 1)[None].float()
        square = F.interpolate(pixels, size=(SIDE, SIDE), mode="bilinear", align_corners=False, antialias=True)
        return (square / 127.5 - 1).permute(0, 2, 3, 1)[None]

    def _scale(self) -> npt.NDArray[np.float64]:
        """Pixels of the frame a pixel of the square, in x and y."""
        assert self._frame is not None
        height, width = self._frame.shape[:2]
        return np.array([width, height]) / SIDE


class _Tapir:
    """The causal network: features of the queries from their frame, and a memory of the frames since."""

    def __init__(self, module: Any) -> None:
        self.module = module

    def features(self, pixels: Tensor) -> Any:
        return pixels, self.module.get_feature_grids(pixels, is_training=False)

    def begin(self, features: Any, queries: Tensor) -> Any:
        pixels, grids = features
        queried = self.module.get_query_features(pixels, is_training=False, query_points=queries, feature_grids=grids)
        empty = self.module.construct_initial_causal_state(queries.shape[1], len(queried.resolutions) - 1)
        memory = [{name: value.to(queries.device) for name, value in level.items()} for level in empty]
        return self.advance(features, (queried, memory))[2]

    def advance(self, features: Any, state: Any) -> Tracked:
        queried, memory = state
        made = self.module.estimate_trajectories(
            (SIDE, SIDE),
            is_training=False,
            feature_grids=features[1],
            query_features=queried,
            query_points_in_video=None,
            query_chunk_size=AT_ONCE,
            causal_context=memory,
            get_causal_context=True,
        )
        unsure = [torch.sigmoid(made[name][-1][0, :, 0]) for name in ("occlusion", "expected_dist")]
        visible = (1 - unsure[0]) * (1 - unsure[1]) > 0.5
        return made["tracks"][-1][0, :, 0], visible, (queried, made["causal_context"])


class _TapNext:
    """The recurrent network: queries are given with their frame and stay in its state."""

    def __init__(self, module: Any) -> None:
        self.module = module

    def features(self, pixels: Tensor) -> Any:
        return pixels

    def begin(self, features: Any, queries: Tensor) -> Any:
        return self.module(video=features, query_points=queries)[-1]

    def advance(self, features: Any, state: Any) -> Tracked:
        tracks, _, visible, after = self.module(video=features, state=state)
        return tracks[0, 0].flip(-1), visible[0, 0].reshape(-1) > 0, after


def _tapir(how: str, path: Path | None, device: torch.device) -> _Network:
    model = package("tapnet.torch.tapir_model", how).TAPIR(pyramid_level=1, use_casual_conv=True)
    load_weights(model, _named(path, TAPIR, how), TAPIR)
    return _Tapir(model.to(device).eval())


def _tapnext(how: str, path: Path | None, device: torch.device) -> _Network:
    module = package("tapnet.tapnext.tapnext_torch", how)
    weights = _named(path, TAPNEXT, how)
    try:
        model = module.TAPNext(image_size=(SIDE, SIDE))
    except (AssertionError, RuntimeError) as error:
        if torch.cuda.is_available():
            raise
        raise ValueError(f"{TAPNEXT} needs a CUDA GPU, as its authors wrote it ({error}); use {TAPIR}") from None
    if weights.suffix == ".npz":
        model = _from_arrays(model, weights, how)
    else:
        load_weights(model, weights, TAPNEXT)
    return _TapNext(model.to(device).eval())


def _from_arrays(model: Any, weights: Path, how: str) -> Any:
    """Weights as the authors publish them, for JAX, through their own reader."""
    reader = package("tapnet.tapnext.tapnext_torch_utils", how)
    try:
        with np.load(weights, allow_pickle=False):
            pass  # whatever their reader does with the file, it is an archive of arrays without pickle
        return reader.restore_model_from_jax_checkpoint(model, str(weights))
    except (KeyError, ValueError, RuntimeError, EOFError):
        raise ValueError(f"{weights}: not the weights of {TAPNEXT}; it needs {WEIGHTS[TAPNEXT]}") from None


def _named(path: Path | None, name: str, how: str) -> Path:
    if path is None:
        raise ValueError(f"the weights of {name} are missing: {how}")
    path.stat()  # FileNotFoundError with its name
    if path.is_dir():
        raise ValueError(f"{path} is a folder: name the file {WEIGHTS[name]} itself")
    return path
