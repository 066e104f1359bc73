"""JSON files of figures, read as they are found: what was measured, where, when, and what could not be.

Whoever reads them trusts nothing: a file may be another program's, of an older version, or cut in the middle.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

Figures = Mapping[str, Any]

NONE = "–"
HASH = 12  # characters of it are shown
MOST_NAMED = 8  # of what was skipped for one reason or another; the rest is counted
CONDITIONS = {
    "split": "{}",
    "data": "{}",
    "control": "control {}",
    "depth": "depth {}",
    "tracker_name": "tracker {}",
    "through": "through {}",
    "seconds": "{} s",
    "clips": "{} clips",
    "worlds": "{} worlds",
    "scenes": "{} scenes",
    "pairs": "{} pairs",
    "pictures": "{} pictures",
    "steps": "{} steps",
    "rounds": "{} rounds",
    "frames": "{} frames",
    "every": "sampled every {}",
    "size": "{}",
    "metrics_size": "measured at {}",
    "compared_at": "compared at {}",
    "dtype": "{}",
    "diffusers": "Diffusers {}",
}
"""Key → how a reader is told of it, in this order."""


@dataclass(frozen=True)
class Result:
    """One file of figures."""

    file: Path
    figures: Figures

    @property
    def model(self) -> str:
        """Name and the beginning of the weights' hash, as far as the file has them."""
        name, weights = self.figures.get("model"), self.figures.get("model_hash")
        parts = [name if isinstance(name, str) else None, weights[:HASH] if isinstance(weights, str) else None]
        return " ".join(part for part in parts if part) or NONE

    @property
    def conditions(self) -> str:
        """What it was measured on and with."""
        own = self.figures.get("size")
        told = {key: value for key, value in self.figures.items() if key != "metrics_size" or value != own}
        return ", ".join(_told(how, told[key]) for key, how in CONDITIONS.items() if _tellable(told.get(key)))

    @property
    def machine(self) -> str:
        """The accelerator, or else the processor, in a few words."""
        about = group(self.figures, "machine")
        gpu = about.get("gpu", "none")
        on = [f"{about.get('cores')} cores"] if "cores" in about else []
        cpu = [text(about["processor"]), *on] if "processor" in about else on
        torch = [f"torch {about['torch']}"] if "torch" in about else []
        return ", ".join([*(cpu if gpu == "none" else [text(gpu)]), *torch]) or NONE

    @property
    def date(self) -> str:
        """As 2026-01-31."""
        return text(self.figures.get("date"))


@dataclass(frozen=True)
class Damaged:
    """A file that could not be read, and why."""

    file: Path
    reason: str


@dataclass(frozen=True)
class Missing:
    """Something that a file says it could not measure, or, where it was a clip or the like, skipped."""

    file: Path
    what: str
    why: str
    skipped: bool = False


def read(file: Path) -> Result:
    """Raises ValueError, naming the file, on anything but a JSON object."""
    try:
        figures = json.loads(file.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{file}: not JSON ({error})") from None
    except OSError as error:
        raise ValueError(f"{file}: cannot be read ({error.strerror})") from None
    if not isinstance(figures, dict):
        raise ValueError(f"{file}: not an object of figures")
    return Result(file, figures)


def read_all(folder: Path) -> tuple[list[Result], list[Damaged]]:
    """Every .json of a folder, by name, and those that cannot be read. Raises ValueError where there is none."""
    if not folder.is_dir():
        raise ValueError(f"no folder {folder}: name the one with the JSON files that evaluate and bench wrote")
    found: list[Result] = []
    damaged: list[Damaged] = []
    for file in sorted(folder.glob("*.json")):
        try:
            found.append(read(file))
        except ValueError as error:
            damaged.append(Damaged(file, str(error).removeprefix(f"{file}: ")))
    if not found and not damaged:
        raise ValueError(f"no figures in {folder}: write some with --json of `motionstream evaluate` or `bench`")
    return found, damaged


def missing(result: Result) -> Iterator[Missing]:
    """What the file says of itself under `missing` and `skipped`; of many, the first few and a count."""
    for name in _listed(result.figures.get("missing")):
        yield Missing(result.file, text(name), "could not be measured")
    skipped = list(_skipped(result.figures.get("skipped")))
    for name, why in skipped[:MOST_NAMED]:
        yield Missing(result.file, name, f"skipped: {why}", skipped=True)
    if len(skipped) > MOST_NAMED:
        yield Missing(result.file, f"{len(skipped) - MOST_NAMED} more", "skipped: see the file", skipped=True)


def group(figures: Figures, path: str) -> Figures:
    """The mapping at a dotted path; an empty one where there is none."""
    found = at(figures, path)
    return found if isinstance(found, Mapping) else {}


def at(figures: Figures, path: str) -> Any:
    """The value at a dotted path, or None. A key that itself has dots is found first."""
    if path in figures:
        return figures[path]
    head, _, rest = path.partition(".")
    inner = figures.get(head)
    return at(inner, rest) if rest and isinstance(inner, Mapping) else None


def text(value: Any) -> str:
    """One value for a reader: numbers to four digits, what holds several values only counted."""
    if value is None or (isinstance(value, float) and not math.isfinite(value)):
        return NONE
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.0f}" if abs(value) >= 1000 else f"{value:.4g}"
    if isinstance(value, Mapping | list):
        return f"{len(value)} entries"
    return str(value)


def _told(how: str, value: Any) -> str:
    """ "{} clips", 1 → "1 clip"."""
    return how.format(text(value)).removesuffix("s" if value == 1 and how != CONDITIONS["seconds"] else "")


def _tellable(value: Any) -> bool:
    return value is not None and not isinstance(value, Mapping | list)


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _skipped(value: Any) -> Iterator[tuple[str, str]]:
    """(what, why) from a list of {name, reason} or a mapping of reasons by name."""
    if isinstance(value, Mapping):
        yield from ((text(name), text(why)) for name, why in value.items())
    for each in _listed(value):
        if isinstance(each, Mapping):
            yield text(each.get("name")), text(each.get("reason"))
        else:
            yield text(each), "no reason given"
