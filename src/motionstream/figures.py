"""Measured figures → Markdown: what stands between the README's markers is written from JSON, never by hand."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from motionstream.console import flat

BEGIN, END = "<!-- figures:begin -->", "<!-- figures:end -->"
DOCUMENTS = (Path("README.md"), Path("src/motionstream/zoo/tiny/README.md"))
"""What shows the figures; paths from the root of the repository."""
NOTHING = "No measurement has been recorded yet."
# Where and when: said in one line under the heading, in this order.
CIRCUMSTANCES = ("model", "model_hash", "split", "seconds", "clips", "size", "machine", "date")
TITLES = {
    "live": "Live, driven by a recorded gesture session",
    "motion": "Motion on held-out worlds, beside two baselines",
    "vae": "Tiny VAE on held-out worlds",
    "endurance": "Long streams: end against start",
}
LABELS = {
    "fps": "frames a second, free running",
    "displayed_fps": "frames a second, shown",
    "nominal_fps": "frames a second, asked for",
    "first_frame_ms": "first frame, ms",
    "chunk_ms": "a chunk, ms",
    "gesture_to_frame_ms": "gesture to shown frame, ms",
    "last_over_first_quarter": "chunk time, last quarter over first",
    "rss_growth": "growth of memory",
    "missed_deadlines": "missed deadlines",
}


def update(document: Path, results: Path, write: bool = True) -> bool:
    """Put the figures of every JSON file in `results` between the document's markers; returns whether that changes it.

    Raises ValueError without the markers or with a file that is not JSON.
    """
    before = document.read_text(encoding="utf-8")
    after = replaced(before, markdown(results, document.parent), document)
    if write and after != before:
        document.write_text(after, encoding="utf-8")
    return after != before


def replaced(text: str, figures: str, document: Path) -> str:
    """The text with `figures` between the markers."""
    head, begin, rest = text.partition(BEGIN)
    _, end, tail = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"{document}: no {BEGIN} … {END} in it; put both where the figures belong")
    return f"{head}{BEGIN}\n{figures}\n{END}{tail}"


def markdown(results: Path, beside: Path = Path()) -> str:
    """Every JSON file of a folder as a section, by name, for a document in the folder `beside`."""
    sections = [section(file, beside) for file in sorted(results.glob("*.json"))]
    return "\n\n".join(sections) if sections else NOTHING


def section(file: Path, beside: Path = Path()) -> str:
    """One file: heading with a link as seen from `beside`, circumstances, tables."""
    try:
        figures = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{file}: not JSON ({error})") from None
    if not isinstance(figures, dict):
        raise ValueError(f"{file}: not an object of figures")
    title = TITLES.get(file.stem.partition("_")[0], file.stem)
    where = ", ".join(_circumstances(figures))
    rest = {key: value for key, value in figures.items() if key not in CIRCUMSTANCES}
    link = Path(os.path.relpath(file, beside)).as_posix()
    return "\n\n".join([f"**{title}** ([{file.name}]({link}))", where, *_tables(rest)]).strip()


def _circumstances(figures: Mapping[str, Any]) -> Iterator[str]:
    """Where and when, as a reader wants it: hashes short, numbers with their name, the machine in a few words."""
    for key in CIRCUMSTANCES:
        value = figures.get(key)
        if isinstance(value, Mapping):
            yield _machine(value)
        elif key == "model_hash" and value:
            yield f"weights `{str(value)[:12]}`"
        elif value is not None:
            yield f"{_number(value)} {key}" if isinstance(value, int | float) else str(value)


def _machine(machine: Mapping[str, Any]) -> str:
    gpu = machine.get("gpu", "none")
    said = [machine.get("processor"), f"{machine.get('cores')} cores", f"torch {machine.get('torch')}"]
    return ", ".join(str(part) for part in (*said, *([gpu] if gpu != "none" else [])))


def _tables(figures: Mapping[str, Any]) -> Iterator[str]:
    """Groups that compare methods become a matrix each, what is left one list of two columns."""
    groups = {name: group for name, group in figures.items() if isinstance(group, Mapping) and _methods(group)}
    for name, group in groups.items():
        methods = _methods(group)
        columns = list(next(iter(methods.values())))
        yield _table(
            [_label(name), *map(_label, columns)],
            [[_label(method), *map(_number, values.values())] for method, values in methods.items()],
        )
    left = {f"{name}.{key}": value for name, group in groups.items() for key, value in group.items() if _single(value)}
    left |= {name: value for name, value in figures.items() if name not in groups}
    rows = [[_label(name), text] for name, text in flat(left)]
    if rows:
        yield _table(["", ""], rows)


def _methods(group: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """The mappings in a group if there are at least two, all with the same keys."""
    inner = {name: value for name, value in group.items() if isinstance(value, Mapping)}
    return inner if len(inner) > 1 and len({tuple(value) for value in inner.values()}) == 1 else {}


def _single(value: Any) -> bool:
    return not isinstance(value, Mapping)


def _label(name: str) -> str:
    head, dot, rest = name.partition(".")
    return f"{LABELS.get(head, head.replace('_', ' '))}{', ' if dot else ''}{rest.replace('_', ' ')}"


def _number(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else "–" if value is None else str(value)


def _table(header: list[str], rows: list[list[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)
