"""What commands share: options, and opening what they name."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    import torch

    from motionstream.camera.depth import Estimator
    from motionstream.lpips import LpipsNetwork
    from motionstream.trackers.registry import PointTracker

Model = Annotated[
    str, typer.Option("--model", "-m", help="A model: the name of an embedded one (tiny), or a model's folder.")
]
Device = Annotated[str, typer.Option(help="Where it computes: cpu, cuda, cuda:1, …; auto takes a GPU if there is one.")]
Seed = Annotated[int, typer.Option(help="Of the noise and every other random draw: the same seed, the same result.")]
JsonOut = Annotated[Path | None, typer.Option("--json", metavar="FILE", help="Also write the figures here, as JSON.")]

# How a stream is rolled out; lengths are in latents of four frames each. Not given: as the model was trained.
Sink = Annotated[
    str,
    typer.Option(
        "--sink",
        metavar="fixed|refresh",
        help="Attention sink. fixed: keep the first latents in it for ever (paper). refresh: replace them once the "
        "view has left the first picture.",
    ),
]
Chunk = Annotated[
    int | None, typer.Option(help="Latents generated at a time; a latent is 4 frames. Default: as trained.", min=1)
]
Steps = Annotated[int | None, typer.Option(help="Denoising steps of a chunk. Default: as trained.", min=1)]
SinkLatents = Annotated[
    int | None,
    typer.Option("--sink", help="The stream's first latents kept in the attention cache. Default: as trained.", min=0),
]
Window = Annotated[
    int | None, typer.Option(help="Latest latents kept in the attention cache. Default: as trained.", min=0)
]
CleanPass = Annotated[
    bool | None,
    typer.Option(
        "--clean-pass/--no-clean-pass",
        help="Keys and values kept of a finished chunk: recompute them from the clean chunk (paper), or reuse the last "
        "denoising step's (faster). Default: as trained.",
    ),
]

Size = Annotated[str, typer.Option(metavar="WxH", help="Width x height of a frame in pixels, such as 256x144.")]
Frames = Annotated[int, typer.Option(help="Frames of a clip: 1 + a multiple of 4.", min=5, max=241)]
GridSize = Annotated[
    str, typer.Option(metavar="COLSxROWS", help="Grid of points to track, columns x rows (paper: 50x50).")
]

Picture = Annotated[Path, typer.Option("--image", "-i", help="The first picture: PNG, JPEG or WebP.")]
TracksOut = Annotated[Path, typer.Option("--out", "-o", help="File of tracks to write, .npz.")]
WanVae = Annotated[Path, typer.Option(help="Wan's full VAE: its folder in Diffusers' layout.")]
WanText = Annotated[Path, typer.Option(help="Folder with Wan's text_encoder/ and tokenizer/ (UMT5).")]
WanPicture = Annotated[
    Path | None, typer.Option(help="Folder with Wan's image_encoder/ (CLIP), for a network that reads its tokens.")
]

Assets = Annotated[
    Path, typer.Option(help="Pictures for synthetic worlds: a folder with cutouts/ and backgrounds/, or manifest.csv.")
]
HeldOut = Annotated[
    str, typer.Option(help="Which pictures of the assets, both unseen in training: heldout or heldout-far.")
]
Variety = Annotated[
    float,
    typer.Option(
        help="Share (0 to 1) of synthetic worlds whose objects also turn in depth, swing, shake, blur, or are cut from "
        "the photograph.",
        min=0,
        max=1,
    ),
]
ResumeFile = Annotated[
    Path | None,
    typer.Option(metavar="FILE", help="File of results so far: a run that was stopped resumes from it."),
]
LpipsWeights = Annotated[Path | None, typer.Option(help="LPIPS weights, .safetensors; without them LPIPS is left out.")]

Tracker = Annotated[
    str, typer.Option("--tracker", help="lucas-kanade, cotracker3, cotracker3-online, tapir or tapnext.")
]
TrackerPath = Annotated[
    Path | None,
    typer.Option("--tracker-path", help="Source folder or weights of a published tracker (docs/trackers.md)."),
]
Download = Annotated[bool, typer.Option("--download", help="Allow the download of a published tracker.")]

Depth = Annotated[
    str,
    typer.Option(
        "--depth",
        help="Depth of the picture: plane (a wall, and ground below it), depth-anything or moge (estimated), or a "
        "file (.npy, .npz, 16-bit .png).",
    ),
]
DepthWeights = Annotated[
    str | None, typer.Option("--depth-weights", metavar="PATH", help="Weights of the depth estimator, on this machine.")
]
DepthDownload = Annotated[bool, typer.Option("--download", help="Allow the download of the estimator's weights.")]
InverseDepth = Annotated[
    bool, typer.Option("--inverse-depth", help="The depth file holds 1 / depth: larger values are nearer.")
]


def load_model(model: str, device: str) -> Any:
    """The model of this name or folder."""
    import motionstream

    return motionstream.load(model, device=device)


def parts_of(text: str) -> list[str]:
    """ "a, b" → ["a", "b"], each once."""
    return list(dict.fromkeys(part.strip() for part in text.split(",") if part.strip()))


def size_of(text: str, option: str = "--size") -> tuple[int, int]:
    """ "256x144" → (256, 144)."""
    return _pair(text, f"{option} {text}: write width x height in pixels, such as 256x144")


def grid_of(text: str) -> tuple[int, int]:
    """ "50x28" → (50, 28) columns and rows."""
    return _pair(text, f"--grid {text}: write columns x rows, such as 50x50")


def dtype_of(text: str, allowed: tuple[str, ...]) -> torch.dtype:
    """ "bfloat16" → torch.bfloat16, if it is allowed."""
    import torch

    if text not in allowed:
        raise ValueError(f"--dtype {text}: use {', '.join(allowed)}")
    chosen: torch.dtype = getattr(torch, text)
    return chosen


def tracks_file(out: Path, preview: Path | None) -> None:
    """Raises ValueError unless tracks go to a .npz and their preview, if asked for, to a .png."""
    if out.suffix != ".npz":
        raise ValueError(f"{out}: tracks are written to a name that ends in .npz")
    if preview is not None and preview.suffix != ".png":
        raise ValueError(f"{preview}: a preview is written to a name that ends in .png")


def open_tracker(name: str, path: Path | None, download: bool, device: str) -> PointTracker:
    """The tracker of this name; the licence of a published one is printed on stderr."""
    from motionstream.trackers import registry as trackers

    opened = trackers.open_tracker(name, path, download, device)
    if opened.licence:
        typer.echo(f"{name} is not part of this project; its licence: {opened.licence}", err=True)
    return opened


def open_depth(name: str, weights: str | None, download: bool, inverse: bool = False) -> Estimator:
    """The depth of this name or file; the licence of an estimator's weights is printed on stderr."""
    from motionstream.camera import depth

    opened = depth.estimator(name, weights, download, inverse)
    if name in depth.PUBLISHED:
        typer.echo(f"{name} is not part of this project; its licence: {depth.PUBLISHED[name].licence}", err=True)
    return opened


def _pair(text: str, message: str) -> tuple[int, int]:
    first, _, second = text.lower().replace("×", "x").partition("x")
    if not (first.isascii() and first.isdigit() and second.isascii() and second.isdigit()):
        raise ValueError(message)
    return int(first), int(second)


def load_lpips(weights: Path | None) -> LpipsNetwork | None:
    """LPIPS with these weights, or None where none are named."""
    from motionstream.lpips import LpipsNetwork

    return None if weights is None else LpipsNetwork.load(weights)


def weights_of(model: str, loaded: Any) -> dict[str, Any]:
    """The entries by which every file of figures names its model."""
    return {"model": model, "model_hash": loaded.hash}
