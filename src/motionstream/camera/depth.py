"""Depth of one picture, for camera control: from a file, from an estimator that the user has, or a plain guess.

Whatever it comes from, a map is (H, W), along the camera's axis, larger is farther, NaN unknown, in a unit of its own.

- A file: .npy, .npz with an array `depth`, or a 16-bit PNG (0 unknown).
- `depth-anything`: Depth Anything V2 (L. Yang et al., NeurIPS 2024) through Transformers.
- `moge`: MoGe (R. Wang et al., CVPR 2025) through its own package. It estimates the lens too.
- `plane`: a fixed guess without an estimator: a wall above, and ground that comes nearer towards the lower edge.
"""

from __future__ import annotations

import importlib
import os
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, UnidentifiedImageError

from motionstream.camera.camera import VIEW, Lens, depth_at, known, pixel_centres
from motionstream.geometry import Fit
from motionstream.tracks.io import read_npy, read_npz

Floats = npt.NDArray[np.float64]
Picture = npt.NDArray[np.uint8]
Size = tuple[int, int]

SUFFIXES = (".npy", ".npz", ".png")
ASPECT = 0.02  # part by which a map's shape may differ from its picture's
HORIZON = 0.45  # of the guess, in parts of the height from above
WALL = 4.0  # how much farther than the lower edge the guess's wall is
RANGE = 20.0  # farthest over nearest depth that a map of relative inverse depth is taken to span


@dataclass(frozen=True)
class DepthMap:
    """depth (H, W). source, licence: for people and for files of figures. view: degrees across, if estimated."""

    depth: Floats
    source: str
    licence: str
    view: float | None = None

    def on(self, picture: Size, frame: Size) -> Floats:
        """(H, W) for a frame into which the picture (W, H) was fitted. Raises ValueError for a map of another shape."""
        height, width = self.depth.shape
        if abs(width / height / (picture[0] / picture[1]) - 1) > ASPECT:
            raise ValueError(
                f"{self.source}: a depth map of {width}×{height} for a picture of {picture[0]}×{picture[1]}: "
                "send one of the same shape"
            )
        places = Fit.of(picture, frame).to_source(pixel_centres(frame))
        return depth_at(known(self.depth), places * (width / picture[0], height / picture[1]))

    def lens(self, picture: Size, view: float | None = None) -> Lens:
        """The picture's lens: of `view` degrees across if that is given, else as estimated, else an ordinary one."""
        return Lens.of(picture, view or self.view or VIEW)


Estimator = Callable[[Picture], DepthMap]


@dataclass(frozen=True)
class Published:
    """An estimator's weights as published: their name, and the licence that their authors give them."""

    weights: str
    licence: str


PUBLISHED = {
    "depth-anything": Published(
        "depth-anything/Depth-Anything-V2-Small-hf", "Apache-2.0 (Small); Base and Large: CC-BY-NC-4.0"
    ),
    "moge": Published("Ruicheng/moge-2-vitl", "MIT; its DINOv2 code Apache-2.0"),
}
NAMES = ("plane", *PUBLISHED)


def estimator(name: str, weights: str | None = None, download: bool = False, inverse: bool = False) -> Estimator:
    """What gives a picture its depth: a name of `NAMES`, or a depth file for this one picture.

    weights: of an estimator, on this machine. download: fetch the published ones, or those named by `weights`.
    inverse: the file holds 1/depth, larger is nearer.
    Raises ValueError for an unknown name, or an estimator without weights or package.
    """
    if Path(name).suffix.lower() in SUFFIXES:
        return lambda picture: read_depth(name, inverse)
    if name not in NAMES:
        raise ValueError(f"depth {name!r}: use {', '.join(NAMES)}, or a file that ends in {', '.join(SUFFIXES)}")
    if name == "plane":
        return lambda picture: plane_guess((picture.shape[1], picture.shape[0]))
    if weights is None and not download:
        raise ValueError(
            f"depth {name}: name its weights on this machine with --depth-weights, or fetch {PUBLISHED[name].weights} "
            f"with --download (licence: {PUBLISHED[name].licence})"
        )
    if weights is not None and not download and not Path(weights).exists():
        raise ValueError(f"depth {name}: no weights at {weights}; name a folder or file, or add --download")
    load = {"depth-anything": _depth_anything, "moge": _moge}[name]
    return load(weights or PUBLISHED[name].weights, download)


