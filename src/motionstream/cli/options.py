"""What commands share: options, and opening the model that is meant."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from motionstream.camera.depth import Estimator
    from motionstream.lpips import LpipsNetwork
    from motionstream.trackers.registry import PointTracker

Model = Annotated[str, typer.Option("--model", "-m", help="A zoo name or a folder of weights.")]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1, …")]
JsonOut = Annotated[Path | None, typer.Option("--json", metavar="FILE", help="Write the figures here as JSON.")]
ResumeFile = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE", help="Resumable results file: an interrupted run continues from it, with the same settings."
    ),
]
LpipsWeights = Annotated[Path | None, typer.Option(help="LPIPS weights, .safetensors, to measure that too.")]
Assets = Annotated[Path, typer.Option(help="A folder with cutouts/ and backgrounds/, or with manifest.csv.")]
HeldOut = Annotated[str, typer.Option(help="heldout or heldout-far.")]
AssetsHeldOut = Annotated[str, typer.Option(help="Of the assets: heldout or heldout-far.")]
Variety = Annotated[
    float,
    typer.Option(
        help="Share of worlds whose things turn in depth, swing, shake, blur, or are pieces of the photograph.",
        min=0,
        max=1,
    ),
]
Seed = Annotated[int, typer.Option(help="The same seed gives the same result.")]
Sink = Annotated[
    str, typer.Option("--sink", help="fixed holds on to the first scene; refresh goes along once the view has left it.")
]
Size = Annotated[str, typer.Option(metavar="WxH", help="Pixels of a frame, such as 256x144.")]
Tracker = Annotated[
    str, typer.Option("--tracker", help="lucas-kanade, cotracker3, cotracker3-online, tapir or tapnext.")
]
TrackerPath = Annotated[
    Path | None, typer.Option("--tracker-path", help="A published tracker's checkout or weights (docs/trackers.md).")
]
Download = Annotated[bool, typer.Option("--download", help="A published tracker may be fetched.")]

Depth = Annotated[str, typer.Option("--depth", help="plane, depth-anything, moge, or a file: .npy, .npz, 16-bit .png.")]
DepthWeights = Annotated[
    str | None, typer.Option("--depth-weights", metavar="PATH", help="An estimator's weights on this machine.")
]
DepthDownload = Annotated[bool, typer.Option("--download", help="An estimator's weights may be fetched.")]
InverseDepth = Annotated[bool, typer.Option("--inverse-depth", help="The file holds 1/depth: larger is nearer.")]


def load_model(model: str, device: str) -> Any:
    """The model of this name or folder."""
    import motionstream

    return motionstream.load(model, device=device)


def parts_of(text: str) -> list[str]:
    """ "a, b" → ["a", "b"], each once."""
    return list(dict.fromkeys(part.strip() for part in text.split(",") if part.strip()))


def size_of(text: str, option: str = "--size") -> tuple[int, int]:
    """ "256x144" → (256, 144)."""
    return _pair(text, f"{option} {text}: write width x height, such as 256x144")


def grid_of(text: str) -> tuple[int, int]:
    """ "50x28" → (50, 28) columns and rows."""
    return _pair(text, f"--grid {text}: write columns x rows, such as 50x50")


def open_tracker(name: str, path: Path | None, download: bool, device: str) -> PointTracker:
    """The tracker of this name; the licence of one that is not ours is said on stderr."""
    from motionstream.trackers import registry as trackers

    opened = trackers.open_tracker(name, path, download, device)
    if opened.licence:
        typer.echo(f"{name} is not part of this project; its licence: {opened.licence}", err=True)
    return opened


def open_depth(name: str, weights: str | None, download: bool, inverse: bool = False) -> Estimator:
    """The depth of this name or file; the licence of an estimator's weights is said on stderr."""
    from motionstream.camera import depth

    opened = depth.estimator(name, weights, download, inverse)
    if name in depth.PUBLISHED:
        typer.echo(f"{name} is not part of this project; its licence: {depth.PUBLISHED[name].licence}", err=True)
    return opened


def _pair(text: str, complaint: str) -> tuple[int, int]:
    first, _, second = text.lower().replace("×", "x").partition("x")
    if not (first.isascii() and first.isdigit() and second.isascii() and second.isdigit()):
        raise ValueError(complaint)
    return int(first), int(second)


def load_lpips(weights: Path | None) -> LpipsNetwork | None:
    """LPIPS with these weights, or None where none are named."""
    from motionstream.lpips import LpipsNetwork

    return None if weights is None else LpipsNetwork.load(weights)


def weights_of(model: str, loaded: Any) -> dict[str, Any]:
    """The entries by which every file of figures names its model."""
    return {"model": model, "model_hash": loaded.hash}
