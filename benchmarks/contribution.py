"""What the transformer contributes: the model beside itself with its transformer's output set to 0.

Then the warped anchor alone goes through VAE and detail. On the studio's pictures a hand drags the middle to the right;
counted are the pixel values (0…255) of all frames after the first that differ between the two videos.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

from benchmarks.parts import anchor_only
from motionstream import console, serve
from motionstream.cli import options
from motionstream.evaluate.baselines import by_model
from motionstream.evaluate.harness import stamp
from motionstream.evaluate.metrics import Video
from motionstream.stream.model import StreamingModel, fitted
from motionstream.stream.video import read_image
from motionstream.tracks import Tracks

DRAGS = {"large": 1 / 4, "small": 1 / 64}
"""How far the hand goes in the first half of the frames, as a share of the frame's width; then it rests."""
OVER = (0, 2, 8)
"""Levels of 255 from which on a value counts as changed."""
GALLERY = Path(serve.__file__).parent / "web" / "gallery"


def drag(size: tuple[int, int], frames: int, distance: float) -> Tracks:
    """A 3 × 3 grid in the middle of the frame (W, H) that goes `distance` widths to the right, then rests."""
    steps = (np.arange(3) - 1) * size[1] / 12
    home = np.stack(np.meshgrid(size[0] / 2 + steps, size[1] / 2 + steps), -1).reshape(1, -1, 2)
    share = np.minimum(np.arange(frames) * 2 / (frames - 1), 1)[:, None, None]
    xy = (home + share * distance * size[0] * np.array([1, 0])).astype(np.float32)
    return Tracks(xy, np.ones(xy.shape[:2], bool))


def changed(one: Video, other: Video) -> dict[str, float]:
    """Values of all frames after the first: how far they are apart on average, and shares that are by more levels."""
    apart = np.abs(one[1:].astype(np.int16) - other[1:])
    return {"mean_levels": float(apart.mean()), **{f"share_over_{n}": float((apart > n).mean()) for n in OVER}}


def evaluate_contribution(model: StreamingModel, pictures: Sequence[Video], frames: int, seed: int) -> dict[str, Any]:
    """Figures by drag, means over pictures (H, W, 3), JSON-ready. Raises ValueError for a model without an anchor."""
    if not model.network.config.conditioning.anchored:
        raise ValueError(f"{model.name} has no warped anchor: without its transformer nothing is left of it")
    makers, drags = (by_model(model), by_model(anchor_only(model))), {}
    for name, distance in DRAGS.items():
        tracks = drag(model.size, frames, distance)
        firsts = [fitted(picture, model.size)[0] for picture in pictures]
        found = [changed(*(make(first, tracks, "", seed) for make in makers)) for first in firsts]
        drags[name] = {key: float(np.mean([one[key] for one in found])) for key in found[0]}
        drags[name]["distance_px"] = distance * model.size[0]
    about = {"pictures": len(pictures), "frames": frames, "size": "{}x{}".format(*model.size), "seed": seed}
    about["dtype"] = str(model.dtype).removeprefix("torch.")
    return {**about, "drags": drags, **stamp()}


def contribution_command(
    pictures: Annotated[list[Path] | None, typer.Argument(help="Start pictures; else the studio's.")] = None,
    model: options.Model = "tiny",
    device: options.Device = "auto",
    frames: Annotated[int, typer.Option(help="1 + 4·n.", min=5, max=241)] = 45,
    seed: options.Seed = 0,
    json_out: options.JsonOut = None,
) -> None:
    """Measure what the transformer changes: the model beside its warped anchor alone, on a large and a small drag.

    [bold]python -m benchmarks contribution --json docs/results/contribution_tiny.json[/]
    """
    loaded = options.load_model(model, device)
    shown = [read_image(path) for path in pictures or sorted(GALLERY.glob("*.jpg"))]
    figures = {**options.weights_of(model, loaded), **evaluate_contribution(loaded, shown, frames, seed)}
    console.report(f"{model}, contribution of the transformer", figures, json_out)
