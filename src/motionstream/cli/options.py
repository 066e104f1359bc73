"""What commands share: options, and opening the model that is meant."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

Model = Annotated[str, typer.Option("--model", "-m", help="A zoo name or a folder of weights.")]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1, …")]
JsonOut = Annotated[Path | None, typer.Option("--json", metavar="FILE", help="Write the figures here as JSON.")]
Assets = Annotated[Path, typer.Option(help="A folder with cutouts/ and backgrounds/, or with manifest.csv.")]
Seed = Annotated[int, typer.Option(help="The same seed gives the same result.")]
Size = Annotated[str, typer.Option(metavar="WxH", help="Pixels of a frame, such as 256x144.")]


def load_model(model: str, device: str) -> Any:
    """The model of this name or folder."""
    import motionstream

    return motionstream.load(model, device=device)


def size_of(text: str) -> tuple[int, int]:
    """ "256x144" → (256, 144)."""
    width, _, height = text.lower().replace("×", "x").partition("x")
    if not (width.isascii() and width.isdigit() and height.isascii() and height.isdigit()):
        raise ValueError(f"--size {text}: write width x height, such as 256x144")
    return int(width), int(height)


def weights_of(model: str, loaded: Any) -> dict[str, Any]:
    """What every file of figures says of the model that was measured."""
    return {"model": model, "model_hash": loaded.hash}
