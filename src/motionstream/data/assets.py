"""Pictures of synthetic worlds: cut-outs with transparency, and photographs as backgrounds."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image, UnidentifiedImageError

UInt8Array = npt.NDArray[np.uint8]
SPLITS = ("train", "heldout", "heldout-far")
SUFFIXES = {".png", ".webp", ".jpg", ".jpeg"}
KEPT = 256  # decoded pictures
PATCH = "patch"
# Shares of the kinds of cut-outs, so that hundreds of emoji do not outweigh a few photographs.
KIND_WEIGHTS = {PATCH: 0.40, "photo": 0.20, "render": 0.27, "cartoon3d": 0.13}
OTHER_KIND_WEIGHT = 0.2


@dataclass(frozen=True)
class Asset:
    """One picture. kind: "photo", "render", "cartoon3d", …; caption: what it shows, for prompts."""

    path: Path
    kind: str
    caption: str
    licence: str
    author: str
    use: str


class AssetLibrary:
    """Cut-outs and backgrounds under one folder, loaded when first asked for.

    root: a folder with `manifest.csv` (columns file, use, licence, author, caption, kind), or any folder
        with `cutouts/` (pictures with transparency) and `backgrounds/` (photographs) in it.
    split: "train", "heldout" or "heldout-far": only pictures the manifest gives that use; None takes all.
        Folders without a manifest are used for every split.
    Raises ValueError naming what is missing or unreadable.
    """

    def __init__(self, root: str | Path, split: str | None = "train") -> None:
        if split is not None and split not in SPLITS:
            raise ValueError(f"split {split!r}: use one of {', '.join(SPLITS)}, or none for all")
        self.root = Path(root)
        self.split = split
        if not self.root.is_dir():
            raise ValueError(f"no assets folder at {self.root}: give a folder with cutouts/ and backgrounds/")
        manifest = self.root / "manifest.csv"
        listed = _from_manifest(manifest) if manifest.is_file() else _from_folders(self.root)
        chosen = [(folder, asset) for folder, asset in listed if split is None or asset.use in ("", split)]
        self.backgrounds = [asset for folder, asset in chosen if folder == "backgrounds"]
        self.cutouts = [asset for folder, asset in chosen if folder == "cutouts"]
        if not self.backgrounds:
            raise ValueError(f"no backgrounds for split {split!r} in {self.root}: put photographs in backgrounds/")
        self._by_kind: dict[str, list[Asset]] = {}
        for asset in self.cutouts:
            self._by_kind.setdefault(asset.kind, []).append(asset)

    def choose_background(self, rng: np.random.Generator) -> Asset:
        return _choose(self.backgrounds, rng)

    def choose_cutout(self, rng: np.random.Generator) -> Asset | None:
        """A cut-out, by kind first and then within the kind; None means a patch of a photograph."""
        kinds = [PATCH, *sorted(self._by_kind)]
        weights = np.array([KIND_WEIGHTS.get(kind, OTHER_KIND_WEIGHT) for kind in kinds])
        kind = kinds[int(rng.choice(len(kinds), p=weights / weights.sum()))]
        return None if kind == PATCH else _choose(self._by_kind[kind], rng)

    def load(self, asset: Asset) -> UInt8Array:
        """(H, W, 4) uint8 RGBA, straight alpha. Do not write into it: it is shared."""
        return read_rgba(asset.path)


def _choose(assets: Sequence[Asset], rng: np.random.Generator) -> Asset:
    return assets[int(rng.integers(len(assets)))]


@lru_cache(KEPT)
def read_rgba(path: Path) -> UInt8Array:
    """(H, W, 4) uint8 of a picture; the last few hundred stay in memory. Raises ValueError naming one that is wrong."""
    try:
        with Image.open(path) as image:
            return np.asarray(image.convert("RGBA"))
    except FileNotFoundError:
        raise ValueError(f"{path} is listed in the manifest but is not there") from None
    except (UnidentifiedImageError, OSError, SyntaxError) as error:
        raise ValueError(f"cannot read the picture {path}: {error}") from error


def _from_manifest(manifest: Path) -> list[tuple[str, Asset]]:
    with manifest.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    needed = {"file", "use", "licence", "author", "caption", "kind"}
    if rows and not needed <= rows[0].keys():
        raise ValueError(f"{manifest} lacks the columns {', '.join(sorted(needed - rows[0].keys()))}")
    fields = ("kind", "caption", "licence", "author", "use")
    return [
        (row["file"].split("/")[0], Asset(manifest.parent / row["file"], *(row[field] for field in fields)))
        for row in rows
    ]


def _from_folders(root: Path) -> list[tuple[str, Asset]]:
    return [
        (folder, Asset(path, "picture", path.stem.replace("_", " ").replace("-", " "), "", "", ""))
        for folder in ("cutouts", "backgrounds")
        for path in sorted((root / folder).glob("*"))
        if path.suffix.lower() in SUFFIXES
    ]
