"""JSON files of figures: what was measured, where, when, and what could not be.

Nothing in a file is trusted: it may be another program's, of an older version, or cut in the middle.
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
MOST_NAMED = 8  # of what was skipped; the rest is counted
CONDITIONS = {
    **dict.fromkeys(("split", "data"), "{}"),
    **{key: f"{key} {{}}" for key in ("control", "depth")},
    "tracker_name": "tracker {}",
    "through": "through {}",
    "seconds": "{} s",
    **{key: f"{{}} {key}" for key in ("clips", "worlds", "scenes", "pairs", "pictures", "steps", "rounds", "frames")},
    "every": "sampled every {}",
    "size": "{}",
    "metrics_size": "measured at {}",
    "compared_at": "compared at {}",
    "dtype": "{}",
    "diffusers": "Diffusers {}",
}
"""Key → how a reader reads it, in this order."""


@dataclass(frozen=True)
class Result:
    """One file of figures."""

    file: Path
    figures: Figures

    @property
    def hash(self) -> str:
        """The beginning of the weights' hash; "" where the file has none."""
        weights = self.figures.get("model_hash")
        return weights[:HASH] if isinstance(weights, str) else ""

    @property
    def model(self) -> str:
        """Name and hash, as far as the file has them."""
        name = self.figures.get("model")
        return " ".join(part for part in (name if isinstance(name, str) else "", self.hash) if part) or NONE

    @property
    def conditions(self) -> str:
        """What it was measured on and with."""
        shown = {key: value for key, value in self.figures.items() if value is not None and scalar(value)}
        if shown.get("metrics_size") == shown.get("size"):
            shown.pop("metrics_size", None)
        return ", ".join(_in_words(how, shown[key]) for key, how in CONDITIONS.items() if key in shown)

    @property
    def machine(self) -> str:
        """The accelerator, or else the processor, in a few words."""
        about = self.figures.get("machine")
        if not isinstance(about, Mapping):
            return NONE
        gpu = about.get("gpu", "none")
        cpu = [text(about.get("processor")), f"{about['cores']} cores" if "cores" in about else NONE]
        torch = f"torch {about['torch']}" if "torch" in about else NONE
        return ", ".join(part for part in (*(cpu if gpu == "none" else [text(gpu)]), torch) if part != NONE) or NONE

    @property
    def date(self) -> str:
        """As 2026-01-31."""
        return text(self.figures.get("date"))


@dataclass(frozen=True)
class Missing:
    """Something that was not measured, skipped, or could not be read; file: "–" where there is none."""

    file: str
    what: str
    why: str


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


def read_all(folder: Path) -> tuple[list[Result], list[Missing]]:
    """Every .json of a folder, by name, and those that cannot be read. Raises ValueError where there is none."""
    if not folder.is_dir():
        raise ValueError(f"no folder {folder}: name the one with the JSON files of evaluate, bench and benchmarks")
    found: list[Result] = []
    damaged: list[Missing] = []
    for file in sorted(folder.glob("*.json")):
        try:
            found.append(read(file))
        except ValueError as error:
            damaged.append(Missing(file.name, "the file", f"damaged: {str(error).removeprefix(f'{file}: ')}"))
    if not found and not damaged:
        raise ValueError(f"no figures in {folder}: write some with --json of evaluate, bench or benchmarks")
    return found, damaged


def missing(result: Result) -> Iterator[Missing]:
    """What the file itself names under `missing` and `skipped`; of many, the first few and a count."""
    file, lacking, skipped = result.file.name, result.figures.get("missing"), result.figures.get("skipped")
    for name in lacking if isinstance(lacking, list) else ():
        yield Missing(file, text(name), "could not be measured")
    if isinstance(skipped, Mapping):
        skipped = [{"name": name, "reason": why} for name, why in skipped.items()]
    each = [one for one in skipped if isinstance(one, Mapping)] if isinstance(skipped, list) else []
    for one in each[:MOST_NAMED]:
        yield Missing(file, text(one.get("name")), f"skipped: {text(one.get('reason'))}")
    if len(each) > MOST_NAMED:
        yield Missing(file, f"{len(each) - MOST_NAMED} more", "skipped: see the file")


def at(figures: Figures, path: str) -> Any:
    """The value at a dotted path, or None. A key that itself has dots is found first."""
    if not path or path in figures:
        return figures[path] if path else figures
    head, _, rest = path.partition(".")
    inner = figures.get(head)
    return at(inner, rest) if rest and isinstance(inner, Mapping) else None


def scalar(value: Any) -> bool:
    return not isinstance(value, Mapping | list)


def text(value: Any) -> str:
    """One value for a reader: numbers to four digits, what holds several values only counted."""
    if value is None or (isinstance(value, float) and not math.isfinite(value)):
        return NONE
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.0f}" if abs(value) >= 1000 else f"{value:.4g}"
    return str(value) if scalar(value) else f"{len(value)} entries"


def _in_words(how: str, value: Any) -> str:
    """ "{} clips", 1 → "1 clip"."""
    return how.format(text(value)).removesuffix("s" if value == 1 and how != CONDITIONS["seconds"] else "")
