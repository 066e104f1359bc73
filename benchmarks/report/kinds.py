"""Kinds of files of figures: the command that writes them, and which of their figures make which table.

A kind is recognised by what is in a file, not by its name. Whatever is not where it is expected is left out. All of
them are in `kinds.toml`, which also explains patterns.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.report.results import Figures


@dataclass(frozen=True)
class Table:
    """As in `kinds.toml`. rows: patterns. columns: dotted paths."""

    title: str
    rows: Sequence[str]
    columns: Sequence[str]
    paper: str = ""
    note: str = ""
    whole: str = ""


@dataclass(frozen=True)
class Kind:
    """As in `kinds.toml`. keys: patterns."""

    title: str
    command: str
    keys: Sequence[str]
    tables: Sequence[Table]

    def of(self, figures: Figures) -> bool:
        """Whether figures are of this kind."""
        return all(any(matches(figures, key)) for key in self.keys)


def matches(figures: Figures, pattern: str) -> Iterator[tuple[tuple[str, ...], object]]:
    """Every value at a pattern, with the names that it left open."""
    if not pattern:
        yield (), figures
        return
    head, _, rest = pattern.partition(".")
    for name in list(figures) if head == "*" else head.split("|"):
        if name in figures:
            left_open = () if name == head else (name,)
            if not rest:
                yield left_open, figures[name]
            elif isinstance(figures[name], Mapping):
                yield from (((*left_open, *more), value) for more, value in matches(figures[name], rest))


def _read(file: Path) -> list[Kind]:
    found = tomllib.loads(file.read_text(encoding="utf-8"))["kind"]
    return [
        Kind(one["title"], one["command"], one["keys"], [Table(**table) for table in one["table"]]) for one in found
    ]


KINDS = _read(Path(__file__).with_name("kinds.toml"))
"""In the order of the report."""


def kind_of(figures: Figures) -> Kind | None:
    """The kind of a file, or None where it is none of ours."""
    return next((kind for kind in KINDS if kind.of(figures)), None)
