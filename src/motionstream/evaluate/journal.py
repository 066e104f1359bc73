"""Results written down one by one, so that an evaluation that was cut goes on where it stopped.

A journal is a text file, one JSON object a line: first what was measured on what (the key), then an item a line.
A line that was cut in the middle of writing is measured again; a journal with another key is refused.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

KEY = "key"


class Journal:
    """Figures of items by name, kept in a file. file: None keeps them in memory only.

    key: everything that the figures depend on beside the item (model hash, settings); JSON values.
    Raises ValueError when the file is another evaluation's.
    """

    def __init__(self, file: Path | None, key: Mapping[str, Any]) -> None:
        self.file = file
        self.key = json.loads(json.dumps(key))
        self.items: dict[str, Any] = {}
        if file is None:
            return
        whole = _whole_lines(file)
        if not whole:
            _begin(file, {KEY: self.key})
            return
        if whole[0].get(KEY) != self.key:
            other = whole[0].get(KEY)
            names = sorted(n for n in {*self.key, *other} if self.key.get(n) != other.get(n)) if other else []
            raise ValueError(
                f"{file} is the journal of another evaluation (other: {', '.join(names) or 'all'}): remove it, or name "
                "another file"
            )
        self.items = {line["item"]: line["figures"] for line in whole[1:]}
        _begin(file, *whole)  # without a line that was cut

    def __contains__(self, item: str) -> bool:
        return item in self.items

    def measured(self, item: str, measure: Callable[[], Any]) -> Any:
        """The item's figures (JSON values): those written down, or those of `measure`, which are then written down."""
        if item not in self.items:
            self.items[item] = json.loads(json.dumps(measure(), allow_nan=False))
            if self.file is not None:
                _append(self.file, {"item": item, "figures": self.items[item]})
        return self.items[item]


def _whole_lines(file: Path) -> list[dict[str, Any]]:
    """All lines up to the first that is damaged."""
    lines: list[dict[str, Any]] = []
    for text in file.read_text(encoding="utf-8").splitlines() if file.is_file() else []:
        try:
            line = json.loads(text)
        except ValueError:
            break
        if not isinstance(line, dict) or not ({KEY} <= line.keys() or {"item", "figures"} <= line.keys()):
            break
        lines.append(line)
    return lines


def _begin(file: Path, *lines: Mapping[str, Any]) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    draft = file.with_name(f".{file.name}.draft")
    draft.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    draft.replace(file)


def _append(file: Path, line: Mapping[str, Any]) -> None:
    with file.open("a", encoding="utf-8") as writing:
        writing.write(json.dumps(line, allow_nan=False) + "\n")
        writing.flush()
        os.fsync(writing.fileno())
