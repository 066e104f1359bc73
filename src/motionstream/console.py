"""Output of the program: progress and tables for people, JSON for programs."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence, Sized
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

Item = TypeVar("Item")


class Bar:
    """A running progress bar."""

    def __init__(self, progress: Any, task: Any) -> None:
        self._progress, self._task = progress, task

    def over(self, items: Iterable[Item]) -> Iterator[Item]:
        """The items, one step each."""
        for item in items:
            yield item
            self._progress.advance(self._task)

    def over_chunks(self, chunks: Iterable[Item]) -> Iterator[Item]:
        """The chunks, as many steps each as it is long."""
        for chunk in chunks:
            yield chunk
            self._progress.advance(self._task, len(chunk) if isinstance(chunk, Sized) else 1)


@contextmanager
def progress(what: str, total: int) -> Iterator[Bar]:
    """A progress bar on stderr, so that stdout stays clean; nothing where stderr is no terminal."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    console = Console(file=sys.stderr)
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as running:
        yield Bar(running, running.add_task(what, total=total))


def table(title: str, rows: Iterable[tuple[str, str]]) -> None:
    """Two columns on stdout."""
    _draw(title, [("", {"style": "bold", "no_wrap": True}), ("", {})], rows, heads=False)


def grid(title: str, rows: Sequence[Sequence[str]]) -> None:
    """Many columns on stdout; the first row holds the heads, the first column the names of the rows."""
    first, *heads = rows[0]
    _draw(title, [(first, {"style": "bold"}), *((head, {"justify": "right"}) for head in heads)], rows[1:])


def _draw(
    title: str, columns: Iterable[tuple[str, Mapping[str, Any]]], rows: Iterable[Sequence[str]], heads: bool = True
) -> None:
    """columns: head and rich's settings. All text is shown as it is, without markup."""
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    drawn = Table(title=title, title_justify="left", box=box.SIMPLE, pad_edge=False, show_header=heads)
    for head, settings in columns:
        drawn.add_column(Text(head), **settings)
    for row in rows:
        drawn.add_row(*map(Text, row))
    Console().print(drawn)


def report(title: str, figures: Mapping[str, Any], file: Path | None) -> None:
    """Figures as a table on stdout, and as JSON in a file when one is asked for."""
    table(title, flat(figures))
    write_json(figures, file)


def write_json(figures: Mapping[str, Any], file: Path | None) -> None:
    """Write JSON, folders made on the way; nothing without a file."""
    if file is None:
        return
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(figures, indent=2, ensure_ascii=False, allow_nan=False) + "\n", encoding="utf-8")


def flat(figures: Mapping[str, Any], above: str = "") -> Iterator[tuple[str, str]]:
    """Nested figures → (dotted name, text); numbers to four significant digits."""
    for name, value in figures.items():
        if isinstance(value, Mapping):
            yield from flat(value, f"{above}{name}.")
        else:
            yield f"{above}{name}", f"{value:.4g}" if isinstance(value, float) else str(value)