def plane_guess(size: Size) -> DepthMap:
    """The fallback: a wall above the horizon, and below it ground that comes nearer towards the lower edge.

    It does not depend on the picture. A pan, a tilt, a roll and a zoom do not depend on depth and are exact with it; in
    all other movements things that stand on the ground slide on it as if they lay there.
    """
    width, height = size
    below = np.clip(((np.arange(height) + 0.5) / height - HORIZON) / (1 - HORIZON), 0, 1)
    smooth = below**2 * (2 - below)  # no crease at the horizon, 1 at the lower edge
    inverse = 1 / WALL + (1 - 1 / WALL) * smooth
    return DepthMap(np.repeat(1 / inverse[:, None], width, axis=1), "plane", "none needed")


def read_depth(file: str | os.PathLike[str], inverse: bool = False) -> DepthMap:
    """The depth in a file. inverse: it holds 1/depth. Raises ValueError if it holds none, FileNotFoundError."""
    path = Path(file)
    if path.suffix.lower() not in SUFFIXES:
        raise ValueError(f"{path}: depth is read from a name that ends in {', '.join(SUFFIXES)}")
    try:
        values = _values(path)
        if values.ndim != 2 or values.dtype.kind not in "uif" or 0 in values.shape:
            raise ValueError(f"holds {values.dtype} of shape {values.shape}: send numbers of shape (height, width)")
        depth = known(values.astype(np.float64))
    except (ValueError, EOFError, zipfile.BadZipFile, UnidentifiedImageError, SyntaxError) as error:
        raise ValueError(f"{path}: not a depth map that can be read ({error})") from None
    return DepthMap(1 / depth if inverse else depth, str(path), "the file's own")


def _values(path: Path) -> npt.NDArray[Any]:
    if path.suffix.lower() == ".npy":
        return read_npy(path)
    if path.suffix.lower() == ".npz":
        return read_npz(path, ("depth",))["depth"]
    with Image.open(path, formats=("PNG",)) as picture:
        if not picture.mode.startswith("I"):
            raise ValueError(f"a PNG of mode {picture.mode}: depth takes one channel of 16 bits")
        return np.asarray(picture).astype(np.float64)


def from_relative(inverse: Floats) -> Floats:
    """Relative inverse depth (larger is nearer, scale and shift unknown) → depth, taken to span 1 … `RANGE`."""
    low, high = float(inverse.min()), float(inverse.max())
    part = (inverse - low) / (high - low) if high > low else np.ones_like(inverse)
    depth: Floats = 1 / (1 / RANGE + (1 - 1 / RANGE) * part)
    return depth


def _depth_anything(weights: str, download: bool) -> Estimator:
    import torch
    from transformers import AutoImageProcessor, AutoModelForDepthEstimation

    try:
        processors: Any = AutoImageProcessor
        processor = processors.from_pretrained(weights, local_files_only=not download)
        model = AutoModelForDepthEstimation.from_pretrained(
            weights, local_files_only=not download, use_safetensors=True
        ).eval()
    except (OSError, ValueError) as error:
        raise ValueError(f"depth-anything: no weights for Transformers at {weights} ({error})") from None
    metric = getattr(model.config, "depth_estimation_type", "relative") == "metric"

    def estimate(picture: Picture) -> DepthMap:
        inputs = processor(images=Image.fromarray(picture), return_tensors="pt")
        with torch.inference_mode():
            outputs = model(**inputs)
        resized = processor.post_process_depth_estimation(outputs, target_sizes=[picture.shape[:2]])
        values = resized[0]["predicted_depth"].double().numpy()
        depth = known(values) if metric else from_relative(values)
        return DepthMap(depth, f"depth-anything, {weights}", PUBLISHED["depth-anything"].licence)

    return estimate


def _moge(weights: str, download: bool) -> Estimator:
    """MoGe by its own package, which reads its own checkpoint; version 2, else 1."""
    import torch

    version = "v2" if "2" in Path(weights).name else "v1"
    try:
        package = importlib.import_module(f"moge.model.{version}")
    except ModuleNotFoundError as error:
        raise ValueError(
            f"depth moge: needs its authors' package moge (no module {error.name}): install it, or use another depth"
        ) from None
    model: Any = package.MoGeModel.from_pretrained(weights).eval()

    def estimate(picture: Picture) -> DepthMap:
        pixels = torch.from_numpy(picture.copy()).permute(2, 0, 1).float() / 255
        found = model.infer(pixels, use_fp16=False)
        focal = float(found["intrinsics"][0, 0])  # in parts of the width
        view = float(np.degrees(2 * np.arctan(0.5 / focal)))
        depth = known(found["depth"].double().cpu().numpy())
        return DepthMap(depth, f"moge, {weights}", PUBLISHED["moge"].licence, view)

    return estimate
